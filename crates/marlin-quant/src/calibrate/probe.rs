//! What an error in a part of a model costs the whole model: measured by making one.
//!
//! The tensors of each group (a matrix, or the same matrices of all experts of a layer) get codes of one
//! format while all others keep their values, and some windows of the text are played to the logits. By the
//! linearity theorem (Malinovskii et al. 2024, arXiv:2411.17525) the divergence of a model in which every
//! group g has an error is nearly a sum of one number a group times that error:
//!
//! ```text
//!                                          loss_g(format)
//!  divergence  ~  sum  divergence_g  *  --------------------
//!                  g                     loss_g(the probe's)
//! ```
//!
//! No model is in memory for that either. The windows pass through the stages once for every group, as rows
//! of one stream; a stage plays all copies there are and adds those of its own groups:
//!
//! ```text
//!  embedding   clean ─┬─► clean     layer 0   clean ─┬─► clean        head   clean ─────► logits
//!                     └─► embedding                  ├─► q_proj              embedding ► divergence
//!                                     embedding ─────► embedding             q_proj ───► divergence
//! ```

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use marlin_format::Weight;
use marlin_kernel::{
    Batch, Player,
    plan::{BufferId, Op, Plan},
    sample::softmax,
};
use rayon::prelude::*;

use super::{
    Speed,
    play::{Playback, ShareDone},
    stream::{StreamReader, StreamWriter},
    text::Text,
};
use crate::Error;

/// Tokens that all copies have together, for each token of the text: what probing may cost.
const ROWS_A_TOKEN: usize = 4;
/// Windows to play if the text has them, whatever that costs: fewer tell little.
const LEAST_WINDOWS: usize = 4;

/// Share of the tokens, those of the largest divergence, that are left out of a mean if the model has
/// experts. Where a tiny error changes the choice of an expert, a token's divergence is large by chance, and
/// any one group's error is enough for it: such tokens do not add up over the groups, and would make them all
/// look alike.
const TRIMMED: f64 = 0.1;

/// Tensors that are given codes together: their names.
pub(super) type Group = Vec<String>;

/// The windows that are played, and the groups of all stages.
#[derive(Debug)]
pub(super) struct Probe {
    sample: Vec<u32>,
    window: usize,
    groups: Vec<Vec<Group>>,
    /// Share of the tokens that is left out.
    trimmed: f64,
}

impl Probe {
    /// Takes windows of `text`, spread evenly over it: as many as [`ROWS_A_TOKEN`] allows, but at least
    /// [`LEAST_WINDOWS`]. `groups` are those of each stage; a model with `experts` has [`TRIMMED`] means.
    pub fn new(text: Text<'_>, groups: Vec<Vec<Group>>, experts: bool) -> Probe {
        let there = text.tokens.len() / text.window;
        let copies = 1 + groups.iter().map(Vec::len).sum::<usize>();
        let windows = (ROWS_A_TOKEN * there / copies).clamp(LEAST_WINDOWS.min(there), there);
        let starts = (0..windows).map(|at| at * there / windows * text.window);
        let sample = starts.flat_map(|start| &text.tokens[start..start + text.window]).copied().collect();
        let trimmed = if experts { TRIMMED } else { 0.0 };
        Probe { sample, window: text.window, groups, trimmed }
    }

