//! What each tensor would cost the model in each format: measured before the formats are chosen.
//!
//! What a tensor's output loses, with the codes Q that GPTQ chooses, relative to the stream s of the token
//! before the stage:
//!
//! ```text
//!            sum_t ||(W - Q) x_t||^2 / |s_t|^2       sum_t ||V y_t||^2 / |s_t|^2
//!  loss  =  ----------------------------------  *  -----------------------------
//!              sum_t ||W x_t||^2 / |s_t|^2                     tokens
//! ```
//!
//! V are the matrices that add the block's output to the stream: `o_proj` for those of attention,
//! `down_proj` for those of a feed-forward, an expert's own for an expert (weighted by its routing, so an
//! expert that is seldom or weakly chosen costs little). For the embedding, the head, and blocks whose
//! output passes a norm, the second factor is 1.
//!
//! That says how the losses of one tensor in all formats compare, and those of the experts of a layer. What
//! a tensor's loss is worth beside another's, [`super::probe`] measures: losses are scaled so that those of
//! the probe's format are the divergences it found.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
};

use marlin_file::Partial;
use marlin_format::{Format, Rounding, ScaleSearch, Weight};
use marlin_kernel::plan::{BufferId, Op, Plan, WeightId};
use marlin_model::{Source, Tensors};
use serde::{Deserialize, Serialize};

use super::{
    Work,
    inputs::Inputs,
    play::Playback,
    probe::{Probe, groups},
    stages::Stage,
    stream::{self, StreamWriter},
    tied::Tied,
};
use crate::{
    Budget, Damping, Error, Gram, Hessian, Rounded, gptq, round,
    solve::{energy, loss},
    tasks::Task,
};

/// Key of the notes of stages that were surveyed.
pub(super) const KEY: &str = "survey";

/// Names of the streams: that of the text, and that of the probe's copies.
const SURVEY: &str = "survey";
const PROBE: &str = "probe";

/// The file of a stream as stage `at` leaves it.
fn after(partial: &Partial, name: &str, at: usize) -> PathBuf {
    partial.scratch(&format!("{name}-{at}"))
}

/// The file of a stream as stage `at` finds it.
fn before(partial: &Partial, name: &str, at: usize) -> Option<PathBuf> {
    at.checked_sub(1).map(|at| after(partial, name, at))
}

/// The losses of tensors, by name, one for each candidate; none where a format has no such rows.
pub(super) type Losses = BTreeMap<String, Vec<Option<f64>>>;

/// What is noted of a stage.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Surveyed {
    /// The losses of its tensors.
    losses: Losses,
    /// Of the last stage: what the probe found for each of its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    divergences: Vec<f64>,
}

/// A survey of a model that is not yet quantized.
pub(super) struct Survey<'a> {
    pub source: &'a Source,
    pub plan: &'a Plan,
    pub tasks: &'a [Task],
    pub stages: &'a [Stage],
    pub budget: &'a Budget,
    /// The probe's format: the number of a candidate.
    pub typical: usize,
    /// What an embedding multiplies as the head.
    pub tied: Option<&'a Tied>,
}

