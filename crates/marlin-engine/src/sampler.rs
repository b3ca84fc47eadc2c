//! One sequence's sampling: what was seen, the numbers that decide, and the choice itself where the
//! logits come to the host.
//!
//! A choice depends on the logits, on the sequence's own tokens and on its own seed, never on what
//! else runs, nor on whether the host makes it or the player does: both use [`Choice`]. The n-th token
//! is decided by the n-th number of the seed's stream, whenever and however often it is asked for.

use marlin_kernel::sample::{
    Choice, rank,
    reference::{self, choose},
    softmax,
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{BadLogits, Sampling};

/// The state of one sequence's sampling.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// What is asked for, and the tokens seen so far.
    choice: Choice,
    logit_bias: Vec<(u32, f32)>,
    seed: u64,
    /// Tokens sampled so far.
    sampled: usize,
}

/// Memory that samplers share, so that a token allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    biased: Vec<f32>,
    keys: Vec<u64>,
    choice: reference::Scratch,
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
    /// [`Sampling::check`]. Without a seed it takes one from the system's entropy.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Sampler {
        let mut choice = Choice {
            temperature: sampling.temperature,
            top_k: u32::try_from(sampling.top_k).unwrap_or(u32::MAX),
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            ..Choice::default()
        };
        if choice.penalizes() {
            choice.seen = prompt.iter().map(|&token| (token, 0)).collect();
            choice.seen.sort_unstable();
            choice.seen.dedup();
        }
        let seed = sampling.seed.unwrap_or_else(rand::random);
        Sampler { choice, logit_bias: sampling.logit_bias, seed, sampled: 0 }
    }

    /// Chooses the next token and remembers it.
    ///
    /// # Errors
    /// [`BadLogits`] when the row, or what bias and penalties leave of it, is no distribution. Panics if
    /// a token of the bias, or of the prompt under a penalty, is outside the row.
    pub fn sample(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<u32, BadLogits> {
        let mut row = logits;
        if !self.logit_bias.is_empty() {
            scratch.biased.clear();
            scratch.biased.extend_from_slice(logits);
            for &(token, bias) in &self.logit_bias {
                scratch.biased[token as usize] += bias;
            }
            row = &scratch.biased;
        }
        self.choice.uniform = self.uniform(self.sampled);
        let token = choose(row, &self.choice, 0, &mut scratch.choice)?;
        self.accept(token);
        Ok(token)
    }

    /// How the next token is chosen, for a player that does it itself; `None` if it cannot: with a
    /// bias. With `pending`, one token is being chosen that is not accepted yet: the choice is that of
    /// the token after it.
    pub fn choice(&self, pending: bool) -> Option<Choice> {
        let uniform = self.uniform(self.sampled + usize::from(pending));
        self.logit_bias.is_empty().then(|| Choice { uniform, own: pending, ..self.choice.clone() })
    }

    /// Remembers a token that was chosen.
    pub fn accept(&mut self, token: u32) {
        self.sampled += 1;
        if self.choice.penalizes() {
            let seen = &mut self.choice.seen;
            match seen.binary_search_by_key(&token, |&(token, _)| token) {
                Ok(at) => seen[at].1 += 1,
                Err(at) => seen.insert(at, (token, 1)),
            }
        }
    }

    /// Number `index` of the seed's stream; greedy choices need none.
    fn uniform(&self, index: usize) -> f32 {
        if self.choice.temperature == 0.0 {
            return 0.0;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_word_pos(index as u128);
        rng.random()
    }
}

#[cfg(test)]
mod tests;
