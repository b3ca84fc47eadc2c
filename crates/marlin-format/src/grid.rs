//! The integer codes of a format as points on a line, and rounding to them.
//!
//! Searches try [`LANES`] scales at once, one a lane: sums then run over values only, and the
//! compiler turns lanes into vectors.

use crate::Code;
use crate::samples::MAX_GROUP;

/// Scales tried at once.
pub const LANES: usize = 16;

/// The codes each lane may use.
pub trait Grid {
    /// The code nearest to `units` in a lane, ties to even.
    fn round(&self, lane: usize, units: f32) -> f32;
}

/// Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even.
const TO_INTEGER: f32 = 12_582_912.0;

/// The doubled E2M1 values 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
#[derive(Clone, Copy, Debug)]
pub struct E2m1;

impl Grid for E2m1 {
    #[inline(always)]
    fn round(&self, _lane: usize, units: f32) -> f32 {
        let magnitude = units.abs();
        let magnitude = if magnitude < 12.0 { magnitude } else { 12.0 };
        // Steps are 1 up to 4, 2 up to 8, 4 beyond: half the power of two at or below.
        let binade = if magnitude > 2.0 { magnitude } else { 2.0 };
        let shift = f32::from_bits(binade.to_bits() & 0x7f80_0000) * (0.5 * TO_INTEGER);
        ((magnitude + shift) - shift).copysign(units)
    }
}

/// The integers `low..=high`, which may differ from lane to lane.
#[derive(Clone, Copy, Debug)]
pub struct Integers {
    low: [f32; LANES],
    high: [f32; LANES],
}

impl Integers {
    /// The integers of [`Code::Int4`](crate::Code::Int4).
    pub const INT4: Integers = Integers { low: [-8.0; LANES], high: [7.0; LANES] };

    /// The integers of [`Code::Int8`](crate::Code::Int8).
    pub const INT8: Integers = Integers { low: [-128.0; LANES], high: [127.0; LANES] };

    /// The integers of `code` with this zero point; E2M1 and lookup codes have none.
    #[inline(always)]
    pub fn of(code: Code, zero: u8) -> Self {
        match code {
            Code::Int4 => Integers::INT4,
            Code::Uint4 | Code::Uint3 | Code::Uint2 => {
                Integers::less(f32::from(code.max_zero() - 1), &[f32::from(zero); LANES])
            }
            _ => Integers::INT8,
        }
    }

    /// Codes `0..=most` less the zero point of each lane.
    pub fn less(most: f32, zeros: &[f32; LANES]) -> Self {
        Integers { low: zeros.map(|zero| -zero), high: zeros.map(|zero| most - zero) }
    }
}

impl Grid for Integers {
    #[inline(always)]
    fn round(&self, lane: usize, units: f32) -> f32 {
        let above = if units > self.low[lane] { units } else { self.low[lane] };
        let inside = if above < self.high[lane] { above } else { self.high[lane] };
        (inside + TO_INTEGER) - TO_INTEGER
    }
}

/// The codes of the values of a group, nearest in lane 0 of `grid`; zeros where a code of 1 is worth 0, and
/// after the end of the group.
#[inline(always)]
pub fn codes(values: &[f32], unit: f32, grid: &impl Grid) -> [i8; MAX_GROUP] {
    let mut codes = [0; MAX_GROUP];
    if unit != 0.0 {
        for (code, value) in codes.iter_mut().zip(values) {
            *code = integer(grid.round(0, value / unit));
        }
    }
    codes
}

/// A rounded code as an integer: the low bits of the shifted sum are its two's complement.
#[inline(always)]
fn integer(code: f32) -> i8 {
    (code + TO_INTEGER).to_bits() as i8
}
