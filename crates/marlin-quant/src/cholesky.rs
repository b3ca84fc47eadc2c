//! The Cholesky factor of a large matrix on all threads, in blocks of columns.
//!
//! ```text
//!  panels   | a a . . . . |      panel 0: columns 0..w and all rows from 0
//!           | a a . . . . |
//!           | a a b b . . |      panel 1: columns w..2w and all rows from w
//!           | a a b b . . |
//!           | a a b b c c |
//! ```
//!
//! The products are faer's, each on one thread; how the work is cut depends on sizes alone, so the factor
//! is the same for any number of threads.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef};
use rayon::prelude::*;

use crate::dense::on_this_thread;

/// Rows of a panel that one task solves.
const SOLVED_ROWS: usize = 64;

/// The matrix is not positive definite (or not a number) in floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPositive;

/// Replaces the lower triangle of `A`, given as panels, by that of `L` with `A = L L^T`. Panel `p` is
/// `[rows from its first column, its columns]`; what stands above the diagonal is of no meaning.
///
/// # Errors
/// [`NotPositive`]; the panels are of no use then.
pub fn factor(panels: &mut [Mat<f64>]) -> Result<(), NotPositive> {
    for done in 0..panels.len() {
        let (panel, rest) = panels[done..].split_first_mut().expect("there is a panel to be done");
        let width = panel.ncols();
        let (mut diagonal, below) = panel.as_mut().split_at_row_mut(width);
        let own = diagonal.as_mut();
        on_this_thread(|par| {
            let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(width, par, Default::default()));
            let stack = MemStack::new(&mut memory);
            cholesky_in_place(own, Default::default(), par, stack, Default::default())
        })
        .map_err(|_| NotPositive)?;
        // NaN pivots may pass for positive.
        if !(0..width).all(|k| diagonal[(k, k)].is_finite() && diagonal[(k, k)] > 0.0) {
            return Err(NotPositive);
        }
        let diagonal = diagonal.as_ref();
        // X L^T = A, a row of X for each row of A.
        row_chunks(below).into_par_iter().for_each(|chunk| {
            on_this_thread(|par| solve_lower_triangular_in_place(diagonal, chunk.transpose_mut(), par));
        });
        let below = panel.as_ref().subrows(width, panel.nrows() - width);
        rest.par_iter_mut().for_each(|later| subtract_square(later.as_mut(), below));
    }
    Ok(())
}

/// Takes `below below^T` from a later panel, which covers the last of its rows.
fn subtract_square(later: MatMut<'_, f64>, below: MatRef<'_, f64>) {
    let from = below.nrows() - later.nrows();
    let rows = below.subrows(from, later.nrows());
    let columns = rows.subrows(0, later.ncols()).transpose();
    on_this_thread(|par| matmul(later, Accum::Add, rows, columns, -1.0, par));
}

fn row_chunks(mut rows: MatMut<'_, f64>) -> Vec<MatMut<'_, f64>> {
    let mut chunks = Vec::new();
    while rows.nrows() > SOLVED_ROWS {
        let (chunk, rest) = rows.split_at_row_mut(SOLVED_ROWS);
        chunks.push(chunk);
        rows = rest;
    }
    chunks.push(rows);
    chunks
}
