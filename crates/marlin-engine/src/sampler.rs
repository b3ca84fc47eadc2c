//! Chooses a sequence's next token from its logits.
//!
//! A choice depends on the logits, on the sequence's own tokens and on its own generator, never on
//! what else runs. Filters do not sort: each finds a cutoff in the order of [`rank`],
//! and the choice is one pass over the tokens at or above it, in token order.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{BadLogits, Sampling, rank, softmax};

/// The state of one sequence's sampling.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    /// Times each seen token was sampled; 0 for tokens of the prompt only.
    seen: HashMap<u32, u32>,
}

/// Memory that samplers share, so that a token allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    keys: Vec<u64>,
}

/// How likely a token was, and which were likelier.
///
/// From the model's own distribution: the softmax of the logits before bias, penalties, temperature
/// and filters, as in OpenAI's API and vLLM's `raw_logprobs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The most likely tokens with theirs, best first.
    pub top: Vec<(u32, f32)>,
}

impl Logprobs {
    /// The log-probability of `token` and of the `top` most likely tokens.
    ///
    /// # Errors
    /// [`BadLogits`] when the row is no distribution. Panics if `token` is outside the row.
    pub fn of(logits: &[f32], token: u32, top: usize, scratch: &mut Scratch) -> Result<Logprobs, BadLogits> {
        let normalizer = softmax::log_sum_exp(logits, softmax::largest(logits)?);
        let logprob = |logit: f32| (f64::from(logit) - normalizer) as f32;
        let mut best = Vec::new();
        if top > 0 {
            rank::fill(logits, 0, &mut scratch.keys);
            let keys = rank::best(&mut scratch.keys, top);
            best.extend(keys.iter().map(|&key| (rank::token(key), logprob(rank::logit(key)))));
        }
        Ok(Logprobs { logprob: logprob(logits[token as usize]), top: best })
    }
}

impl Sampler {
    /// A sampler for a sequence that starts with `prompt`; `sampling` has passed
    /// [`Sampling::check`]. Without a seed the generator starts from the system's entropy.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Sampler {
        let rng = ChaCha8Rng::seed_from_u64(sampling.seed.unwrap_or_else(rand::random));
        let seen = match sampling.penalizes() {
            true => prompt.iter().map(|&token| (token, 0)).collect(),
            false => HashMap::new(),
        };
        Sampler { sampling, rng, seen }
    }

    /// Chooses the next token and remembers it. Greedy choices leave the generator alone.
    ///
    /// # Errors
    /// [`BadLogits`] when the row, or what bias and penalties leave of it, is no distribution. Panics if
    /// a token of the bias, or of the prompt under a penalty, is outside the row.
    pub fn sample(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<u32, BadLogits> {
        let Scratch { logits: copy, keys } = scratch;
        let logits = self.adjusted(logits, copy);
        let token = if self.sampling.temperature == 0.0 {
            softmax::argmax(logits)?
        } else {
            let row = Row { logits, max: softmax::largest(logits)?, temperature: self.sampling.temperature };
            row.pick(row.cutoff(&self.sampling, keys), self.rng.random())
        };
        if self.sampling.penalizes() {
            *self.seen.entry(token).or_insert(0) += 1;
        }
        Ok(token)
    }

    /// The logits after bias and penalties: the row itself when there are none.
    fn adjusted<'a>(&self, logits: &'a [f32], copy: &'a mut Vec<f32>) -> &'a [f32] {
        let sampling = &self.sampling;
        if sampling.logit_bias.is_empty() && self.seen.is_empty() {
            return logits;
        }
        copy.clear();
        copy.extend_from_slice(logits);
        for &(token, bias) in &sampling.logit_bias {
            copy[token as usize] += bias;
        }
        for (&token, &count) in &self.seen {
            let logit = &mut copy[token as usize];
            let penalty = sampling.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            if count > 0 {
                *logit -= count as f32 * sampling.frequency_penalty + sampling.presence_penalty;
            }
        }
        copy
    }
}

/// A row of logits with a temperature: the weight of a token is `exp((logit - max) / temperature)`.
struct Row<'a> {
    logits: &'a [f32],
    max: f32,
    temperature: f32,
}

impl Row<'_> {
    fn weight(&self, logit: f32) -> f64 {
        f64::from(((logit - self.max) / self.temperature).exp())
    }

    /// Tokens at or above the cutoff with their weights, in token order.
    fn kept(&self, cutoff: u64) -> impl Iterator<Item = (u32, f64)> {
        let ranked =
            (0u32..).zip(self.logits).filter(move |&(token, &logit)| rank::key(logit, token) >= cutoff);
        ranked.map(|(token, &logit)| (token, self.weight(logit)))
    }

    fn mass(&self, cutoff: u64) -> f64 {
        self.kept(cutoff).map(|(_, weight)| weight).sum()
    }

    /// The lowest key that top-k, top-p and min-p keep.
    fn cutoff(&self, sampling: &Sampling, keys: &mut Vec<u64>) -> u64 {
        let mut cutoff = 0;
        if (1..self.logits.len()).contains(&sampling.top_k) {
            rank::fill(self.logits, 0, keys);
            cutoff = *keys.select_nth_unstable_by(sampling.top_k - 1, |a, b| b.cmp(a)).1;
        }
        if sampling.top_p < 1.0 {
            cutoff = self.nucleus(cutoff, f64::from(sampling.top_p), keys);
        }
        // exp((logit - max) / t) >= min_p, solved for the logit; ln 0 keeps all.
        cutoff.max(rank::floor(self.max + self.temperature * sampling.min_p.ln()))
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
    fn pick(&self, cutoff: u64, at: f64) -> u32 {
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

#[cfg(test)]
mod tests;
