//! `int8`, groups of 128, 64 and 32: 8-bit integers with an f16 scale per group.
//!
//! ```text
//!  codes    byte k  | q |     column k, stored with 128 added
//!  scales   f16 per group
//!  value    (q - 128) * scale
//! ```

use crate::grid::Integers;
use crate::grouped::{Fit, Grouped};
use crate::samples::Samples;
use crate::search::{absmax_unit, rescaled, spread, storable};
use crate::store::Store;
use crate::{Code, ScaleSearch, ScaleType};

/// Groups of 128.
pub static INT8: Grouped = signed("int8", "8-bit signed integer, f16 scale per 128 columns", 128);
/// Groups of 64.
pub static INT8_G64: Grouped = signed("int8-g64", "8-bit signed integer, f16 scale per 64 columns", 64);
/// Groups of 32.
pub static INT8_G32: Grouped = signed("int8-g32", "8-bit signed integer, f16 scale per 32 columns", 32);

const fn signed(name: &'static str, summary: &'static str, group: usize) -> Grouped {
    Grouped { name, summary, code: Code::Int8, group, scale: ScaleType::F16, fit }
}

fn fit(samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    let grid = Integers::INT8;
    let absmax = absmax_unit(Code::Int8, samples);
    let first = store.nearest(absmax);
    let exact = || {
        let codes = (1..=128).rev().flat_map(|code| [-code as f32, code as f32]);
        storable(samples, store, codes).find(|stored| samples.exact(stored.unit, &grid))
    };
    Fit::symmetric(match search {
        ScaleSearch::Absmax => first,
        // With 256 codes clipping gains nothing; nearby scales only fall luckier.
        ScaleSearch::Grid => {
            exact().unwrap_or_else(|| rescaled(samples, store, &grid, first, &spread(absmax, 0.955, 1.045)).0)
        }
    })
}
