//! How one token is chosen, as data: what a request asks of sampling, what its sequence has seen, and
//! the random number.

use crate::{Error, check::require};

/// In place of a token: the logits were no distribution.
pub const NO_TOKEN: u32 = u32::MAX;

/// How the token after one output is chosen. The steps run in this order, each on what the one before
/// left:
///
/// 1. Repetition: a token of `seen` has its logit divided by `repetition_penalty` if positive,
///    multiplied if not.
/// 2. `logit -= count * frequency_penalty + presence_penalty` for tokens with a count above 0.
/// 3. The temperature divides the logits; 0 takes the largest logit and ends here.
/// 4. `top_k` keeps the k largest.
/// 5. `top_p` keeps the fewest largest whose probabilities, among what is left, sum to at least
///    `top_p`; always one.
/// 6. `min_p` keeps those with at least `min_p` times the largest probability.
/// 7. The token at share `uniform` of the kept probability, in token order.
///
/// Equal logits rank by token, lowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// In 0..=1; 1 keeps all.
    pub top_p: f32,
    /// In 0..=1; 0 keeps all.
    pub min_p: f32,
    /// Above 0; 1 changes nothing.
    pub repetition_penalty: f32,
    /// 0 changes nothing.
    pub frequency_penalty: f32,
    /// 0 changes nothing.
    pub presence_penalty: f32,
    /// Tokens of the sequence, ascending, each with how often it was sampled (0: prompt only).
    pub seen: Vec<(u32, u32)>,
    /// Whether the output's own token, the one the row was played with, counts as sampled once more
    /// than `seen` says: it may have been chosen on the device.
    pub own: bool,
    /// In 0..1; the device draws nothing.
    pub uniform: f32,
}

impl Default for Choice {
    /// Greedy.
    fn default() -> Choice {
        Choice {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seen: Vec::new(),
            own: false,
            uniform: 0.0,
        }
    }
}

impl Choice {
    /// Words of a choice in the batch that a device reads.
    pub const WORDS: usize = 12;

    /// Whether any logit changes by what was seen.
    pub fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// The choice as the shader reads it; its seen list, [`Choice::seen_words`], starts at word
    /// `seen_at` of the batch.
    ///
    /// ```text
    ///  0 temperature | 1 top_k | 2 top_p | 3 temperature * ln(min_p), finite | 4 repetition | 5 frequency
    ///  6 presence | 7 uniform | 8 flags: 1 own, 2 penalizes | 9 seen_at | 10 entries of the list | 11 zero
    /// ```
    pub fn words(&self, seen_at: u32) -> [u32; Choice::WORDS] {
        let flags = u32::from(self.own) | u32::from(self.penalizes()) << 1;
        let entries = if self.penalizes() { self.seen.len() as u32 } else { 0 };
        [
            self.temperature.to_bits(),
            self.top_k,
            self.top_p.to_bits(),
            (self.temperature * self.min_p.ln()).max(f32::MIN).to_bits(),
            self.repetition_penalty.to_bits(),
            self.frequency_penalty.to_bits(),
            self.presence_penalty.to_bits(),
            self.uniform.to_bits(),
            flags,
            seen_at,
            entries,
            0,
        ]
    }

    /// The seen list as the shader reads it, `(token, count)` after one another; empty where it
    /// changes nothing.
    pub fn seen_words(&self) -> impl Iterator<Item = u32> {
        let seen = if self.penalizes() { &self.seen[..] } else { &[] };
        seen.iter().flat_map(|&(token, count)| [token, count])
    }

    /// Checks every number against its range, for logits of `vocabulary` tokens.
    ///
    /// # Errors
    /// [`Error::Batch`] for the first outside.
    pub fn check(&self, vocabulary: usize) -> Result<(), Error> {
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        let repetition = self.repetition_penalty;
        let temperature = (0.0..f32::INFINITY).contains(&self.temperature);
        let ranges = [
            ("temperature", self.temperature, temperature, "0 or more"),
            ("top_p", self.top_p, unit(self.top_p), "0 to 1"),
            ("min_p", self.min_p, unit(self.min_p), "0 to 1"),
            ("repetition penalty", repetition, repetition.is_finite() && repetition > 0.0, "more than 0"),
            ("frequency penalty", self.frequency_penalty, self.frequency_penalty.is_finite(), "finite"),
            ("presence penalty", self.presence_penalty, self.presence_penalty.is_finite(), "finite"),
            ("uniform", self.uniform, (0.0..1.0).contains(&self.uniform), "0 or more, below 1"),
        ];
        for (what, found, holds, expected) in ranges {
            require(what, holds, found, || expected.to_owned())?;
        }
        let unsorted = self.seen.windows(2).find(|pair| pair[0].0 >= pair[1].0);
        let found = unsorted.map_or(0, |pair| pair[1].0);
        require("seen token", unsorted.is_none(), found, || "ascending tokens".to_owned())?;
        let last = self.seen.last().map_or(0, |&(token, _)| token);
        let inside = self.seen.is_empty() || (last as usize) < vocabulary;
        require("seen token", inside, last, || format!("fewer than {vocabulary}"))
    }
}
