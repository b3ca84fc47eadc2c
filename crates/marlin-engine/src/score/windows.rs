//! Cuts a text into windows and plays them, by one of two protocols.
//!
//! In both the text is tokenized once, cut into `len / n_ctx` windows that do not overlap (the tail is
//! left out), and each window is played from an empty cache. They differ in what is scored and how
//! long a window usually is, so their numbers must never be mixed:
//!
//! ```text
//!  position        0 | 1 | .. | n/2 - 1 | n/2 | .. | n - 2 | n - 1
//!  plays           BOS or token 0, then the window's tokens  |  -
//!  LlamaCpp         -   -    -     -    | n/2+1 ..   n - 1   |  -     n = 512
//!  Gptq             1   2   ..                       n - 1   |  -     n = 2048
//! ```
//!
//! [`Protocol::LlamaCpp`] is `tools/perplexity/perplexity.cpp` of ggml-org/llama.cpp: the second half
//! predicts, so that every prediction has context, and a BOS replaces the first token of every window.
//! There it is asked for two windows at least; here one is enough. [`Protocol::Gptq`] is that of the
//! GPTQ paper (arXiv 2210.17323) and most after it: every position predicts, and the mean over windows
//! of their means, being of equal lengths, is the mean over all.

use std::ops::Range;

use marlin_kernel::{Batch, Player, SequenceRows};

use crate::Error;

/// What is scored of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The second half.
    #[default]
    LlamaCpp,
    /// All that has a token before it.
    Gptq,
}

/// A text cut into windows.
#[derive(Clone, Debug)]
pub struct Windows {
    tokens: Vec<u32>,
    n_ctx: usize,
    bos: Option<u32>,
    protocol: Protocol,
}

/// Windows that are played side by side, and the positions of each that one batch plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub windows: Range<usize>,
    pub positions: Range<usize>,
}

impl Windows {
    /// Cuts `tokens` into windows of `n_ctx`, to be scored by [`Protocol::LlamaCpp`]; `bos` replaces the
    /// first token of each when the tokenizer adds one.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when `n_ctx` is below 3 or the text shorter than one window.
    pub fn new(mut tokens: Vec<u32>, n_ctx: usize, bos: Option<u32>) -> Result<Windows, Error> {
        if n_ctx < 3 {
            return Err(Error::Evaluation {
                what: "window",
                found: n_ctx,
                expected: "at least 3 tokens".to_owned(),
            });
        }
        if tokens.len() < n_ctx {
            let expected = format!("at least one window of {n_ctx} tokens");
            return Err(Error::Evaluation { what: "text", found: tokens.len(), expected });
        }
        tokens.truncate(tokens.len() / n_ctx * n_ctx);
        Ok(Windows { tokens, n_ctx, bos, protocol: Protocol::LlamaCpp })
    }

    /// Keeps the first `count` windows at most, and at least one.
    pub fn truncate(&mut self, count: usize) {
        self.tokens.truncate(count.max(1).saturating_mul(self.n_ctx));
    }

    /// The same windows, scored by `protocol`.
    pub fn scored_by(self, protocol: Protocol) -> Windows {
        Windows { protocol, ..self }
    }

    /// How they are scored.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Tokens of a window.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Windows, at least one.
    pub fn count(&self) -> usize {
        self.tokens.len() / self.n_ctx
    }

    /// Positions of a window whose logits are scored.
    pub fn scored(&self) -> Range<usize> {
        let first = match self.protocol {
            Protocol::LlamaCpp => self.n_ctx / 2,
            Protocol::Gptq => 0,
        };
        first..self.n_ctx - 1
    }

    /// The token that `position` of `window` should predict.
    pub fn target(&self, window: usize, position: usize) -> u32 {
        self.tokens[window * self.n_ctx + position + 1]
    }

    /// The token played at `position` of `window`.
    pub fn input(&self, window: usize, position: usize) -> u32 {
        match self.bos {
            Some(bos) if position == 0 => bos,
            _ => self.tokens[window * self.n_ctx + position],
        }
    }

    /// Checks tokens and window against a player.
    pub(super) fn check(&self, player: &dyn Player) -> Result<(), Error> {
        let vocab_size = player.plan().vocab_size();
        let largest = self.tokens.iter().copied().chain(self.bos).max().unwrap_or(0) as usize;
        if largest >= vocab_size {
            let expected = format!("tokens below {vocab_size}");
            return Err(Error::Evaluation { what: "token", found: largest, expected });
        }
        let room = player.pages().saturating_mul(player.page_size());
        if room < self.n_ctx {
            let expected = format!("at most the {room} tokens of the cache");
            return Err(Error::Evaluation { what: "window", found: self.n_ctx, expected });
        }
        Ok(())
    }

    /// Windows whose caches fit a checked player at once.
    pub(super) fn side_by_side(&self, player: &dyn Player) -> usize {
        player.pages() / self.n_ctx.div_ceil(player.page_size())
    }

    /// The batches that play everything: whole windows side by side (`most` at most) while `rows`
    /// tokens hold them, pieces of one window otherwise. The last position is never needed.
    pub(super) fn passes(&self, rows: usize, most: usize) -> impl Iterator<Item = Pass> {
        let played = self.n_ctx - 1;
        let group = (rows / played).clamp(1, most.max(1));
        let piece = rows.clamp(1, played);
        (0..self.count()).step_by(group).flat_map(move |first| {
            (0..played).step_by(piece).map(move |start| Pass {
                windows: first..(first + group).min(self.count()),
                positions: start..(start + piece).min(played),
            })
        })
    }

    /// The scored positions of a pass, in the order of the batch's logits.
    pub(super) fn outputs(&self, pass: &Pass) -> impl Iterator<Item = (usize, usize)> {
        let positions = pass.positions.start.max(self.scored().start)..pass.positions.end;
        pass.windows.clone().flat_map(move |window| positions.clone().map(move |position| (window, position)))
    }

    /// The pass as a batch. Windows of a group have pages of their own, the same in every pass of the
    /// group; the next group writes over them.
    pub(super) fn batch(&self, pass: &Pass, page_size: usize) -> Batch {
        let pages = self.n_ctx.div_ceil(page_size) as u32;
        let mut batch = Batch::default();
        for (slot, window) in (0u32..).zip(pass.windows.clone()) {
            let row = batch.tokens.len();
            batch.tokens.extend(pass.positions.clone().map(|position| self.input(window, position)));
            batch.positions.extend(pass.positions.clone().map(|position| position as u32));
            let rows = row..batch.tokens.len();
            let scored =
                pass.positions.clone().zip(rows.clone()).filter(|(at, _)| self.scored().contains(at));
            batch.outputs.extend(scored.map(|(_, row)| row as u32));
            batch.sequences.push(SequenceRows { rows, pages: (slot * pages..(slot + 1) * pages).collect() });
        }
        batch
    }
}

#[cfg(test)]
mod tests;
