//! `int4`, `int3` and `int2`, groups of 128, 64 and 32: integers with a zero point and an f16 scale per
//! group. `int4-sym`: signed, no zero point.
//!
//! ```text
//!  codes    int4, int4-sym   byte j    | q | q |     high nibble: column 2j + 1, low nibble: column 2j
//!           int3   bytes 3j.. 3j + 2   |   q   |   q   | q |  q   |   q   |  q  | q   |   q   |   q   |
//!                                      columns 8j + 7 ........................................... 8j
//!           int2             byte j    | q | q | q | q |     bits 7 6: column 4j + 3, bits 1 0: column 4j
//!  scales   f16 per group
//!  zeros    a byte per group, written as 0 to the largest code; int4-sym: none
//!  value    (q - zero) * scale            int4-sym: (q - 8) * scale
//! ```
//!
//! On disk (compressed-tensors' `pack-quantized`) the codes are the same dense stream, LSB first.

use crate::grid::{Integers, LANES};
use crate::grouped::{Fit, Grouped};
use crate::samples::Samples;
use crate::search::{absmax_unit, rescaled, spread, storable};
use crate::store::Store;
use crate::{Code, ScaleSearch, ScaleType};

/// Unsigned with zero point, groups of 128.
pub static INT4: Grouped = int4("int4", "4-bit integer, zero point and f16 scale per 128 columns", 128);
/// Unsigned with zero point, groups of 64.
pub static INT4_G64: Grouped = int4("int4-g64", "4-bit integer, zero point and f16 scale per 64 columns", 64);
/// Unsigned with zero point, groups of 32.
pub static INT4_G32: Grouped = int4("int4-g32", "4-bit integer, zero point and f16 scale per 32 columns", 32);
/// 3 bits, groups of 64.
pub static INT3: Grouped = int3("int3", "3-bit integer, zero point and f16 scale per 64 columns", 64);
/// 3 bits, groups of 128.
pub static INT3_G128: Grouped =
    int3("int3-g128", "3-bit integer, zero point and f16 scale per 128 columns", 128);
/// 3 bits, groups of 32.
pub static INT3_G32: Grouped = int3("int3-g32", "3-bit integer, zero point and f16 scale per 32 columns", 32);
/// 2 bits, groups of 64.
pub static INT2: Grouped = int2("int2", "2-bit integer, zero point and f16 scale per 64 columns", 64);
/// 2 bits, groups of 128.
pub static INT2_G128: Grouped =
    int2("int2-g128", "2-bit integer, zero point and f16 scale per 128 columns", 128);
/// 2 bits, groups of 32.
pub static INT2_G32: Grouped = int2("int2-g32", "2-bit integer, zero point and f16 scale per 32 columns", 32);
/// Signed, groups of 128.
pub static INT4_SYM: Grouped = signed("int4-sym", "4-bit signed integer, f16 scale per 128 columns", 128);
/// Signed, groups of 64.
pub static INT4_SYM_G64: Grouped =
    signed("int4-sym-g64", "4-bit signed integer, f16 scale per 64 columns", 64);
/// Signed, groups of 32.
pub static INT4_SYM_G32: Grouped =
    signed("int4-sym-g32", "4-bit signed integer, f16 scale per 32 columns", 32);

const fn int4(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    let fit = |samples: &Samples, store: &Store, search| fit_unsigned(UINT4, samples, store, search);
    Grouped { name, summary, code: Code::Uint4, group, scale: ScaleType::F16, fit }
}

const fn int3(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    let fit = |samples: &Samples, store: &Store, search| fit_unsigned(UINT3, samples, store, search);
    Grouped { name, summary, code: Code::Uint3, group, scale: ScaleType::F16, fit }
}

const fn int2(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    let fit = |samples: &Samples, store: &Store, search| fit_unsigned(UINT2, samples, store, search);
    Grouped { name, summary, code: Code::Uint2, group, scale: ScaleType::F16, fit }
}

