//! Codes for the tensors of a stage by what they multiply, and what these codes cost there.

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
        let Some((one, others)) = grams.split_first() else { return Ok((task.round(source)?, None)) };
        let weight = source.weight(&task.name)?;
        let input = (first, Damping::of(task.format));
        if self.last.as_ref().is_none_or(|(last, _)| *last != input) {
            let mut sum = one.clone();
            others.iter().for_each(|gram| sum.merge(gram));
            self.last = Some((input, Hessian::new(&sum, input.1)));
        }
        let (_, hessian) = self.last.as_ref().expect("set above");
        let compensated = gptq(&weight, task.format, hessian, ScaleSearch::default());
        let Compensated { rounded, fallback } = compensated.map_err(|source| task.error(source))?;
        let measured = Measured {
            rows: grams.iter().map(Gram::tokens).max().unwrap_or(0),
            relative_output_mse: relative_loss(&weight, &rounded.weight, grams),
            fallback: fallback.map(|fallback| fallback.to_string()),
        };
        Ok((rounded, Some(measured)))
    }
}

/// `sum ||(W - Q) x||^2 / sum ||W x||^2` over the inputs of all Gram matrices, each with its part of the
/// rows; `None` where nothing came out.
pub(crate) fn relative_loss(weight: &Weight, quantized: &Weight, grams: &[Gram]) -> Option<f64> {
    let rows = weight.rows() / grams.len();
    let (mut loss, mut total) = (0.0, 0.0);
    for (at, gram) in grams.iter().enumerate() {
        let part = at * rows..(at + 1) * rows;
        let weight = weight.slice_rows(part.clone());
        let zeros = vec![0.0; rows * weight.cols()];
        let nothing = Weight::from_f32(rows, weight.cols(), &zeros).ok()?;
        loss += gram.loss(&weight, &quantized.slice_rows(part));
        total += gram.loss(&weight, &nothing);
    }
    (total > 0.0).then(|| loss / total)
}
