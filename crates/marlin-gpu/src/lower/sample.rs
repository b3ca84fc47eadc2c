//! Sampling: the choice of a token from each output's logits.

use marlin_kernel::plan::View;

use super::Lowering;
use crate::program::Grid;

impl Lowering<'_> {
    /// Takes a `Sample` step: nothing is dispatched for a batch without choices.
    pub(super) fn sample(&mut self, step: usize, logits: &View, out: &View) {
        let (from, to) = (self.place(logits), self.place(out));
        let vocabulary = logits.len();
        let words = vec![from.base, from.stride, vocabulary as u32, to.base, to.stride];
        self.listing.scratch.push(Box::new(move |dims| {
            // An adjusted copy of the logits, and two lists.
            if dims.draws || dims.penalizes { 3 * dims.outputs * vocabulary } else { 0 }
        }));
        let penalties: Grid = Box::new(|dims| [if dims.penalizes { dims.outputs } else { 0 }, 1, 1]);
        self.plain(step, "sample", "sample/sample_penalties", words.clone(), penalties);
        let choices: Grid = Box::new(|dims| [if dims.chooses { dims.outputs } else { 0 }, 1, 1]);
        self.plain(step, "sample", "sample/sample", words, choices);
    }
}
