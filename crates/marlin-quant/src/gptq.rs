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
//!
//! A 2:4 sparse format keeps two of each four columns. In an order that takes four together these are chosen
//! when their turn comes, by what leaving them out would cost (SparseGPT, arXiv 2301.00774): with all columns
//! to come free to make up for the errors so far, `w_k` has become `w_k + x_k` where `x R = E R`, and its
//! square costs `R_kk^2`, the inverse of SparseGPT's `[H^-1]_kk`. In another order they are those with the
//! largest `w_k^2 G_kk` (Wanda, arXiv 2306.11695), chosen before. What is left out counts as an error of
//! rounding, which the columns to come make up for.

use faer::{MatMut, MatRef};
use marlin_format::{Error, Format, Layout, Levels, Rounding, RowMut, ScaleSearch, Weight};
use rayon::prelude::*;

use crate::dense;
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
            let tile = Tile { source, first: task * ROWS, format, factor, how };
            tile.run(out)
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
    how: Rounding<'a>,
}

impl Tile<'_> {
    /// Writes the rows to `out`.
    fn run(&self, out: &mut [RowMut<'_>]) -> Result<SquaredError, Error> {
        let (format, cols) = (self.format, self.source.cols());
        let groups = format.layout().groups(cols);
        let mut values = vec![0.0f32; out.len() * cols];
        for (r, (row, values)) in out.iter_mut().zip(values.chunks_exact_mut(cols)).enumerate() {
            self.source.decode_row(self.first + r, values);
            format.fit(values, self.how, row.reborrow()).map_err(|error| error.in_row(self.first + r))?;
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
        let sparse = matches!(self.format.layout(), Layout::Grouped { sparse: true, .. });
        let mut left_out = vec![false; if sparse { values.len() } else { 0 }];
        if sparse && !self.factor.fours {
            self.leave_out(values, &mut left_out);
        }
        let mut errors = vec![0.0f32; values.len()];
        let mut sums = vec![0.0f32; rows * BLOCK];
        for (b, factor) in self.factor.blocks.iter().enumerate() {
            let start = b * BLOCK;
            let width = (cols - start).min(BLOCK);
            let sums = &mut sums[..rows * width];
            let (above, diagonal) = factor.split_at(start * width);
            let out = MatMut::from_row_major_slice_mut(sums, rows, width);
            let before = MatRef::from_row_major_slice(&errors, rows, cols).subcols(0, start);
            let above = MatRef::from_row_major_slice(above, start, width);
            dense::product(out, before, above);
            let order = &self.factor.order[start..][..width];
            for r in 0..rows {
                let row = Row {
                    values: &mut values[r * cols..][..cols],
                    levels: &levels[r * groups..][..groups],
                    errors: &mut errors[r * cols + start..][..width],
                    sums: &mut sums[r * width..][..width],
                    left_out: left_out.get_mut(r * cols..).unwrap_or_default(),
                };
                row.choose(order, diagonal, group, sparse && self.factor.fours);
            }
        }
    }

    /// Marks the columns that Wanda leaves out.
    fn leave_out(&self, values: &[f32], left_out: &mut [bool]) {
        let cols = self.source.cols();
        for (values, left_out) in values.chunks_exact(cols).zip(left_out.chunks_exact_mut(cols)) {
            for four in (0..cols).step_by(4) {
                let importance =
                    |k: usize| self.how.importance.map_or(1.0, |importance| importance[four + k]);
                let saved = |k: usize| values[four + k].powi(2) * importance(k);
                let count = (cols - four).min(4);
                keep_two(count, saved, |k, left| left_out[four + k] = left);
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
    /// Of all columns, those that are 0 whatever they were; empty for formats that keep all.
    left_out: &'a mut [bool],
}

impl Row<'_> {
    /// Chooses the levels of the columns `order`. With `fours`, also which two of each four are kept.
    fn choose(mut self, order: &[usize], diagonal: &[f32], group: usize, fours: bool) {
        let width = order.len();
        for (i, &column) in order.iter().enumerate() {
            if fours && i % 4 == 0 {
                self.leave_out(i, &order[i..width.min(i + 4)], diagonal, width);
            }
            let factor = &diagonal[i * width..][..width];
            let value = self.values[column];
            let level = match self.left_out.get(column) {
                Some(true) => 0.0,
                _ => self.levels[column / group].nearest(value + self.sums[i] / factor[i]),
            };
            let error = value - level;
            self.values[column] = level;
            self.errors[i] = error;
            for (sum, factor) in self.sums[i + 1..].iter_mut().zip(&factor[i + 1..]) {
                *sum += error * factor;
            }
        }
    }

    /// Marks those of the columns `four`, the `i`th to be rounded and those after, that SparseGPT leaves out.
    fn leave_out(&mut self, i: usize, four: &[usize], diagonal: &[f32], width: usize) {
        let factor = |row: usize, column: usize| diagonal[(i + row) * width + i + column];
        // x R = E R, solved from the left.
        let mut shifts = [0.0f32; 4];
        for k in 0..four.len() {
            let known: f32 = (0..k).map(|before| shifts[before] * factor(before, k)).sum();
            shifts[k] = (self.sums[i + k] - known) / factor(k, k);
        }
        let saved = |k: usize| ((self.values[four[k]] + shifts[k]) * factor(k, k)).powi(2);
        keep_two(four.len(), saved, |k, left| self.left_out[four[k]] = left);
    }
}

/// Tells `mark` for each of `count` columns whether it is left out: all but the two that save most, the first
/// of equals.
fn keep_two(count: usize, saved: impl Fn(usize) -> f32, mut mark: impl FnMut(usize, bool)) {
    let mut order = [0, 1, 2, 3];
    let order = &mut order[..count];
    order.sort_by(|&a, &b| saved(b).total_cmp(&saved(a)));
    order.iter().enumerate().for_each(|(rank, &k)| mark(k, rank >= 2));
}
