//! The comparison of one buffer with the truth: what counts as a difference, and its numbers.
//!
//! Words that are integers must be equal; values must be finite, close in norm and close each.

use crate::{
    Error, Tolerance,
    plan::{Buffer, View, Word},
};

/// How far a result is from the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Deviation {
    /// `norm(a - b) / norm(b)`.
    pub relative: f64,
    /// Largest `|a - b| / max |b|`.
    pub peak: f64,
}

impl Deviation {
    /// The larger of each.
    pub fn max(self, other: Deviation) -> Deviation {
        Deviation { relative: self.relative.max(other.relative), peak: self.peak.max(other.peak) }
    }
}

/// Why a player does not agree with the reference.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The values are too far away.
    #[error(
        "{buffer}: relative error {:.2e}, worst value {:.2e} of the largest, \
         expected {:.0e} and {:.0e} at most; \
         row {row}, column {col}: found {found}, expected {expected}",
        deviation.relative, deviation.peak, tolerance.relative, tolerance.peak
    )]
    Far {
        /// The buffer's label.
        buffer: String,
        /// How far.
        deviation: Deviation,
        /// What is allowed.
        tolerance: Tolerance,
        /// Row of the worst value.
        row: usize,
        /// Column of the worst value.
        col: usize,
        /// The worst value.
        found: f32,
        /// What it should be.
        expected: f32,
    },
    /// A value is NaN or infinite.
    #[error("{buffer}: row {row}, column {col}: found {found}, expected {expected}")]
    NotFinite {
        /// The buffer's label.
        buffer: String,
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        found: f32,
        /// What it should be.
        expected: f32,
    },
    /// An integer is another one.
    #[error("{buffer}: row {row}, column {col}: found word {found}, expected {expected}")]
    Word {
        /// The buffer's label.
        buffer: String,
        /// Row of the word.
        row: usize,
        /// Column of the word.
        col: usize,
        /// The word.
        found: u32,
        /// What it should be.
        expected: u32,
    },
    /// A column that no step writes has changed.
    #[error("{buffer}: row {row}, column {col}: changed from {before} to {found}, no step writes it")]
    Touched {
        /// The buffer's label.
        buffer: String,
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// What was there.
        before: f32,
        /// What is there.
        found: f32,
    },
    /// A buffer has another size.
    #[error("{buffer}: found {found} values, expected {expected}")]
    Length {
        /// The buffer's label.
        buffer: String,
        /// Values there are.
        found: usize,
        /// Values there should be.
        expected: usize,
    },
    /// The player refused or failed.
    #[error(transparent)]
    Player(#[from] Error),
}

/// The columns of a buffer `[_, width]` that `views` of it cover.
pub(crate) fn columns<'a>(width: usize, views: impl Iterator<Item = &'a View>) -> Vec<bool> {
    let mut covered = vec![false; width];
    for view in views {
        for head in 0..view.heads {
            covered[view.start + head * view.stride..][..view.width].fill(true);
        }
    }
    covered
}

/// Compares the columns `covered` of two copies of a buffer.
pub(crate) fn compare(
    buffer: &Buffer,
    covered: &[bool],
    found: &[f32],
    expected: &[f32],
    tolerance: Tolerance,
) -> Result<Deviation, Failure> {
    let label = || buffer.label.clone();
    if found.len() != expected.len() {
        return Err(Failure::Length { buffer: label(), found: found.len(), expected: expected.len() });
    }
    let (mut error, mut norm, mut largest) = (0.0, 0.0, 0.0f64);
    let (mut worst, mut at_worst) = (0.0, 0);
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let (row, col) = (at / buffer.width, at % buffer.width);
        if !covered[col] {
            continue;
        }
        if buffer.word == Word::U32 {
            let (found, expected) = (found.to_bits(), expected.to_bits());
            if found != expected {
                return Err(Failure::Word { buffer: label(), row, col, found, expected });
            }
            continue;
        }
        if !found.is_finite() || !expected.is_finite() {
            return Err(Failure::NotFinite { buffer: label(), row, col, found, expected });
        }
        let off = (f64::from(found) - f64::from(expected)).abs();
        if off > worst {
            (worst, at_worst) = (off, at);
        }
        error += off * off;
        norm += f64::from(expected) * f64::from(expected);
        largest = largest.max(f64::from(expected).abs());
    }
    // A truth of zeros has no scale of its own: what differs from it counts as it is.
    let scale = |scale: f64| if scale > 0.0 { scale } else { 1.0 };
    let deviation = Deviation { relative: (error / scale(norm)).sqrt(), peak: worst / scale(largest) };
    if deviation.relative <= tolerance.relative && deviation.peak <= tolerance.peak {
        return Ok(deviation);
    }
    let (row, col) = (at_worst / buffer.width, at_worst % buffer.width);
    let (found, expected) = (found[at_worst], expected[at_worst]);
    Err(Failure::Far { buffer: label(), deviation, tolerance, row, col, found, expected })
}

#[cfg(test)]
mod tests;
