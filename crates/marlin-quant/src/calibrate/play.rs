//! Plays one stage after another over all tokens of the text, from one stream file to the next.

use std::{path::Path, time::Instant};

use marlin_kernel::{
    Player,
    plan::{BufferId, Plan, WeightId},
};

use super::{
    MakePlayer, Speed,
    inputs::Inputs,
    stream::{StreamReader, StreamWriter},
    text::Text,
};
use crate::Error;

/// Told what share of the text was played; an error stops the playing.
pub(super) type ShareDone<'a> = dyn FnMut(f64) -> Result<(), Error> + 'a;

/// What plays a text through the parts of a plan.
pub(super) struct Playback<'a, 'm> {
    /// The buffer of the residual stream.
    pub stream: BufferId,
    /// The text.
    pub text: Text<'a>,
    /// Makes the player of a part.
    pub make: &'a mut MakePlayer<'m>,
    /// Time spent so far.
    pub speed: Speed,
}

impl Playback<'_, '_> {
    /// Plays `part` as far as needed to know what its tensors of which `wanted` holds multiply. With
    /// `relative`, every row counts by the inverse square of its token's stream, so that losses are
    /// relative to it.
    ///
    /// # Errors
    /// [`Error::Player`], [`Error::Kernel`], [`Error::File`], or that of `share_done`.
    pub fn gather(
        &mut self,
        part: &Plan,
        wanted: impl Fn(WeightId) -> bool,
        before: Option<&Path>,
        relative: bool,
        share_done: &mut ShareDone<'_>,
    ) -> Result<Inputs, Error> {
        let mut inputs = Inputs::new(part, wanted, self.make)?;
        if inputs.is_empty() {
            return Ok(inputs);
        }
        let first = part.part(0..inputs.steps().max(1))?;
        let width = part.buffer(self.stream).width.max(1);
        self.each_batch(first, before, share_done, |player, stream| {
            let importance: Option<Vec<f32>> =
                relative.then(|| stream.chunks_exact(width).map(inverse).collect());
            inputs.gather(player, importance.as_deref())
        })?;
        Ok(inputs)
    }

    /// Plays `part` and adds the residual stream it leaves to `after`.
    ///
    /// # Errors
    /// As [`Playback::gather`].
    pub fn advance(
        &mut self,
        part: Plan,
        before: Option<&Path>,
        after: &mut StreamWriter,
        share_done: &mut ShareDone<'_>,
    ) -> Result<(), Error> {
        let (stream, steps) = (self.stream, part.steps.len());
        self.each_batch(part, before, share_done, |player, _| {
            player.run(0..steps)?;
            Ok(after.push(&player.read(stream)?)?)
        })
    }

    /// Begins every batch on a player of `part`, the stream of `before` in its place, and calls `each`
    /// with it.
    fn each_batch(
        &mut self,
        part: Plan,
        before: Option<&Path>,
        share_done: &mut ShareDone<'_>,
        mut each: impl FnMut(&mut dyn Player, &[f32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let width = part.buffer(self.stream).width;
        let mut before = before.map(StreamReader::open).transpose()?;
        let context = self.text.context();
        let mut player = (self.make)(part, context).map_err(Error::Player)?;
        let (mut played, mut rows) = (0, Vec::new());
        for batch in self.text.batches(player.page_size()) {
            share_done(played as f64 / self.text.tokens.len() as f64)?;
            player.begin(&batch)?;
            if let Some(before) = &mut before {
                rows = before.next(batch.tokens.len() * width)?;
                player.write(self.stream, &rows)?;
            }
            each(player.as_mut(), &rows)?;
            played += batch.tokens.len();
        }
        self.speed.played += played as u64;
        self.speed.played_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }
}

/// `1 / |x|^2`; 0 for a row of zeros.
fn inverse(row: &[f32]) -> f32 {
    let square: f64 = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
    if square > 0.0 { (1.0 / square) as f32 } else { 0.0 }
}
