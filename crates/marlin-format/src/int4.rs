//! `int4` and `int4-sym`, groups of 128, 64 and 32: 4-bit integers with an f16 scale per group.
//!
//! ```text
//!  codes    byte j  | q | q |    high nibble: column 2j + 1, low nibble: column 2j
//!  scales   f16 per group
//!  zeros    int4: a byte per group, written as 0..=15; int4-sym: none
//!  value    int4: (q - zero) * scale        int4-sym: (q - 8) * scale
//! ```

use crate::grid::{Integers, LANES};
use crate::grouped::{Fit, Grouped};
use crate::samples::Samples;
use crate::search::{absmax_unit, rescaled, spread, storable};
use crate::store::Store;
use crate::{Code, ScaleSearch, ScaleType};

/// Unsigned with zero point, groups of 128.
pub static INT4: Grouped = unsigned("int4", "4-bit integer, zero point and f16 scale per 128 columns", 128);
/// Unsigned with zero point, groups of 64.
pub static INT4_G64: Grouped =
    unsigned("int4-g64", "4-bit integer, zero point and f16 scale per 64 columns", 64);
/// Unsigned with zero point, groups of 32.
pub static INT4_G32: Grouped =
    unsigned("int4-g32", "4-bit integer, zero point and f16 scale per 32 columns", 32);
/// Signed, groups of 128.
pub static INT4_SYM: Grouped = signed("int4-sym", "4-bit signed integer, f16 scale per 128 columns", 128);
/// Signed, groups of 64.
pub static INT4_SYM_G64: Grouped =
    signed("int4-sym-g64", "4-bit signed integer, f16 scale per 64 columns", 64);
/// Signed, groups of 32.
pub static INT4_SYM_G32: Grouped =
    signed("int4-sym-g32", "4-bit signed integer, f16 scale per 32 columns", 32);

const fn unsigned(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    Grouped { name, summary, code: Code::Uint4, group, scale: ScaleType::F16, fit: fit_unsigned }
}

const fn signed(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    Grouped { name, summary, code: Code::Int4, group, scale: ScaleType::F16, fit: fit_signed }
}

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

fn fit_unsigned(samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    let range = absmax_unit(Code::Uint4, samples);
    let first = store.nearest(range);
    let zero = zero_of(samples.low, first.unit);
    if search == ScaleSearch::Absmax {
        return Fit { scale: first, zero: zero as u8 };
    }
    exact_unsigned(samples, store).unwrap_or_else(|| {
        // Eight scales, each with the two zero points that centre the codes best.
        let middle = 0.5 * (samples.low + samples.high);
        let mut units = [first.unit; LANES];
        let mut zeros = [zero; LANES];
        for (pair, ratio) in spread(range, 0.8, 1.55).iter().take(LANES / 2).enumerate() {
            let centred = (7.5 - middle / ratio).clamp(0.0, 15.0);
            units[2 * pair..][..2].fill(*ratio);
            zeros[2 * pair..][..2].copy_from_slice(&[centred.floor(), centred.ceil()]);
        }
        (units[0], zeros[0]) = (first.unit, zero);
        let (scale, lane) = rescaled(samples, store, &Integers::less(&zeros), first, &units);
        Fit { scale, zero: zeros[lane] as u8 }
    })
}

fn exact_unsigned(samples: &Samples, store: &Store) -> Option<Fit> {
    let codes = (1..=15).rev().map(|code| (code as f32).copysign(samples.extreme));
    storable(samples, store, codes).find_map(|scale| {
        let zero = zero_of(samples.low, scale.unit);
        let exact = samples.exact(scale.unit, &Integers::less(&[zero; LANES]));
        exact.then_some(Fit { scale, zero: zero as u8 })
    })
}

/// The zero point that makes the smallest value code 0.
fn zero_of(low: f32, unit: f32) -> f32 {
    (-low / unit).round_ties_even().clamp(0.0, 15.0)
}
