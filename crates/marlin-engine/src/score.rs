//! Measures a model on given text instead of generating: perplexity, and how far a candidate is from
//! a reference on the same windows.
//!
//! Every scored position keeps a few numbers and no logits, so memory does not grow with the
//! vocabulary times the text. Nothing is repaired: a NaN ends the evaluation, and implausible
//! results are marked as a [`Broken`] forward pass.

mod compare;
mod perplexity;
mod statistics;
mod windows;

pub use compare::{Comparison, compare};
pub use perplexity::{PartPerplexity, Perplexity, perplexity};
pub use statistics::{Estimate, quantile};
pub use windows::{Protocol, Windows};

/// A sign that the forward pass is wrong rather than coarse.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The model predicts no better than a uniform guess: within 10 % of the vocabulary size, or worse.
    #[error("perplexity {perplexity}: {vocab_size} tokens guessed at random give {vocab_size}")]
    Perplexity {
        /// The perplexity.
        perplexity: f64,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// The candidate's first choice is seldom the reference's: below 60 %.
    #[error("top-1 agreement {agreement}: below 0.6")]
    Agreement {
        /// Share of positions with the same first choice.
        agreement: f64,
    },
}