impl Survey<'_> {
    /// Plays the text through all stages that `partial` has no note of, and returns the losses of all
    /// [`Budget::units`], scaled.
    ///
    /// # Errors
    /// As those of [`calibrate`](super::calibrate).
    pub fn run(
        &self,
        partial: &mut Partial,
        playback: &mut Playback<'_, '_>,
        work: &mut Work<'_>,
    ) -> Result<Losses, Error> {
        let notes = partial.notes().iter().filter_map(|note| note.get(KEY));
        let mut done =
            notes.map(Surveyed::deserialize).collect::<Result<Vec<_>, _>>().map_err(Error::Note)?;
        let groups = self
            .stages
            .iter()
            .map(|stage| Ok(groups(&self.plan.part(stage.steps.clone())?, &self.chosen(stage))));
        let experts = self.plan.steps.iter().any(|step| matches!(step.op, Op::MoeExperts { .. }));
        let probe = Probe::new(playback.text, groups.collect::<Result<_, Error>>()?, experts);
        for (at, stage) in self.stages.iter().enumerate() {
            let weights = stage.weights(self.tasks);
            if at >= done.len() {
                let surveyed = self.stage((at, weights), &probe, partial, playback, work)?;
                partial.note(serde_json::json!({ KEY: surveyed }))?;
                done.push(surveyed);
                for before in [SURVEY, PROBE].map(|name| before(partial, name, at)).into_iter().flatten() {
                    stream::discard(&before);
                }
            }
            work.done += weights;
        }
        let divergences =
            done.last_mut().map(|last| std::mem::take(&mut last.divergences)).unwrap_or_default();
        let mut losses = done.into_iter().flat_map(|stage| stage.losses).collect();
        self.scale(&mut losses, &probe, &divergences);
        Ok(losses)
    }

    /// The names of a stage's tensors that a format is chosen for.
    fn chosen(&self, stage: &Stage) -> HashSet<&str> {
        let tasks = stage.tasks.iter().map(|at| &self.tasks[*at]).filter(|task| task.chosen);
        tasks.map(|task| task.name.as_str()).collect()
    }

    /// Scales the losses of every group's tensors by what one is worth: the divergence that the probe found,
    /// over their losses in its format. A group without either is worth what all are on the whole.
    fn scale(&self, losses: &mut Losses, probe: &Probe, divergences: &[f64]) {
        let of = |name: &String| losses.get(name).and_then(|losses| losses[self.typical]).unwrap_or(0.0);
        let sums: Vec<f64> = probe.groups().map(|group| group.iter().map(of).sum()).collect();
        let worth = |divergence: f64, loss: f64| Some(divergence / loss).filter(|worth| worth.is_normal());
        let whole = worth(divergences.iter().sum(), sums.iter().sum()).unwrap_or(1.0);
        for ((group, divergence), sum) in probe.groups().zip(divergences).zip(sums) {
            let worth = worth(divergence.max(0.0), sum).unwrap_or(whole);
            for name in group {
                let losses = losses.get_mut(name).into_iter().flatten();
                losses.flatten().for_each(|loss| *loss *= worth);
            }
        }
    }

    fn stage(
        &self,
        (at, weights): (usize, u64),
        probe: &Probe,
        partial: &Partial,
        playback: &mut Playback<'_, '_>,
        work: &mut Work<'_>,
    ) -> Result<Surveyed, Error> {
        let stage = &self.stages[at];
        let part = self.plan.part(stage.steps.clone())?;
        let [before, probed] = [SURVEY, PROBE].map(|name| before(partial, name, at));
        let names = self.chosen(stage);
        let wanted = |id: WeightId| names.contains(part.weights[id.0 as usize].0.as_str());
        let mut tell = |share| work.tell(stage, weights, share);
        let mut inputs = playback.gather(&part, wanted, before.as_deref(), true, &mut tell)?;
        if let Some(tied) = self.tied {
            tied.enter(&part, &mut inputs);
        }
        let shares = shares(&part, playback.stream, &inputs, playback.text.tokens.len());
        let mut surveyed = Surveyed::default();
        let (mut codes, mut coded) = (HashMap::new(), 0);
        for (task, id) in
            stage.in_order(self.tasks, &part, &inputs).into_iter().filter(|(task, _)| task.chosen)
        {
            work.tell(stage, weights, 1.0 + coded as f64 / weights.max(1) as f64)?;
            let grams = id.map_or(&[][..], |id| inputs.of(id).1);
            let share = id.and_then(|id| shares.get(&id).copied()).unwrap_or(1.0);
            let (losses, typical) = self.losses(task, grams, share)?;
            surveyed.losses.insert(task.name.clone(), losses);
            codes.extend(typical.map(|weight| (task.name.clone(), weight)));
            coded += task.weights();
            self.source.release(&task.name);
        }
        if at + 1 < self.stages.len() {
            let mut tell = |share| work.tell(stage, weights, 2.0 + share);
            let mut out = StreamWriter::create(after(partial, SURVEY, at))?;
            playback.advance(part.clone(), before.as_deref(), &mut out, &mut tell)?;
            out.finish()?;
            let mut tell = |share| work.tell(stage, weights, 3.0 + share);
            let files = (probed.as_deref(), after(partial, PROBE, at));
            probe.advance((at, &part), &codes, playback, (files.0, &files.1), &mut tell)?;
        } else if let (Some(probed), Some(logits)) = (&probed, self.plan.logits) {
            let mut tell = |share| work.tell(stage, weights, 2.0 + 2.0 * share);
            codes.extend(self.head()?);
            surveyed.divergences = probe.divergences((&part, logits), &codes, playback, probed, &mut tell)?;
        }
        Ok(surveyed)
    }

    /// The losses of a tensor in each candidate, `None` where the format has no rows of this length; and
    /// its codes in the probe's.
    fn losses(
        &self,
        task: &Task,
        grams: &[Gram],
        share: f64,
    ) -> Result<(Vec<Option<f64>>, Option<Weight>), Error> {
        let weight = self.source.weight(&task.name)?;
        let hessian = Gram::sum(grams).map(|sum| Hessian::new(&sum, Damping::default()));
        let total = energy(&weight, grams);
        let (mut losses, mut typical) = (Vec::new(), None);
        for (at, format) in self.budget.candidates.iter().enumerate() {
            let coded = match code(&weight, *format, hessian.as_ref()) {
                Ok(coded) => coded,
                Err(marlin_format::Error::Columns { .. }) => {
                    losses.push(None);
                    continue;
                }
                Err(error) => return Err(task.error(error)),
            };
            losses.push(Some(match total > 0.0 {
                true => share * loss(&weight, &coded.weight, grams) / total,
                false => share * coded.error.relative(),
            }));
            if at == self.typical {
                typical = Some(coded.weight);
            }
        }
        Ok((losses, typical))
    }

    /// The codes of the embedding if it is also the head, in the probe's format.
    fn head(&self) -> Result<Option<(String, Weight)>, Error> {
        let Some(Tied { name, grams }) = self.tied else { return Ok(None) };
        let hessian = Gram::sum(grams).map(|sum| Hessian::new(&sum, Damping::default()));
        let weight = self.source.weight(name)?;
        let coded = code(&weight, self.budget.candidates[self.typical], hessian.as_ref());
        let error = |source| Error::Tensor { name: name.clone(), source };
        Ok(Some((name.clone(), coded.map_err(error)?.weight)))
    }
}

