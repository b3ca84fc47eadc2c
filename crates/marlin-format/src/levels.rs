//! What the columns of a group can hold once its scale is chosen, and rounding to it.

use crate::Code;
use crate::grid::{E2m1, Grid, Integers};
use crate::scalar::{e4m3_from_f32, e4m3_to_f32, e5m2_from_f32, e5m2_to_f32};

/// The levels of one group: `unit * point` for every point that a code stands for.
#[derive(Clone, Copy, Debug)]
pub struct Levels<'a> {
    unit: f32,
    points: Points<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Points<'a> {
    Codes { code: Code, zero: u8 },
    Codebook(&'a [f32]),
}

impl Levels<'static> {
    /// For a group of integers or 8-bit floats in which 1 is worth `unit`; `zero` is its zero point.
    pub(crate) fn new(code: Code, unit: f32, zero: u8) -> Self {
        Levels { unit, points: Points::Codes { code, zero } }
    }
}

impl<'a> Levels<'a> {
    /// For a group of indices into a codebook in which 1 is worth `unit`.
    pub(crate) fn lookup(codebook: &'a [f32], unit: f32) -> Self {
        Levels { unit, points: Points::Codebook(codebook) }
    }

    /// The level nearest to a finite `value`, bit by bit what it decodes to. Beyond the largest level it is
    /// that level.
    #[inline]
    pub fn nearest(&self, value: f32) -> f32 {
        // A group of zeros has scale 0.
        if self.unit == 0.0 {
            return 0.0;
        }
        let units = value / self.unit;
        let point = match self.points {
            Points::Codes { code: Code::E4m3, .. } => e4m3_to_f32(e4m3_from_f32(units)),
            Points::Codes { code: Code::E5m2, .. } => e5m2_to_f32(e5m2_from_f32(units)),
            Points::Codes { code: Code::E2m1, .. } => E2m1.round(0, units),
            Points::Codes { code, zero } => Integers::of(code, zero).round(0, units),
            Points::Codebook(codebook) => nearest(codebook, units),
        };
        // Decoding adds an offset of 0, which makes one zero of the two.
        self.unit * point + 0.0
    }
}

/// The value of the codebook nearest to `units`, the lower of two.
fn nearest(codebook: &[f32], units: f32) -> f32 {
    let better = |best: f32, &value: &f32| {
        let (miss, least) = ((units - value).abs(), (units - best).abs());
        if miss < least || miss == least && value < best { value } else { best }
    };
    codebook.iter().fold(f32::MAX, better)
}
