//! Sampling, one row after another: the truth for every player, and the sampler of those that leave
//! the choice to their caller.
//!
//! Filters do not sort: each finds a cutoff in the order of [`rank`], and the choice is one pass over
//! the tokens at or above it, in token order.

use super::{
    BadLogits, Choice, NO_TOKEN, rank,
    softmax::{argmax, largest},
};
use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// Memory that choices share, so that a token allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    adjusted: Vec<f32>,
    keys: Vec<u64>,
}

/// The token of one row of logits; `own` is the token the row was played with.
///
/// # Errors
/// [`BadLogits`] when the row, or what penalties leave of it, is no distribution. Panics if a seen
/// token is outside the row: [`Choice::check`] excludes it.
pub fn choose(logits: &[f32], choice: &Choice, own: u32, scratch: &mut Scratch) -> Result<u32, BadLogits> {
    let Scratch { adjusted, keys } = scratch;
    let logits = penalize(logits, choice, own, adjusted);
    if choice.temperature == 0.0 {
        return argmax(logits);
    }
    let row = Row { logits, max: largest(logits)?, temperature: choice.temperature };
    Ok(row.pick(row.cutoff(choice, keys), f64::from(choice.uniform)))
}

/// The logits after penalties: the row itself when there are none.
fn penalize<'a>(logits: &'a [f32], choice: &Choice, own: u32, copy: &'a mut Vec<f32>) -> &'a [f32] {
    // An own token outside the row stands for a row that had no distribution.
    let own = Some(own).filter(|&own| choice.own && (own as usize) < logits.len());
    if !choice.penalizes() || (choice.seen.is_empty() && own.is_none()) {
        return logits;
    }
    copy.clear();
    copy.extend_from_slice(logits);
    let unlisted = own.filter(|own| choice.seen.binary_search_by_key(own, |&(token, _)| token).is_err());
    for (token, count) in choice.seen.iter().copied().chain(unlisted.map(|own| (own, 0))) {
        let count = count + u32::from(own == Some(token));
        let logit = &mut copy[token as usize];
        let penalty = choice.repetition_penalty;
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        if count > 0 {
            *logit -= count as f32 * choice.frequency_penalty + choice.presence_penalty;
        }
    }
    copy
}

/// A row of logits with a temperature: the weight of a token is `exp((logit - max) / temperature)`.
pub(super) struct Row<'a> {
    pub logits: &'a [f32],
    pub max: f32,
    pub temperature: f32,
}

impl Row<'_> {
    fn weight(&self, logit: f32) -> f64 {
        f64::from(((logit - self.max) / self.temperature).exp())
    }

    /// Tokens at or above the cutoff with their weights, in token order.
    pub fn kept(&self, cutoff: u64) -> impl Iterator<Item = (u32, f64)> {
        let ranked =
            (0u32..).zip(self.logits).filter(move |&(token, &logit)| rank::key(logit, token) >= cutoff);
        ranked.map(|(token, &logit)| (token, self.weight(logit)))
    }

    fn mass(&self, cutoff: u64) -> f64 {
        self.kept(cutoff).map(|(_, weight)| weight).sum()
    }

    /// The lowest key that top-k, top-p and min-p keep.
    pub fn cutoff(&self, choice: &Choice, keys: &mut Vec<u64>) -> u64 {
        let mut cutoff = 0;
        if (1..self.logits.len()).contains(&(choice.top_k as usize)) {
            rank::fill(self.logits, 0, keys);
            cutoff = *keys.select_nth_unstable_by(choice.top_k as usize - 1, |a, b| b.cmp(a)).1;
        }
        if choice.top_p < 1.0 {
            cutoff = self.nucleus(cutoff, f64::from(choice.top_p), keys);
        }
        // exp((logit - max) / t) >= min_p, solved for the logit; ln 0 keeps all.
        cutoff.max(rank::floor(self.max + self.temperature * choice.min_p.ln()))
    }

    /// The key at which the best tokens reach a share of the mass at or above `cutoff`.
    ///
    /// Tokens lighter than `(1 - share) * mass / tokens` hold less than the mass to leave out even if
    /// all are, so only the others are sorted: thousands of 150 000 in a language model's row.
    fn nucleus(&self, cutoff: u64, share: f64, keys: &mut Vec<u64>) -> u64 {
        let mass = self.mass(cutoff);
        let lightest = (1.0 - share) * mass / self.logits.len() as f64;
        let floor = rank::floor(self.max + self.temperature * lightest.ln() as f32);
        rank::fill(self.logits, cutoff.max(floor), keys);
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = 0.0;
        let reached = keys.iter().find(|&&key| {
            sum += self.weight(rank::logit(key));
            sum >= share * mass
        });
        // Rounding may leave the sum a little short.
        reached.or(keys.last()).copied().unwrap_or(cutoff)
    }

    /// The token at share `at` (0..1) of the kept mass.
    pub fn pick(&self, cutoff: u64, at: f64) -> u32 {
        let mut left = at * self.mass(cutoff);
        let mut chosen = 0;
        for (token, weight) in self.kept(cutoff).filter(|&(_, weight)| weight > 0.0) {
            chosen = token;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        chosen
    }
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Sample { logits, out } = op else { unreachable!("{op:?} is no sample") };
    let batch = &memory.batch;
    let mut scratch = Scratch::default();
    let tokens: Vec<u32> = memory
        .load(logits)
        .chunks_exact(logits.len())
        .zip(batch.choices.iter().zip(&batch.outputs))
        .map(|(row, (choice, &output))| {
            choose(row, choice, batch.tokens[output as usize], &mut scratch).unwrap_or(NO_TOKEN)
        })
        .collect();
    // Without choices there is no token, and nothing is stored.
    memory.store_words(out, &tokens);
    Ok(())
}