/// Codes for what is multiplied, if that is known.
fn code(
    weight: &Weight,
    format: &'static dyn Format,
    hessian: Option<&Hessian>,
) -> Result<Rounded, marlin_format::Error> {
    match hessian {
        Some(hessian) => gptq(weight, format, hessian, ScaleSearch::default()).map(|coded| coded.rounded),
        None => round(weight, format, Rounding::default()),
    }
}

/// The share of each tensor's block in the stream, of tensors for which there is one.
fn shares(part: &Plan, stream: BufferId, inputs: &Inputs, tokens: usize) -> HashMap<WeightId, f64> {
    let share = |id: &WeightId| energy(part.weight(*id), inputs.of(*id).1) / tokens as f64;
    let mut shares = HashMap::new();
    for (adders, members) in blocks(part, stream) {
        let total: f64 = adders.iter().map(share).sum();
        shares.extend(members.into_iter().map(|id| (id, total)));
    }
    count_unseen_once(part, inputs, &mut shares);
    shares
}

/// An expert that no token chose counts as if one token had, with the mean share of those chosen: that
/// it was not seen does not say that it is never used.
fn count_unseen_once(part: &Plan, inputs: &Inputs, shares: &mut HashMap<WeightId, f64>) {
    let banks = part.steps.iter().filter_map(|step| match &step.op {
        Op::MoeExperts { bank, .. } => Some(bank),
        _ => None,
    });
    for bank in banks {
        let seen = |id: WeightId| inputs.of(id).1.iter().map(Gram::tokens).sum::<u64>();
        let total: f64 = bank.iter().filter_map(|expert| shares.get(&expert.down)).sum();
        let all: u64 = bank.iter().map(|expert| seen(expert.down)).sum();
        for expert in bank.iter().filter(|expert| seen(expert.down) == 0) {
            let ids = [expert.gate, expert.up, expert.down];
            shares.extend(ids.map(|id| (id, total / all.max(1) as f64)));
        }
    }
}

/// Matrices that add to the stream, and all those whose output reaches it through them.
fn blocks(part: &Plan, stream: BufferId) -> Vec<(Vec<WeightId>, Vec<WeightId>)> {
    let (mut blocks, mut waiting) = (Vec::new(), Vec::new());
    for step in &part.steps {
        match &step.op {
            Op::MatMul { products, .. } => {
                let adds = products.iter().all(|product| product.accumulate && product.out.buffer == stream);
                let ids: Vec<WeightId> = products.iter().map(|product| product.weight).collect();
                waiting.extend(&ids);
                if adds {
                    blocks.push((ids, std::mem::take(&mut waiting)));
                }
            }
            Op::HeadMatMul { weight, .. } => waiting.push(*weight),
            Op::MoeExperts { bank, shared, out, .. } if out.buffer == stream => {
                for expert in bank.iter().chain(shared) {
                    blocks.push((vec![expert.down], vec![expert.gate, expert.up, expert.down]));
                }
                // What waits is the router, which is not quantized.
                waiting.clear();
            }
            _ => {}
        }
    }
    blocks
}
