//! `fp4` and `fp4-g32`, `-g64`, `-g128`: 4-bit floats with a scale per group.
//!
//! ```text
//!  codes    byte j  | s e e m | s e e m |    high nibble: column 2j + 1, low nibble: column 2j
//!  scales   fp4     E4M3 per 16 columns, and one f32 for the tensor (the NVFP4 layout)
//!           fp4-gN  f16 per N columns
//!  value    e2m1(code) * scale * tensor_scale
//! ```

use crate::grid::E2m1;
use crate::grouped::{Fit, Grouped};
use crate::samples::Samples;
use crate::search::{absmax_unit, best, rescaled, spread, storable};
use crate::store::{Store, Stored};
use crate::{Code, ScaleSearch, ScaleType};

/// E2M1 in groups of 16 with E4M3 scales.
pub static FP4: Grouped = Grouped {
    name: "fp4",
    summary: "4-bit float (E2M1), an E4M3 scale per 16 columns: the NVFP4 layout",
    code: Code::E2m1,
    group: 16,
    scale: ScaleType::E4m3,
    fit: fit_e4m3,
};

/// E2M1 in groups of 32 with f16 scales.
pub static FP4_G32: Grouped = with_f16("fp4-g32", "4-bit float (E2M1), an f16 scale per 32 columns", 32);
/// E2M1 in groups of 64 with f16 scales.
pub static FP4_G64: Grouped = with_f16("fp4-g64", "4-bit float (E2M1), an f16 scale per 64 columns", 64);
/// E2M1 in groups of 128 with f16 scales.
pub static FP4_G128: Grouped = with_f16("fp4-g128", "4-bit float (E2M1), an f16 scale per 128 columns", 128);

const fn with_f16(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    Grouped { name, summary, code: Code::E2m1, group, scale: ScaleType::F16, fit: fit_f16 }
}

/// The storable unit that reproduces the samples, if there is one.
pub fn exact(samples: &Samples, store: &Store) -> Option<Stored> {
    let codes = [12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0].map(|code: f32| code.copysign(samples.extreme));
    storable(samples, store, codes.into_iter()).find(|stored| samples.exact(stored.unit, &E2m1))
}

fn fit_e4m3(samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    let first = store.nearest(absmax_unit(Code::E2m1, samples));
    Fit::symmetric(match search {
        ScaleSearch::Absmax => first,
        // E4M3 has 8 steps an octave: 7 down and 8 up reach half and twice the scale, beyond which
        // nothing is gained (at twice the scale the codes are a subset of those at the scale).
        ScaleSearch::Grid => {
            exact(samples, store).unwrap_or_else(|| best(samples, &E2m1, &store.neighbours(first.bits, 7)).0)
        }
    })
}

fn fit_f16(samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    let absmax = absmax_unit(Code::E2m1, samples);
    let first = store.nearest(absmax);
    Fit::symmetric(match search {
        ScaleSearch::Absmax => first,
        // Below 1 the extreme is clipped; at 1.5 it becomes 4 instead of 6.
        ScaleSearch::Grid => exact(samples, store)
            .unwrap_or_else(|| rescaled(samples, store, &E2m1, first, &spread(absmax, 0.68, 1.62)).0),
    })
}
