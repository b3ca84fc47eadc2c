//! The Hessian of a matrix's squared output error, made ready for choosing codes column by column.
//!
//! GPTQ (Frantar et al., arXiv 2210.17323) rounds one column at a time and moves what is lost into the
//! columns to come, by the Cholesky factor of the inverse Hessian. Chee et al. (QuIP, arXiv 2307.13304,
//! section 5) show that this is the same as feeding the errors made so far back into the next column:
//!
//! ```text
//!  H = R R^T, R upper triangular        tr(E H E^T) = sum_k |column k of E R|^2
//!  column k of E R / R_kk  =  e_k + sum_{j<k} e_j R_jk / R_kk
//!  so round                   w_k + sum_{j<k} e_j R_jk / R_kk,       e = w - q
//! ```
//!
//! which needs no inverse: one factorization, in f64, of `H = G + damping`, with the columns reversed
//! because the factor that libraries have is lower triangular.

use faer::Mat;
use marlin_format::{Format, Layout};
use rayon::prelude::*;

use crate::{Gram, cholesky};

/// Columns whose errors are fed back together: the block of GPTQ.
pub(crate) const BLOCK: usize = 128;

/// Times the damping is raised tenfold before giving up.
const RETRIES: usize = 3;

/// The order in which columns are rounded. Later ones make up for the errors of earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColumnOrder {
    /// As they stand.
    Natural,
    /// Columns with large inputs first, while there are many others left to make up for them. Scales belong
    /// to groups in natural order, so what is stored does not know of it.
    #[default]
    Activation,
    /// As [`ColumnOrder::Activation`], but each four columns in one go, those with the largest input first.
    /// For 2:4 sparse formats: which two of four are kept is then chosen when their turn comes.
    Fours,
}

/// How a Hessian is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// Added to the diagonal, as a share of its mean. Raised tenfold, up to three times, if the matrix is
    /// not positive definite.
    pub share: f64,
    /// The order of the columns.
    pub order: ColumnOrder,
}

impl Damping {
    /// With the order that suits the format: a 2:4 sparse one loses least if fours stay together.
    pub fn of(format: &dyn Format) -> Damping {
        let order = match format.layout() {
            Layout::Grouped { sparse: true, .. } => ColumnOrder::Fours,
            _ => ColumnOrder::Activation,
        };
        Damping { order, ..Damping::default() }
    }
}

impl Default for Damping {
    /// 0.01 as in the paper, columns ordered by activation. Also for few tokens: more damping was not better
    /// on inputs not seen (`tests/quantizers/gptq.rs` has the test).
    fn default() -> Self {
        Damping { share: 0.01, order: ColumnOrder::default() }
    }
}

/// Why codes were chosen by rounding alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    /// No input was seen that is not zero.
    NoInputs,
    /// Inputs were NaN or infinite, or overflowed in the sums.
    NotFinite,
    /// The Hessian was not positive definite, even with this share of its mean diagonal added.
    NotPositive {
        /// The largest share tried.
        share: f64,
    },
}

impl std::fmt::Display for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fallback::NoInputs => write!(f, "no input seen"),
            Fallback::NotFinite => write!(f, "inputs are not finite"),
            Fallback::NotPositive { share } => write!(f, "not positive definite with damping {share}"),
        }
    }
}

/// The Hessian of one input, for all matrices that read it.
#[derive(Clone, Debug)]
pub struct Hessian {
    cols: usize,
    importance: Option<Vec<f32>>,
    factor: Result<Factor, Fallback>,
}

/// `R`, in the order of the columns.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    /// The column that is rounded `i`-th.
    pub order: Vec<usize>,
    /// Blocks of [`BLOCK`] columns, the last one shorter: `blocks[b]` is row-major
    /// `[end of the block, columns of the block]`, all rows of `R` that are not zero there.
    pub blocks: Vec<Vec<f32>>,
    /// Whether the four columns of each multiple of four are rounded one after another.
    pub fours: bool,
    /// What was added to the diagonal, as a share of its mean.
    pub share: f64,
}

