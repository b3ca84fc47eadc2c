//! What can be wrong with a request, with the logits, or with playing a batch.

use marlin_kernel::sample::BadLogits;

/// An error of this crate; the text says where, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request can never be served as it is.
    #[error("request: {what}: found {found}, expected {expected}")]
    Request {
        /// The part of the request.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The engine was given limits that contradict each other or the player.
    #[error("limits: {what}: found {found}, expected {expected}")]
    Limits {
        /// The limit.
        what: &'static str,
        /// What it is.
        found: usize,
        /// What it should be.
        expected: String,
    },
    /// The windows of an evaluation do not fit the text or the players.
    #[error("evaluation: {what}: found {found}, expected {expected}")]
    Evaluation {
        /// The part that does not fit.
        what: &'static str,
        /// What it is.
        found: usize,
        /// What it should be.
        expected: String,
    },
    /// A scored position has unusable logits.
    #[error("window {window}, position {position}: {logits}")]
    Window {
        /// The window, from 0.
        window: usize,
        /// The position in the window whose logits are unusable.
        position: usize,
        /// What is wrong with them.
        logits: BadLogits,
    },
    /// The player returned another number of logits than the batch asked for.
    #[error("player {player}: {found} logits, expected {rows} rows of {vocab_size}")]
    Logits {
        /// The player.
        player: String,
        /// Logits it returned.
        found: usize,
        /// Rows that were wanted.
        rows: usize,
        /// Logits of a row.
        vocab_size: usize,
    },
    /// The player chose another number of tokens than the batch has outputs.
    #[error("player {player}: {found} tokens, expected {outputs}")]
    Tokens {
        /// The player.
        player: String,
        /// Tokens it chose.
        found: usize,
        /// Outputs of the batch.
        outputs: usize,
    },
    /// The player refused the batch or failed.
    #[error(transparent)]
    Player(#[from] marlin_kernel::Error),
    /// A stop string is unusable.
    #[error(transparent)]
    Text(#[from] marlin_text::Error),
}
