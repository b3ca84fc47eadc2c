//! A request while it is being served: its tokens, the pages they are cached in, and when it ends.
//!
//! A sequence does not know whether it is in prefill or in decode: it has tokens, of which the
//! first `cached` were played or submitted. It waits while it holds no pages and runs while it holds
//! pages for all its tokens. Its newest tokens may still be in flight: chosen by a player that has
//! not been asked yet, and playable all the same.

use std::fmt;

use marlin_kernel::{Batch, sample::Choice};

use crate::{BadLogits, Error, Sampler, Sampling, pages::Page};

/// Names a sequence for as long as its engine lives; later sequences have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub(crate) u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sequence {}", self.0)
    }
}

/// What to generate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Tokens to continue, at least one.
    pub prompt: Vec<u32>,
    /// Tokens to generate at most, at least 1; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Tokens that end the sequence; the one that did is reported.
    pub stop_tokens: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Report log-probabilities: of the chosen token and of this many of the likeliest.
    pub logprobs: Option<usize>,
}

impl Request {
    /// Checks the request against the vocabulary and the longest sequence there can be.
    ///
    /// # Errors
    /// [`Error::Request`] names what can never be served.
    pub fn check(&self, vocab_size: usize, context: usize) -> Result<(), Error> {
        let refuse = |what, found: String, expected: String| Err(Error::Request { what, found, expected });
        if self.prompt.is_empty() {
            return refuse("prompt", "0 tokens".to_owned(), "at least 1".to_owned());
        }
        if let Some(token) = self.prompt.iter().find(|&&token| token as usize >= vocab_size) {
            return refuse("prompt", format!("token {token}"), format!("tokens below {vocab_size}"));
        }
        if self.max_tokens == Some(0) {
            return refuse("max_tokens", "0".to_owned(), "at least 1".to_owned());
        }
        let new = self.max_tokens.unwrap_or(1);
        if self.prompt.len().saturating_add(new) > context {
            let found = format!("{} tokens and {new} to generate", self.prompt.len());
            return refuse("length", found, format!("at most {context} together"));
        }
        if let Some(count) = self.logprobs.filter(|&count| count > vocab_size) {
            return refuse("logprobs", count.to_string(), format!("at most {vocab_size}"));
        }
        self.sampling.check(vocab_size)
    }
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finish {
    /// It generated this stop token.
    StopToken(u32),
    /// It has as many tokens as it may.
    Length,
    /// Its text contains a stop string.
    StopString,
    /// The caller ended it.
    Cancelled,
    /// Its logits gave no distribution; no token came of them.
    Failed(BadLogits),
}

/// A request in the engine.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub id: SequenceId,
    /// Prompt, then answer.
    pub tokens: Vec<u32>,
    /// The first `cached` tokens are in the pages, or will be after what was submitted.
    pub cached: usize,
    /// Tokens after `tokens` that submitted batches choose: two between submitting a batch and
    /// collecting the one before, else one at most.
    pub in_flight: usize,
    /// The output of the newest submitted batch that chooses the newest of them.
    pub output: u32,
    /// Empty while waiting.
    pub pages: Vec<Page>,
    pub sampler: Sampler,
    pub logprobs: Option<usize>,
    pub finish: Option<Finish>,
    stop_tokens: Vec<u32>,
    /// Length at which the sequence ends.
    end: usize,
}

impl Sequence {
    /// `context` is the longest a sequence can be; the request was checked against it.
    pub fn new(id: SequenceId, request: Request, context: usize) -> Sequence {
        let end = request.max_tokens.map_or(context, |new| request.prompt.len() + new);
        Sequence {
            id,
            cached: 0,
            in_flight: 0,
            output: 0,
            pages: Vec::new(),
            sampler: Sampler::new(request.sampling, &request.prompt),
            logprobs: request.logprobs,
            finish: None,
            stop_tokens: request.stop_tokens,
            end,
            tokens: request.prompt,
        }
    }

    /// Tokens that can be played: a token in flight too, unless it is the last there can be.
    pub fn playable(&self) -> usize {
        let len = self.tokens.len() + self.in_flight;
        if len < self.end { len } else { self.tokens.len() }
    }

    /// Tokens that are yet to be played; none only if the last there can be is in flight.
    pub fn uncached(&self) -> usize {
        self.playable() - self.cached
    }

    /// The token at a playable position, for the next batch.
    pub fn token(&self, position: usize) -> u32 {
        self.tokens.get(position).copied().unwrap_or(Batch::chosen(self.output))
    }

    /// How the token after all playable ones is chosen; `None` if only the host can.
    pub fn choice(&self) -> Option<Choice> {
        self.logprobs.is_none().then(|| self.sampler.choice(self.in_flight > 0)).flatten()
    }

    /// Appends a generated token and notes whether it is the last.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
        if self.stop_tokens.contains(&token) {
            self.finish = Some(Finish::StopToken(token));
        } else if self.tokens.len() >= self.end {
            self.finish = Some(Finish::Length);
        }
    }

    /// Gives the pages back; all tokens must be played again.
    pub fn release(&mut self) {
        self.pages.clear();
        self.cached = 0;
    }
}