impl Hessian {
    /// Factorizes `gram`. Takes `cols^3 / 3` operations on all threads, and memory for `cols^2 / 2` f64
    /// meanwhile. What keeps it from being factorized is remembered, and [`crate::gptq`] rounds without.
    pub fn new(gram: &Gram, damping: Damping) -> Hessian {
        Hessian { cols: gram.cols(), importance: gram.importance(), factor: Factor::new(gram, damping) }
    }

    /// Length of an input.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// See [`Gram::importance`].
    pub fn importance(&self) -> Option<&[f32]> {
        self.importance.as_deref()
    }

    /// The share of the mean diagonal that was added, or why there is no factor.
    ///
    /// # Errors
    /// [`Fallback`].
    pub fn damping(&self) -> Result<f64, Fallback> {
        self.factor().map(|factor| factor.share)
    }

    pub(crate) fn factor(&self) -> Result<&Factor, Fallback> {
        self.factor.as_ref().map_err(|fallback| *fallback)
    }
}

impl Factor {
    fn new(gram: &Gram, damping: Damping) -> Result<Factor, Fallback> {
        let squares = gram.squares();
        let mean = squares.iter().map(|square| f64::from(*square)).sum::<f64>() / squares.len().max(1) as f64;
        if !mean.is_finite() {
            return Err(Fallback::NotFinite);
        }
        if mean <= 0.0 {
            return Err(Fallback::NoInputs);
        }
        let mut order: Vec<usize> = (0..gram.cols()).collect();
        match damping.order {
            ColumnOrder::Natural => {}
            ColumnOrder::Activation => order.sort_by(|&a, &b| squares[b].total_cmp(&squares[a])),
            ColumnOrder::Fours => {
                let largest: Vec<f32> = squares
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|four| four.iter().fold(0.0, |max, &x| x.max(max)))
                    .collect();
                // Fewer than four at the end stay there, so that fours begin at multiples of four.
                let rank = |column: usize| largest.get(column / 4).copied().unwrap_or(-1.0);
                order.sort_by(|&a, &b| rank(b).total_cmp(&rank(a)));
            }
        }
        let mut share = damping.share;
        for _ in 0..=RETRIES {
            let added = share * mean;
            let mut panels = panels(gram, &order, added);
            if cholesky::factor(&mut panels).is_ok() {
                let fours = damping.order != ColumnOrder::Activation;
                return Ok(Factor { order, blocks: blocks(panels), fours, share });
            }
            share *= 10.0;
        }
        Err(Fallback::NotPositive { share: share / 10.0 })
    }
}

/// The damped matrix in reversed order as panels for [`cholesky::factor`]: panel 0 is the last block.
fn panels(gram: &Gram, order: &[usize], added: f64) -> Vec<Mat<f64>> {
    let cols = order.len();
    let starts: Vec<usize> = (0..cols).step_by(BLOCK).rev().collect();
    let panel = |&start: &usize| {
        let end = cols.min(start + BLOCK);
        Mat::from_fn(end, end - start, |i, j| {
            let (row, col) = (order[end - 1 - i], order[end - 1 - j]);
            f64::from(gram.at(row, col)) + if row == col { added } else { 0.0 }
        })
    };
    starts.par_iter().map(panel).collect()
}

/// The factor's panels put back into order: `R_ij = L_(n-1-i)(n-1-j)`.
fn blocks(panels: Vec<Mat<f64>>) -> Vec<Vec<f32>> {
    let block = |panel: Mat<f64>| {
        let (end, width) = (panel.nrows(), panel.ncols());
        let start = end - width;
        let mut block = vec![0.0; end * width];
        for (i, row) in block.chunks_exact_mut(width).enumerate() {
            // Above the diagonal only; row i starts at column i.
            for j in i.saturating_sub(start)..width {
                row[j] = panel[(end - 1 - i, width - 1 - j)] as f32;
            }
        }
        block
    };
    panels.into_par_iter().rev().map(block).collect()
}
