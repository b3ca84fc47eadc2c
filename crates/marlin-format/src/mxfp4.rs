//! `mxfp4`: 4-bit floats with a power of two per 32 columns (OCP Microscaling Formats 1.0).
//!
//! ```text
//!  codes    byte j  | s e e m | s e e m |    high nibble: column 2j + 1, low nibble: column 2j
//!  scales   E8M0 per 32 columns
//!  value    e2m1(code) * 2^(scale - 127)
//! ```

use crate::fp4::exact;
use crate::grid::E2m1;
use crate::grouped::{Fit, Grouped};
use crate::samples::Samples;
use crate::search::best;
use crate::store::Store;
use crate::{Code, ScaleSearch, ScaleType};

/// E2M1 in groups of 32 with E8M0 scales.
pub static MXFP4: Grouped = Grouped {
    name: "mxfp4",
    summary: "4-bit float (E2M1), a power of two per 32 columns (OCP MX)",
    code: Code::E2m1,
    group: 32,
    scale: ScaleType::E8m0,
    fit,
};

fn fit(samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
    // OCP: the exponent of the extreme less that of 4, the largest power of two in E2M1; 4 is 8
    // units, and the store rounds down.
    let first = store.nearest(samples.extreme.abs() / 8.0);
    Fit::symmetric(match search {
        ScaleSearch::Absmax => first,
        ScaleSearch::Grid => {
            exact(samples, store).unwrap_or_else(|| best(samples, &E2m1, &store.neighbours(first.bits, 1)).0)
        }
    })
}
