//! Codes for the tensors of a stage by what they multiply, and what these codes cost there.

use std::ops::Range;

use marlin_format::{ScaleSearch, Weight};
use marlin_model::{Source, Tensors};

use crate::{Compensated, Damping, Error, Gram, Hessian, Rounded, gptq, report::Measured, tasks::Task};

/// Chooses codes one tensor after another. Tensors that share an input share its Hessian, if they come
/// one after the other.
#[derive(Debug, Default)]
pub(crate) struct Solver {
    last: Option<((usize, Damping), Hessian)>,
}

impl Solver {
    /// The codes of a tensor that multiplies the inputs of `grams`, which are those from number `first`
    /// of the stage: one, or one for each equal part of its rows. Parts are weighed alike: their Gram
    /// matrices are added up for the choice, and told apart when its cost is measured.
    ///
    /// # Errors
    /// As [`Task::round`].
    pub fn solve(
        &mut self,
        source: &Source,
        task: &Task,
        (first, grams): (usize, &[Gram]),
    ) -> Result<(Rounded, Option<Measured>), Error> {
        if grams.is_empty() {
            return Ok((task.round(source)?, None));
        }
        let weight = source.weight(&task.name)?;
        let input = (first, Damping::of(task.format));
        if self.last.as_ref().is_none_or(|(last, _)| *last != input) {
            let sum = Gram::sum(grams).expect("there are some");
            self.last = Some((input, Hessian::new(&sum, input.1)));
        }
        let (_, hessian) = self.last.as_ref().expect("set above");
        let compensated = gptq(&weight, task.format, hessian, ScaleSearch::default());
        let Compensated { rounded, fallback } = compensated.map_err(|source| task.error(source))?;
        let total = energy(&weight, grams);
        let measured = Measured {
            rows: grams.iter().map(Gram::tokens).max().unwrap_or(0),
            relative_output_mse: (total > 0.0).then(|| loss(&weight, &rounded.weight, grams) / total),
            fallback: fallback.map(|fallback| fallback.to_string()),
        };
        Ok((rounded, Some(measured)))
    }
}

/// `sum ||(W - Q) x||^2` over the inputs of all Gram matrices, each with its part of the rows.
pub(crate) fn loss(weight: &Weight, quantized: &Weight, grams: &[Gram]) -> f64 {
    let parts = parts(weight, grams);
    parts.map(|(gram, rows)| gram.loss(&weight.slice_rows(rows.clone()), &quantized.slice_rows(rows))).sum()
}

/// `sum ||W x||^2`, likewise.
pub(crate) fn energy(weight: &Weight, grams: &[Gram]) -> f64 {
    parts(weight, grams).map(|(gram, rows)| gram.energy(&weight.slice_rows(rows))).sum()
}

/// The Gram matrices with the rows that multiply their inputs: equal parts.
fn parts<'a>(weight: &Weight, grams: &'a [Gram]) -> impl Iterator<Item = (&'a Gram, Range<usize>)> {
    let rows = weight.rows() / grams.len().max(1);
    grams.iter().enumerate().map(move |(at, gram)| (gram, at * rows..(at + 1) * rows))
}