    /// The groups, stage after stage.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().flatten()
    }

    /// Plays the copies in the file `before` through stage `at`, whose plan is `part`, and adds those of its
    /// groups, with `codes` by name. The file `after` is on the disk when this returns.
    ///
    /// # Errors
    /// As [`Playback::advance`].
    pub fn advance(
        &self,
        (at, part): (usize, &Plan),
        codes: &HashMap<String, Weight>,
        playback: &mut Playback<'_, '_>,
        (before, after): (Option<&Path>, &Path),
        share_done: &mut ShareDone<'_>,
    ) -> Result<(), Error> {
        let mut out = StreamWriter::create(after.to_owned())?;
        let copies = 1 + self.groups[..at].iter().map(Vec::len).sum::<usize>();
        let all = copies + self.groups[at].len();
        let tokens = self.sample.repeat(copies);
        let mut speed = Speed::default();
        let mut play = |part: Plan, tokens: &[u32], done: usize, copies: usize| {
            let text = Text::new(tokens, self.window);
            let mut copy = Playback { stream: playback.stream, text, make: &mut *playback.make, speed };
            copy.advance(part, before, &mut out, &mut |share| {
                share_done((done as f64 + share * copies as f64) / all as f64)
            })?;
            speed = copy.speed;
            Ok::<(), Error>(())
        };
        play(part.clone(), &tokens, 0, copies)?;
        for (done, group) in self.groups[at].iter().enumerate() {
            // The clean copy is the first.
            play(with_codes(part, group, codes).0, &self.sample, copies + done, 1)?;
        }
        playback.speed.played += speed.played;
        playback.speed.played_seconds += speed.played_seconds;
        Ok(out.finish()?)
    }

    /// The divergence in nats of the logits of every group's copy from those of the clean one, a mean without
    /// the trimmed tokens, in the order of [`Probe::groups`]; `part` is the last stage's plan, `logits`
    /// its result.
    ///
    /// # Errors
    /// As [`Playback::advance`]; [`Error::Logits`] for a model whose logits are no distribution.
    pub fn divergences(
        &self,
        (part, logits): (&Plan, BufferId),
        codes: &HashMap<String, Weight>,
        playback: &mut Playback<'_, '_>,
        before: &Path,
        share_done: &mut ShareDone<'_>,
    ) -> Result<Vec<f64>, Error> {
        let text = Text::new(&self.sample, self.window);
        let mut make = |part: Plan| (playback.make)(part, text.context()).map_err(Error::Player);
        let mut players = vec![make(part.clone())?];
        let mut copies = Vec::new();
        let before_head = self.groups.len() - 1;
        for (stage, group) in
            self.groups.iter().enumerate().flat_map(|(at, stage)| stage.iter().map(move |g| (at, g)))
        {
            // The head is its stage's own; a tied one has the codes of the embedding here as well.
            let (changed, any) = with_codes(part, group, codes);
            if any {
                players.push(make(changed)?);
            }
            let copy = if stage < before_head { copies.len() + 1 } else { 0 };
            copies.push((copy, if any { players.len() - 1 } else { 0 }));
        }
        let width = part.buffer(playback.stream).width;
        let mut stream = StreamReader::open(before)?;
        let mut found = vec![Vec::new(); copies.len()];
        for (at, tokens) in self.sample.chunks(self.window).enumerate() {
            let mut play = |(copy, player): (usize, usize)| {
                let player: &mut dyn Player = players[player].as_mut();
                let batch = Text::new(tokens, self.window).batches(player.page_size()).next();
                stream.seek((copy * self.sample.len() + at * self.window) * width)?;
                let rows = stream.next(self.window * width)?;
                self::logits(player, &batch.unwrap_or_default(), (playback.stream, &rows), logits)
            };
            let clean = play((0, 0))?;
            let vocab_size = clean.len() / self.window;
            let sums = log_sums(&clean, vocab_size).map_err(Error::Logits)?;
            for (done, (found, copy)) in found.iter_mut().zip(&copies).enumerate() {
                let played = at * copies.len() + done;
                share_done(played as f64 * self.window as f64 / (copies.len() * self.sample.len()) as f64)?;
                let of_copy = divergences((&clean, &sums), &play(*copy)?, vocab_size);
                found.extend(of_copy.map_err(Error::Logits)?);
            }
        }
        Ok(found.into_iter().map(|found| trimmed_mean(found, self.trimmed)).collect())
    }
}

/// The groups of a stage: of the tensors for which `chosen` holds, those of experts by kind, each other one
/// for itself.
pub(super) fn groups(part: &Plan, chosen: &HashSet<&str>) -> Vec<Group> {
    let banks = part.steps.iter().filter_map(|step| match &step.op {
        Op::MoeExperts { bank, .. } => Some(bank),
        _ => None,
    });
    let kinds = banks.flat_map(|bank| {
        let ups: Vec<_> = bank.iter().flat_map(|expert| [expert.gate, expert.up]).collect();
        [ups, bank.iter().map(|expert| expert.down).collect()]
    });
    let name = |id: &marlin_kernel::plan::WeightId| part.weights[id.0 as usize].0.as_str();
    let of_experts = kinds
        .map(|ids| ids.iter().map(name).filter(|name| chosen.contains(name)).map(str::to_owned).collect());
    let mut groups: Vec<Group> = of_experts.filter(|group: &Group| !group.is_empty()).collect();
    let grouped: HashSet<&str> = groups.iter().flatten().map(String::as_str).collect();
    let mut alone: Vec<&str> = chosen.difference(&grouped).copied().collect();
    alone.sort_unstable();
    let alone = alone.into_iter().map(|name| vec![name.to_owned()]).collect::<Vec<Group>>();
    groups.extend(alone);
    groups
}

