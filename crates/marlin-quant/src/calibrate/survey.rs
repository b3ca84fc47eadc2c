//! What each tensor would cost the model in each format: measured before the formats are chosen.
//!
//! A loss is the error of a tensor's output relative to that output, times the share that the output
//! of its block has in the residual stream, over all tokens:
//!
//! ```text
//!            sum_t ||(W - Q) x_t||^2 / |s_t|^2       sum_t ||V y_t||^2 / |s_t|^2
//!  loss  =  ----------------------------------  *  -----------------------------
//!              sum_t ||W x_t||^2 / |s_t|^2                     tokens
//! ```
//!
//! with the codes Q that GPTQ chooses, the stream s of the token before the stage, and V the matrices
//! that add the block's output to the stream: `o_proj` for those of attention, `down_proj` for those of
//! a feed-forward, an expert's own for an expert (weighted by its routing, so an expert that is seldom
//! or weakly chosen costs little). For the embedding, the head, and blocks whose output passes a norm,
//! the share is 1.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use marlin_file::Partial;
use marlin_format::{Rounding, ScaleSearch};
use marlin_kernel::plan::{BufferId, Op, Plan, WeightId};
use marlin_model::{Source, Tensors};
use serde::{Deserialize, Serialize};

use super::{Work, inputs::Inputs, play::Playback, stages::Stage};
use crate::{
    Budget, Damping, Error, Gram, Hessian, gptq, round,
    solve::{energy, loss},
    tasks::Task,
};

/// Key of the notes of stages that were surveyed.
const KEY: &str = "survey";

/// The losses of a stage's tensors, by name, one for each candidate.
#[derive(Debug, Serialize, Deserialize)]
struct Surveyed(HashMap<String, Vec<Option<f64>>>);

/// A survey of a model that is not yet quantized.
pub(super) struct Survey<'a> {
    pub source: &'a Source,
    pub plan: &'a Plan,
    pub tasks: &'a [Task],
    pub stages: &'a [Stage],
    pub budget: &'a Budget,
}

impl Survey<'_> {
    /// Plays the text through all stages that `partial` has no note of, and returns the losses of all
    /// [`Budget::units`].
    ///
    /// # Errors
    /// As those of [`calibrate`](super::calibrate).
    pub fn run(
        &self,
        partial: &mut Partial,
        playback: &mut Playback<'_, '_>,
        work: &mut Work<'_>,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let mut losses: HashMap<String, Vec<Option<f64>>> = HashMap::new();
        let mut done = 0;
        for note in partial.notes().iter().filter_map(|note| note.get(KEY)) {
            losses.extend(Surveyed::deserialize(note).map_err(Error::Note)?.0);
            done += 1;
        }
        for at in 0..self.stages.len() {
            let weights = self.stages[at].tasks.iter().map(|at| self.tasks[*at].weights()).sum();
            if at >= done {
                let surveyed = self.stage(at, weights, partial, playback, work)?;
                partial.note(serde_json::json!({ KEY: surveyed }))?;
                losses.extend(surveyed.0);
            }
            work.done += weights;
        }
        let units = Budget::units(self.tasks).map(|at| &self.tasks[at].name);
        let loss = |loss: Option<f64>| loss.unwrap_or(f64::INFINITY);
        let of = |name: &String| losses.remove(name).unwrap_or_default().into_iter().map(loss).collect();
        Ok(units.map(of).collect())
    }

    fn stage(
        &self,
        at: usize,
        weights: u64,
        partial: &Partial,
        playback: &mut Playback<'_, '_>,
        work: &mut Work<'_>,
    ) -> Result<Surveyed, Error> {
        let stage = &self.stages[at];
        let part = self.plan.part(stage.steps.clone())?;
        let stream = |at: usize| -> PathBuf { partial.scratch(&format!("survey-{at}")) };
        let before = at.checked_sub(1).map(stream);
        let chosen: Vec<&Task> =
            stage.tasks.iter().map(|at| &self.tasks[*at]).filter(|task| task.chosen).collect();
        let names: HashSet<&str> = chosen.iter().map(|task| task.name.as_str()).collect();
        let wanted = |id: WeightId| names.contains(part.weights[id.0 as usize].0.as_str());
        let mut tell = |share| work.tell(stage, weights, 2.0 * share);
        let inputs = playback.gather(&part, wanted, before.as_deref(), true, &mut tell)?;
        let shares = shares(&part, playback.stream, &inputs, playback.text.tokens.len());
        let (mut surveyed, mut coded) = (HashMap::new(), 0);
        for (task, id) in
            stage.in_order(self.tasks, &part, &inputs).into_iter().filter(|(task, _)| task.chosen)
        {
            work.tell(stage, weights, 2.0 + coded as f64 / weights.max(1) as f64)?;
            let grams = id.map_or(&[][..], |id| inputs.of(id).1);
            let share = id.and_then(|id| shares.get(&id).copied()).unwrap_or(1.0);
            surveyed.insert(task.name.clone(), self.losses(task, grams, share)?);
            coded += task.weights();
            self.source.release(&task.name);
        }
        if at + 1 < self.stages.len() {
            let mut tell = |share| work.tell(stage, weights, 3.0 + share);
            playback.advance(part, before.as_deref(), &stream(at), &mut tell)?;
        }
        if let Some(before) = before.filter(|_| at > 1) {
            let _ = std::fs::remove_file(before);
        }
        Ok(Surveyed(surveyed))
    }

    /// The loss of a tensor in each candidate; `None` where the format has no rows of this length.
    fn losses(&self, task: &Task, grams: &[Gram], share: f64) -> Result<Vec<Option<f64>>, Error> {
        let weight = self.source.weight(&task.name)?;
        let hessian = Gram::sum(grams).map(|sum| Hessian::new(&sum, Damping::default()));
        let total = energy(&weight, grams);
        let mut losses = Vec::new();
        for format in &self.budget.candidates {
            let coded = match &hessian {
                Some(hessian) => {
                    gptq(&weight, *format, hessian, ScaleSearch::default()).map(|coded| coded.rounded)
                }
                None => round(&weight, *format, Rounding::default()),
            };
            losses.push(match coded {
                Ok(coded) if total > 0.0 => Some(share * loss(&weight, &coded.weight, grams) / total),
                Ok(coded) => Some(share * coded.error.relative()),
                Err(marlin_format::Error::Columns { .. }) => None,
                Err(error) => return Err(task.error(error)),
            });
        }
        Ok(losses)
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
