//! What can be wrong with a plan or with playing it.

/// An error of this crate or of a player.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step of a plan does not fit its buffers or weights: a bug of the model's code.
    #[error("step {step} ({label}): {what}: found {found}, expected {expected}")]
    Step {
        /// Index of the step.
        step: usize,
        /// The step's label.
        label: String,
        /// The argument that does not fit.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A batch does not fit the plan or the player's caches.
    #[error("batch: {what}: found {found}, expected {expected}")]
    Batch {
        /// The part of the batch that does not fit.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The device gave up: lost, out of memory, or a driver's own error.
    #[error("{device}: {reason}")]
    Device {
        /// The device's name.
        device: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// What [`Chooser::collect`](crate::Chooser::collect) says when no batch waits.
    pub fn nothing_submitted() -> Error {
        let (found, expected) = ("0".to_owned(), "1 or more to collect".to_owned());
        Error::Batch { what: "batches submitted", found, expected }
    }
}