/// A plan in which the tensors of a group have these codes, and whether it has any of them.
fn with_codes(part: &Plan, group: &Group, codes: &HashMap<String, Weight>) -> (Plan, bool) {
    let (mut changed, mut any) = (part.clone(), false);
    for (name, weight) in &mut changed.weights {
        if let (true, Some(code)) = (weight.cols() > 0 && group.contains(name), codes.get(name)) {
            *weight = code.clone();
            any = true;
        }
    }
    (changed, any)
}

/// The logits of a batch with these rows of the residual stream.
fn logits(
    player: &mut dyn Player,
    batch: &Batch,
    (stream, rows): (BufferId, &[f32]),
    logits: BufferId,
) -> Result<Vec<f32>, Error> {
    player.begin(batch)?;
    player.write(stream, rows)?;
    player.run(0..player.plan().steps.len())?;
    Ok(player.read(logits)?)
}

/// The divergence of each row of logits from that of a reference, whose [`log_sum`]s are known.
fn divergences(
    (reference, sums): (&[f32], &[f64]),
    candidate: &[f32],
    vocab_size: usize,
) -> Result<Vec<f64>, softmax::BadLogits> {
    let pairs = reference.par_chunks(vocab_size).zip(sums).zip(candidate.par_chunks(vocab_size));
    pairs.map(|((p, sum), q)| Ok(softmax::divergence((p, *sum), (q, log_sum(q)?)))).collect()
}

/// The [`log_sum`] of each row of logits.
fn log_sums(logits: &[f32], vocab_size: usize) -> Result<Vec<f64>, softmax::BadLogits> {
    logits.par_chunks(vocab_size).map(log_sum).collect()
}

/// [`softmax::log_sum_exp`] of a row.
fn log_sum(row: &[f32]) -> Result<f64, softmax::BadLogits> {
    Ok(softmax::log_sum_exp(row, softmax::largest(row)?))
}

/// The mean without this share of the largest.
fn trimmed_mean(mut values: Vec<f64>, trimmed: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.truncate(((values.len() as f64 * (1.0 - trimmed)) as usize).max(1));
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_spread_over_the_text() {
        let tokens: Vec<u32> = (0..100).collect();
        let groups = vec![vec![vec!["a".to_owned()]; 7]; 2];
        let probe = Probe::new(Text::new(&tokens, 10), groups.clone(), true);
        // 4 * 10 windows for 15 copies are 2, but at least 4 are played.
        assert_eq!(probe.sample.chunks(10).map(|window| window[0]).collect::<Vec<_>>(), [0, 20, 50, 70]);
        let probe = Probe::new(Text::new(&tokens[..25], 10), groups, false);
        assert_eq!(probe.sample, tokens[..20]);
    }

    #[test]
    fn the_largest_tenth_does_not_count() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1e9];
        assert_eq!(trimmed_mean(values.to_vec(), 0.1), 5.0);
        assert_eq!(trimmed_mean(vec![3.0], 0.1), 3.0);
        assert_eq!(trimmed_mean(vec![1.0, 9.0, 2.0], 0.0), 4.0);
    }

    #[test]
    fn a_row_diverges_from_itself_by_nothing() {
        let rows = [0.0, 1.0, 2.0, 2.0, 1.0, 0.0];
        let sums = log_sums(&rows, 3).unwrap();
        let found = divergences((&rows, &sums), &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0], 3).unwrap();
        assert_eq!(found[0], 0.0);
        // p = softmax(2, 1, 0), q the same turned round: sum p (ln p - ln q) = 2 (p_0 - p_2).
        let exp = [2.0_f64, 1.0, 0.0].map(f64::exp);
        let expected = 2.0 * (exp[0] - exp[2]) / exp.iter().sum::<f64>();
        assert!((found[1] - expected).abs() < 1e-9, "{found:?}");
        assert!(log_sums(&[f32::NAN; 3], 3).is_err());
        assert!(divergences((&rows, &sums), &[f32::NAN; 6], 3).is_err());
    }
}
