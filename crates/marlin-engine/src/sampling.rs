//! What a request may ask of sampling: the numbers, their meaning, and their ranges.

use crate::Error;

/// How the next token is chosen. The default is greedy.
///
/// The steps run in this order, each on what the one before left (transformers 5.23
/// `generation/utils.py`, `_get_logits_processor`: bias, repetition, then temperature, top-k, top-p,
/// min-p; presence and frequency stand after repetition as in vLLM and llama.cpp):
///
/// 1. `logit_bias`: added to the logits.
/// 2. `repetition_penalty`: a token of the prompt or of the answer so far has its logit divided by
///    it if positive, multiplied if not (CTRL, arXiv 1909.05858, with the fix for negative logits
///    that transformers, llama.cpp and vLLM share).
/// 3. `frequency_penalty`, `presence_penalty`: `logit -= count * frequency + [count > 0] * presence`,
///    where `count` is how often the token was sampled so far, the prompt left out (OpenAI's API
///    reference; vLLM).
/// 4. `temperature`: logits are divided by it; 0 takes the largest logit and ends here.
/// 5. `top_k`: keeps the k largest.
/// 6. `top_p`: keeps the fewest largest whose probabilities, among what top-k left, sum to at least
///    `top_p` (arXiv 1904.09751); always one.
/// 7. `min_p`: keeps those with at least `min_p` times the largest probability (arXiv 2407.01082).
/// 8. The choice, by one number of the sequence's own generator.
///
/// Equal logits rank by token id, lowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy, 1 the model's own distribution.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// In 0..=1; 1 keeps all.
    pub top_p: f32,
    /// In 0..=1; 0 keeps all.
    pub min_p: f32,
    /// Above 0; 1 changes nothing.
    pub repetition_penalty: f32,
    /// 0 changes nothing.
    pub presence_penalty: f32,
    /// 0 changes nothing.
    pub frequency_penalty: f32,
    /// Token and what is added to its logit; -inf forbids the token.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same tokens, whatever else runs; `None` draws one.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

impl Sampling {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// [`Error::Request`] names the first one outside.
    pub fn check(&self, vocab_size: usize) -> Result<(), Error> {
        let unit = 0.0..=1.0;
        let checks = [
            ("temperature", self.temperature, (0.0..f32::INFINITY).contains(&self.temperature), "0 or more"),
            ("top_p", self.top_p, unit.contains(&self.top_p), "0 to 1"),
            ("min_p", self.min_p, unit.contains(&self.min_p), "0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0,
                "more than 0",
            ),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.is_finite(), "a finite number"),
            (
                "frequency_penalty",
                self.frequency_penalty,
                self.frequency_penalty.is_finite(),
                "a finite number",
            ),
        ];
        for (what, value, good, expected) in checks {
            if !good {
                return Err(Error::Request { what, found: value.to_string(), expected: expected.to_owned() });
            }
        }
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab_size || bias.is_nan() || bias == f32::INFINITY {
                return Err(Error::Request {
                    what: "logit_bias",
                    found: format!("{bias} for token {token}"),
                    expected: format!("a number below +inf for a token below {vocab_size}"),
                });
            }
        }
        Ok(())
    }
}
