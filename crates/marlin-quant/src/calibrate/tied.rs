//! What an embedding multiplies as the head, known before it gets codes.
//!
//! Stages get their codes in order, the embedding first. One that is also the head costs most of what it
//! costs there, so the text is played once through the model as it is, and the head's inputs are gathered:
//!
//! ```text
//!  embedding ─► layer 0 ─► .. ─► norm ─┬─► Gram matrix ─► codes of the embedding, and on as every model
//!                                      └─► (head)
//! ```

use marlin_file::Partial;
use marlin_kernel::plan::Plan;

use super::{
    Work,
    inputs::Inputs,
    play::Playback,
    stages::{Stage, weight_id},
    stream::{self, StreamWriter},
};
use crate::{Error, Gram, tasks::Task};

/// Name of the stream of the model as it is.
const STREAM: &str = "tied";

/// A tensor of an earlier stage that the last one multiplies.
pub(super) struct Tied {
    /// What it is called.
    pub name: String,
    /// Of what it multiplies there.
    pub grams: Vec<Gram>,
}

impl Tied {
    /// The tensor that gets codes in an earlier stage than the last and is multiplied in the last, if the
    /// model has one; nothing is gathered yet.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn find(plan: &Plan, tasks: &[Task], stages: &[Stage]) -> Result<Option<Tied>, Error> {
        let Some((last, before)) = stages.split_last() else { return Ok(None) };
        let part = plan.part(last.steps.clone())?;
        let mut chosen = before.iter().flat_map(|stage| &stage.tasks).map(|at| &tasks[*at]);
        let tied = chosen.find(|task| task.chosen && weight_id(&part, &task.name).is_some());
        Ok(tied.map(|task| Tied { name: task.name.clone(), grams: Vec::new() }))
    }

    /// Plays the text up to the head. It counts as a quarter of the weights' work.
    ///
    /// # Errors
    /// As [`Playback::advance`].
    pub fn gather(
        &mut self,
        (plan, tasks, stages): (&Plan, &[Task], &[Stage]),
        partial: &Partial,
        playback: &mut Playback<'_, '_>,
        work: &mut Work<'_>,
    ) -> Result<(), Error> {
        let mut before = None;
        for (at, stage) in stages.iter().enumerate() {
            let weights = stage.weights(tasks);
            let mut tell = |share| work.tell(stage, weights, share);
            let part = plan.part(stage.steps.clone())?;
            let after = partial.scratch(&format!("{STREAM}-{at}"));
            if at + 1 < stages.len() {
                let mut out = StreamWriter::create(after.clone())?;
                playback.advance(part, before.as_deref(), &mut out, &mut tell)?;
                out.finish()?;
            } else if let Some(tied) = weight_id(&part, &self.name) {
                let inputs = playback.gather(&part, |id| id == tied, before.as_deref(), false, &mut tell)?;
                self.grams = inputs.of(tied).1.to_vec();
            }
            if let Some(before) = before.replace(after) {
                stream::discard(&before);
            }
            work.done += weights / 4;
        }
        Ok(())
    }

    /// Makes what was gathered an input of a stage that has the tensor.
    pub fn enter(&self, part: &Plan, inputs: &mut Inputs) {
        if let Some(weight) = weight_id(part, &self.name) {
            inputs.enter(weight, &self.grams);
        }
    }
}
