//! What calibration remembers of a matrix's inputs: their second moments.
//!
//! For inputs `x_t` with weights `w_t` this is `G = sum_t w_t x_t x_t^T`. Half the Hessian of
//! the squared error of the outputs: replacing `W` by `Q` costs
//! `sum_t w_t |(W - Q) x_t|^2 = tr((W - Q) G (W - Q)^T)`, which is [`Gram::loss`].
//!
//! ```text
//!  lower    | G00 | G10 G11 | G20 G21 G22 | ...     the lower triangle, row by row
//! ```
//!
//! All results are the same for any number of threads: work is cut by size alone.

use std::ops::Range;

use faer::{MatMut, MatRef};
use marlin_format::Weight;
use rayon::prelude::*;

use crate::{Error, dense};

/// Rows of the triangle that one task makes.
const BLOCK: usize = 64;

/// Rows of a weight whose loss one task takes.
const LOSS_ROWS: usize = 64;

/// Importance of a column whose inputs were all zero, as a share of the mean.
const SILENT: f64 = 0.01;

/// Bytes before the triangle: columns and tokens as u64, weight as f64, all little endian.
const HEADER: usize = 24;

/// The second moments of the inputs of a matrix with `cols` columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    cols: usize,
    tokens: u64,
    weight: f64,
    lower: Vec<f32>,
}

/// Entries of the first `rows` rows of a lower triangle.
fn triangle(rows: usize) -> usize {
    rows * (rows + 1) / 2
}

impl Gram {
    /// Of no inputs yet. Holds `cols * (cols + 1) / 2` f32.
    pub fn new(cols: usize) -> Gram {
        Gram { cols, tokens: 0, weight: 0.0, lower: vec![0.0; triangle(cols)] }
    }