const fn signed(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    Grouped { name, summary, code: Code::Int4, group, scale: ScaleType::F16, fit: fit_signed }
}

/// How one width of unsigned codes is searched.
#[derive(Clone, Copy, Debug)]
struct Width {
    code: Code,
    /// The shares of the range's unit that are tried, evenly spread: the fewer codes, the more it gains
    /// to clip.
    shares: (f32, f32),
    /// Passes of [`LANES`] candidates over those shares.
    passes: usize,
}

const UINT4: Width = Width { code: Code::Uint4, shares: (0.8, 1.15), passes: 1 };
const UINT3: Width = Width { code: Code::Uint3, shares: (0.6, 1.15), passes: 2 };
const UINT2: Width = Width { code: Code::Uint2, shares: (0.4, 1.2), passes: 2 };

fn fit_signed(samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    let grid = Integers::INT4;
    let absmax = absmax_unit(Code::Int4, samples);
    let first = store.nearest(absmax);
    let exact = || {
        let codes = (1..=8).rev().flat_map(|code| [-code as f32, code as f32]);
        storable(samples, store, codes).find(|stored| samples.exact(stored.unit, &grid))
    };
    Fit::symmetric(match search {
        ScaleSearch::Absmax => first,
        ScaleSearch::Grid => {
            exact().unwrap_or_else(|| rescaled(samples, store, &grid, first, &spread(absmax, 0.66, 1.29)).0)
        }
    })
}

fn fit_unsigned(width: Width, samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    let most = f32::from(width.code.max_zero() - 1);
    let range = absmax_unit(width.code, samples);
    let scale = store.nearest(range);
    let first = Fit { scale, zero: zero_of(samples.low, scale.unit, most) as u8 };
    match search {
        ScaleSearch::Absmax => first,
        ScaleSearch::Grid => exact_unsigned(most, samples, store)
            .unwrap_or_else(|| best_unsigned(width, most, samples, store, first)),
    }
}

/// The best of `first` and of scales spread over the width's shares, each with the two zero points that
/// centre the codes best.
fn best_unsigned(width: Width, most: f32, samples: &Samples, store: &Store, first: Fit) -> Fit {
    let range = absmax_unit(width.code, samples);
    let middle = 0.5 * (samples.low + samples.high);
    let (from, to) = width.shares;
    let step = (to - from) / (width.passes * LANES / 2 - 1) as f32;
    let mut best = first;
    for pass in 0..width.passes {
        let mut units = [best.scale.unit; LANES];
        let mut zeros = [f32::from(best.zero); LANES];
        for pair in 0..LANES / 2 {
            let unit = range * (from + step * (pair * width.passes + pass) as f32);
            let centred = (0.5 * most - middle / unit).clamp(0.0, most);
            units[2 * pair..][..2].fill(unit);
            zeros[2 * pair..][..2].copy_from_slice(&[centred.floor(), centred.ceil()]);
        }
        // The best so far takes the place of one candidate, so that the result is never worse.
        (units[0], zeros[0]) = (best.scale.unit, f32::from(best.zero));
        let (scale, lane) = rescaled(samples, store, &Integers::less(most, &zeros), best.scale, &units);
        best = Fit { scale, zero: zeros[lane] as u8 };
    }
    best
}

fn exact_unsigned(most: f32, samples: &Samples, store: &Store) -> Option<Fit> {
    let codes = (1..=most as u8).rev().map(|code| f32::from(code).copysign(samples.extreme));
    storable(samples, store, codes).find_map(|scale| {
        let zero = zero_of(samples.low, scale.unit, most);
        let exact = samples.exact(scale.unit, &Integers::less(most, &[zero; LANES]));
        exact.then_some(Fit { scale, zero: zero as u8 })
    })
}

/// The zero point that makes the smallest value code 0.
fn zero_of(low: f32, unit: f32, most: f32) -> f32 {
    (-low / unit).round_ties_even().clamp(0.0, most)
}
