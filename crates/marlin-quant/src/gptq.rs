//! GPTQ: codes chosen column by column, each making up for the errors of those before it.
//!
//! Frantar et al., arXiv 2210.17323, in the form of `hessian.rs`: with errors `e = w - q` so far and
//! `H = R R^T`, column `k` rounds
//!
//! ```text
//!  t_k = w_k + sum_{j<k} e_j R_jk / R_kk            the loss of the row is  sum_k R_kk^2 (t_k - q_k)^2
//!
//!            | errors made: E      | block |  to come    |
//!  rows 64   |  [64, start]        |  128  |             |     sums of the block = E R[..start, block]
//! ```
//!
//! The scales of a row are chosen before the first column, weighted by the diagonal of the Hessian, so
//! columns may be taken in any order while groups stay as they are.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use marlin_format::{Error, Format, Levels, Rounding, RowMut, ScaleSearch, Weight};
use rayon::prelude::*;

use crate::hessian::{BLOCK, Factor};
use crate::round::{absmax, squared_error};
use crate::streams::Streams;
use crate::{Fallback, Hessian, Rounded, SquaredError, round};

/// Rows of a weight that one task rounds: few enough for many tasks, enough for products.
const ROWS: usize = 64;

/// A matrix whose codes were chosen by its Hessian.
#[derive(Clone, Debug)]
pub struct Compensated {
    /// The matrix and its plain squared error, which is larger than that of rounding: what is smaller is
    /// [`crate::Gram::loss`].
    pub rounded: Rounded,
    /// Why the codes were chosen by weighted rounding instead; `None` where they were not.
    pub fallback: Option<Fallback>,
}

/// Chooses codes of `format` for `source`, whose inputs have this Hessian. Formats without group scales
/// (dense ones) are rounded.
///
/// # Errors
/// As [`round`]. Panics if the columns differ from those of the Hessian: that is a bug of the caller.
pub fn gptq(
    source: &Weight,
    format: &'static dyn Format,
    hessian: &Hessian,
    search: ScaleSearch,
) -> Result<Compensated, Error> {
    let (rows, cols) = (source.rows(), source.cols());
    assert_eq!(cols, hessian.cols(), "a Hessian of the inputs of the weight");
    let how = Rounding { search, importance: hessian.importance() };
    let rounded = |fallback| Ok(Compensated { rounded: round(source, format, how)?, fallback });
    let factor = match hessian.factor() {
        _ if format.layout().group() == 0 => return rounded(None),
        Err(fallback) => return rounded(Some(fallback)),
        Ok(factor) => factor,
    };
    let mut streams = Streams::new(format, rows, cols, format.tensor_scale(absmax(source)?));
    let errors: Vec<SquaredError> = streams
        .rows_mut()
        .par_chunks_mut(ROWS)
        .enumerate()
        .map(|(task, out)| {
            let tile = Tile { source, first: task * ROWS, format, factor };
            tile.run(how, out)
        })
        .collect::<Result<_, Error>>()?;
    let rounded = Rounded { weight: streams.into_weight()?, error: errors.into_iter().sum() };
    Ok(Compensated { rounded, fallback: None })
}

/// Some rows of a weight.
struct Tile<'a> {
    source: &'a Weight,
    first: usize,
    format: &'static dyn Format,
    factor: &'a Factor,
}

impl Tile<'_> {
    /// Writes the rows to `out`.
    fn run(&self, how: Rounding<'_>, out: &mut [RowMut<'_>]) -> Result<SquaredError, Error> {
        let (format, cols) = (self.format, self.source.cols());
        let groups = format.layout().groups(cols);
        let mut values = vec![0.0f32; out.len() * cols];
        for (r, (row, values)) in out.iter_mut().zip(values.chunks_exact_mut(cols)).enumerate() {
            self.source.decode_row(self.first + r, values);
            format.fit(values, how, row.reborrow()).map_err(|error| error.in_row(self.first + r))?;
        }
        let of_row = |row| (0..groups).filter_map(move |group| format.levels(row, group));
        let levels: Vec<Levels<'_>> = out.iter().flat_map(|row| of_row(row.as_row())).collect();
        self.choose(&mut values, &levels);

        let (mut original, mut decoded) = (vec![0.0; cols], vec![0.0; cols]);
        let mut error = Vec::with_capacity(out.len());
        for (r, (row, values)) in out.iter_mut().zip(values.chunks_exact(cols)).enumerate() {
            format.assign(values, row.reborrow()).map_err(|error| error.in_row(self.first + r))?;
            format.decode(row.as_row(), &mut decoded);
            self.source.decode_row(self.first + r, &mut original);
            error.push(squared_error(&original, &decoded));
        }
        Ok(error.into_iter().sum())
    }

    /// Replaces the `values` of the rows by the levels chosen for them; `levels` has one for each row and
    /// group.
    fn choose(&self, values: &mut [f32], levels: &[Levels<'_>]) {
        let (cols, group) = (self.source.cols(), self.format.layout().group());
        let (rows, groups) = (values.len() / cols, cols.div_ceil(group));
        let mut errors = vec![0.0f32; values.len()];
        let mut sums = vec![0.0f32; rows * BLOCK];
        for (b, factor) in self.factor.blocks.iter().enumerate() {
            let start = b * BLOCK;
            let width = (cols - start).min(BLOCK);
            let sums = &mut sums[..rows * width];
            let (above, diagonal) = factor.split_at(start * width);
            matmul(
                MatMut::from_row_major_slice_mut(sums, rows, width),
                Accum::Replace,
                MatRef::from_row_major_slice(&errors, rows, cols).subcols(0, start),
                MatRef::from_row_major_slice(above, start, width),
                1.0f32,
                Par::Seq,
            );
            let order = &self.factor.order[start..][..width];
            for r in 0..rows {
                let row = Row {
                    values: &mut values[r * cols..][..cols],
                    levels: &levels[r * groups..][..groups],
                    errors: &mut errors[r * cols + start..][..width],
                    sums: &mut sums[r * width..][..width],
                };
                row.choose(order, diagonal, group);
            }
        }
    }
}

/// One row within one block of columns.
struct Row<'a> {
    /// All columns, in natural order.
    values: &'a mut [f32],
    levels: &'a [Levels<'a>],
    /// Of the block, in the factor's order.
    errors: &'a mut [f32],
    /// What earlier errors add to each column of the block, times `R_kk`.
    sums: &'a mut [f32],
}

impl Row<'_> {
    fn choose(self, order: &[usize], diagonal: &[f32], group: usize) {
        let width = order.len();
        for (i, &column) in order.iter().enumerate() {
            let factor = &diagonal[i * width..][..width];
            let value = self.values[column];
            let level = self.levels[column / group].nearest(value + self.sums[i] / factor[i]);
            let error = value - level;
            self.values[column] = level;
            self.errors[i] = error;
            for (sum, factor) in self.sums[i + 1..].iter_mut().zip(&factor[i + 1..]) {
                *sum += error * factor;
            }
        }
    }
}