    /// Length of an input.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Inputs added.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Sum of the weights of the inputs added.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Adds inputs: `rows` is row-major `[tokens, cols]`, `weights` one for each token, finite and not
    /// negative, 1 where absent; the routing weight for the inputs of an expert. Inputs that are not
    /// finite are not refused here: they show in [`Gram::squares`].
    ///
    /// Panics if the lengths do not fit: that is a bug of the caller.
    pub fn add(&mut self, rows: &[f32], weights: Option<&[f32]>) {
        let cols = self.cols;
        let tokens = rows.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows.len(), tokens * cols, "inputs are rows of {cols}");
        let scaled: Vec<f32>;
        let rows = match weights {
            None => rows,
            Some(weights) => {
                assert_eq!(weights.len(), tokens, "one weight for each input");
                let row = |(row, weight): (&[f32], &f32)| -> Vec<f32> {
                    row.iter().map(|x| x * weight.sqrt()).collect()
                };
                scaled = rows.chunks(cols).zip(weights).flat_map(row).collect();
                &scaled
            }
        };
        self.tokens += tokens as u64;
        self.weight += weights.map_or(tokens as f64, |all| all.iter().map(|&weight| f64::from(weight)).sum());
        if tokens == 0 {
            return;
        }
        let inputs = MatRef::from_row_major_slice(rows, tokens, cols);
        // The longest rows first, so that no thread is left with one of them at the end.
        blocks_mut(&mut self.lower, cols).into_par_iter().rev().for_each(|(block, lower)| {
            let mut product = vec![0.0f32; block.len() * block.end];
            let out = MatMut::from_row_major_slice_mut(&mut product, block.len(), block.end);
            let columns = inputs.subcols(block.start, block.len()).transpose();
            let before = inputs.subcols(0, block.end);
            dense::product(out, columns, before);
            let mut lower = lower;
            for (i, product) in block.clone().zip(product.chunks_exact(block.end)) {
                let (row, rest) = lower.split_at_mut(i + 1);
                row.iter_mut().zip(product).for_each(|(sum, product)| *sum += product);
                lower = rest;
            }
        });
    }

    /// Adds what another one has seen. Panics if the columns differ.
    pub fn merge(&mut self, other: &Gram) {
        assert_eq!(self.cols, other.cols, "inputs of the same matrix");
        self.tokens += other.tokens;
        self.weight += other.weight;
        self.lower.iter_mut().zip(&other.lower).for_each(|(sum, other)| *sum += other);
    }

    /// What several have seen together; `None` of none. Panics if their columns differ.
    pub fn sum(grams: &[Gram]) -> Option<Gram> {
        let (one, others) = grams.split_first()?;
        let mut sum = one.clone();
        others.iter().for_each(|gram| sum.merge(gram));
        Some(sum)
    }

    /// `sum_t w_t x_tk^2` for every column `k`: the diagonal.
    pub fn squares(&self) -> Vec<f32> {
        (0..self.cols).map(|k| self.lower[triangle(k) + k]).collect()
    }

    /// The entry `G_ij`.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.lower[triangle(i.max(j)) + i.min(j)]
    }

    /// The importance of each column for [`marlin_format::Rounding::importance`], as an importance matrix
    /// has it: the mean square of its inputs, and a hundredth of the mean over all columns, so that one
    /// that was silent still counts. `None`, which weighs all columns alike, where nothing was seen (an
    /// expert that no token was routed to) or what was seen is not finite.
    pub fn importance(&self) -> Option<Vec<f32>> {
        let squares = self.squares();
        let mean = squares.iter().map(|square| f64::from(*square)).sum::<f64>() / self.cols.max(1) as f64;
        let usable = mean.is_finite() && mean > 0.0 && self.weight > 0.0;
        let importance = |square: f32| ((f64::from(square) + SILENT * mean) / self.weight) as f32;
        usable.then(|| squares.into_iter().map(importance).collect())
    }

    /// What writing `quantized` for `source` costs in the outputs: `tr(E G E^T)` with
    /// `E = source - quantized`, the weighted sum over the tokens. Divide by [`Gram::weight`] for the
    /// mean of a token. Panics if the shapes differ.
    pub fn loss(&self, source: &Weight, quantized: &Weight) -> f64 {
        assert_eq!(
            (self.cols, self.cols),
            (source.cols(), quantized.cols()),
            "weights as wide as the inputs"
        );
        assert_eq!(source.rows(), quantized.rows(), "weights of one shape");
        self.of_rows(source.rows(), |row, errors, other| {
            source.decode_row(row, errors);
            quantized.decode_row(row, other);
            errors.iter_mut().zip(other).for_each(|(error, other)| *error -= *other);
        })
    }

    /// The size of the outputs: `tr(W G W^T)`, as [`Gram::loss`] counts. Panics if the widths differ.
    pub fn energy(&self, weight: &Weight) -> f64 {
        assert_eq!(self.cols, weight.cols(), "weights as wide as the inputs");
        self.of_rows(weight.rows(), |row, values, _| weight.decode_row(row, values))
    }

    /// `tr(E G E^T)` of `rows` rows that `fill` makes, in the first of two rows of values it is given.
    fn of_rows(&self, rows: usize, fill: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) -> f64 {
        let cols = self.cols;
        let tasks: Vec<f64> = (0..rows.div_ceil(LOSS_ROWS))
            .into_par_iter()
            .map(|task| {
                let rows = task * LOSS_ROWS..rows.min((task + 1) * LOSS_ROWS);
                let mut errors = vec![0.0f32; rows.len() * cols];
                let mut other = vec![0.0f32; cols];
                for (row, errors) in rows.clone().zip(errors.chunks_exact_mut(cols.max(1))) {
                    fill(row, errors, &mut other);
                }
                self.quadratic(&errors, rows.len())
            })
            .collect();
        tasks.iter().sum()
    }

    /// `tr(E G E^T)` of row-major `errors` `[rows, cols]`.
    fn quadratic(&self, errors: &[f32], rows: usize) -> f64 {
        let all = MatRef::from_row_major_slice(errors, rows, self.cols);
        let mut sum = 0.0;
        for block in blocks(self.cols) {
            // The block of the triangle with zeros above the diagonal, all others doubled.
            let mut dense = vec![0.0f32; block.len() * block.end];
            for (i, row) in block.clone().zip(dense.chunks_exact_mut(block.end)) {
                let lower = &self.lower[triangle(i)..][..i + 1];
                row.iter_mut().zip(lower).for_each(|(out, value)| *out = 2.0 * value);
                row[i] = lower[i];
            }
            let mut product = vec![0.0f32; rows * block.len()];
            let out = MatMut::from_row_major_slice_mut(&mut product, rows, block.len());
            let before = all.subcols(0, block.end);
            let block_rows = MatRef::from_row_major_slice(&dense, block.len(), block.end);
            dense::product(out, before, block_rows.transpose());
            let width = block.len();
            for (errors, product) in errors.chunks_exact(self.cols).zip(product.chunks_exact(width)) {
                let pairs = errors[block.clone()].iter().zip(product);
                sum += pairs.map(|(error, product)| f64::from(*error) * f64::from(*product)).sum::<f64>();
            }
        }
        sum
    }

    /// The whole as bytes, the same for the same sums; [`Gram::from_bytes`] reads them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 4 * self.lower.len());
        bytes.extend((self.cols as u64).to_le_bytes());
        bytes.extend(self.tokens.to_le_bytes());
        bytes.extend(self.weight.to_le_bytes());
        self.lower.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        bytes
    }

    /// Reads what [`Gram::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Gram`] when the length is not that of the columns named.
    pub fn from_bytes(bytes: &[u8]) -> Result<Gram, Error> {
        let wrong = |expected| Error::Gram { found: bytes.len(), expected };
        let (header, lower) = bytes.split_at_checked(HEADER).ok_or(wrong(HEADER))?;
        let field = |at: usize| -> [u8; 8] { std::array::from_fn(|byte| header[at + byte]) };
        let cols = u64::from_le_bytes(field(0));
        // 4 bytes for each of cols * (cols + 1) / 2.
        let expected = cols.saturating_mul(cols.saturating_add(1)).saturating_mul(2);
        let expected = usize::try_from(expected).unwrap_or(usize::MAX).saturating_add(HEADER);
        if bytes.len() != expected {
            return Err(wrong(expected));
        }
        Ok(Gram {
            cols: cols as usize,
            tokens: u64::from_le_bytes(field(8)),
            weight: f64::from_le_bytes(field(16)),
            lower: lower.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        })
    }
}

/// The columns in blocks of [`BLOCK`].
fn blocks(cols: usize) -> impl Iterator<Item = Range<usize>> {
    (0..cols).step_by(BLOCK).map(move |start| start..cols.min(start + BLOCK))
}

/// The triangle cut into blocks of rows.
fn blocks_mut(mut lower: &mut [f32], cols: usize) -> Vec<(Range<usize>, &mut [f32])> {
    let cut = |block: Range<usize>| {
        let len = triangle(block.end) - triangle(block.start);
        let (rows, rest) = std::mem::take(&mut lower).split_at_mut(len);
        lower = rest;
        (block, rows)
    };
    blocks(cols).map(cut).collect()
}
