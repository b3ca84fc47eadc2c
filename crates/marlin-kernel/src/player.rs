//! What plays a plan: the interface between models and devices.

use std::ops::Range;

use crate::{
    Error,
    plan::{BufferId, Plan},
    sample::Choice,
};

/// The rows of one sequence in a batch, and where its cache rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceRows {
    /// Rows of the batch that belong to the sequence, in order of position.
    pub rows: Range<usize>,
    /// Pages of the sequence's cache: position p lies in `pages[p / page_size]`. They reach at least
    /// to the last position of the batch.
    pub pages: Vec<u32>,
}

impl SequenceRows {
    /// The cache row of a position: `pages[position / page_size] * page_size + position % page_size`.
    /// Panics if the position is on no page: [`Batch::check`] excludes it.
    pub fn slot(&self, position: usize, page_size: usize) -> usize {
        self.pages[position / page_size] as usize * page_size + position % page_size
    }
}

/// One step of generation: the tokens to run through the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Token ids, one per row; or [`Batch::chosen`].
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence; consecutive within a sequence, and all positions
    /// before the first were played earlier.
    pub positions: Vec<u32>,
    /// The sequences; their rows cover the batch in order, without gap or overlap.
    pub sequences: Vec<SequenceRows>,
    /// Rows whose logits are wanted, in the order of the logits' rows.
    pub outputs: Vec<u32>,
    /// How the token after each output is chosen, one per output; empty where the caller chooses: then
    /// the plan's sampling step does nothing.
    pub choices: Vec<Choice>,
}

impl Batch {
    const CHOSEN: u32 = 1 << 31;

    /// In place of a token id: the token that the batch played before chose for its output `output`,
    /// which the caller need not know. Where that is no token of the embedding table (the output had
    /// no distribution), token 0 is played.
    ///
    /// Panics if `output` takes more than 31 bits.
    pub const fn chosen(output: u32) -> u32 {
        assert!(output < Batch::CHOSEN, "an output takes 31 bits");
        Batch::CHOSEN | output
    }

    /// The output that [`Batch::chosen`] made this token of; `None` for a token id.
    pub const fn chosen_output(token: u32) -> Option<usize> {
        if token & Batch::CHOSEN == 0 { None } else { Some((token & !Batch::CHOSEN) as usize) }
    }
}

/// A device that plays one plan.
///
/// `begin` sets the rows of all buffers, `run` plays steps, `read` and `write` copy a buffer out and
/// in, so that two players can be compared after every step.
pub trait Player: Send {
    /// The device and the path chosen on it: `cpu, avx512-vnni, 2 threads, int8 activations`.
    fn describe(&self) -> String;

    /// The plan.
    fn plan(&self) -> &Plan;

    /// Tokens of a cache page.
    fn page_size(&self) -> usize;

    /// Pages of the caches.
    fn pages(&self) -> usize;

    /// Takes the batch the following steps run on. What buffers hold afterwards is unspecified, so a
    /// step reads only what another step or [`Player::write`] has written since.
    ///
    /// # Errors
    /// [`Error::Batch`] when it does not fit the plan or the caches.
    fn begin(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Plays the steps of `range` on the batch.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    fn run(&mut self, range: Range<usize>) -> Result<(), Error>;

    /// Copies a buffer out: rows of the batch times the buffer's width; U32 words as bits.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, Error>;

    /// Copies a buffer in; same shape as [`Player::read`].
    ///
    /// # Errors
    /// [`Error::Batch`] when the length is wrong.
    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), Error>;

    /// Plays the whole plan on `batch` and returns the logits `[outputs, vocabulary]`.
    ///
    /// # Errors
    /// As the parts.
    fn play(&mut self, batch: &Batch) -> Result<Vec<f32>, Error> {
        self.begin(batch)?;
        self.run(0..self.plan().steps.len())?;
        match self.plan().logits {
            Some(logits) => self.read(logits),
            None => Ok(Vec::new()),
        }
    }

    /// The player as one that need not be waited for; `None` if it cannot or its plan does not sample.
    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        None
    }
}

/// A player that chooses tokens itself and plays batches in the order they were submitted, so that
/// the caller prepares the next one meanwhile.
pub trait Chooser {
    /// Plays the whole plan and its sampling step, without waiting for the result.
    ///
    /// # Errors
    /// [`Error::Batch`] when the batch does not fit, or has no choice for an output; [`Error::Device`]
    /// when the device fails. The batch was not submitted then.
    fn submit(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Waits for the oldest batch not yet collected and returns the tokens chosen, one per output;
    /// [`NO_TOKEN`](crate::sample::NO_TOKEN) where the logits are no distribution.
    ///
    /// # Errors
    /// [`Error::Batch`] when no batch waits; [`Error::Device`] when the device failed: then the batch
    /// counts as collected and its cache rows are unspecified.
    fn collect(&mut self) -> Result<Vec<u32>, Error>;
}
