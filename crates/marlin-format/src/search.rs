//! Which scale a group gets: candidates, the error of each, the best.

use crate::Code;
use crate::grid::{Grid, LANES};
use crate::samples::Samples;
use crate::store::{Store, Stored};

/// The unit that maps the extreme of the group onto the extreme code: of [`ScaleSearch::Absmax`].
/// Signed codes reach one further down than up, so there the extreme goes down, whatever its sign.
///
/// [`ScaleSearch::Absmax`]: crate::ScaleSearch::Absmax
pub fn absmax_unit(code: Code, samples: &Samples) -> f32 {
    match code {
        Code::E2m1 => samples.extreme.abs() / 12.0,
        Code::Uint4 | Code::Uint3 | Code::Uint2 => {
            (samples.high - samples.low) / f32::from(code.max_zero() - 1)
        }
        Code::Int4 => samples.extreme / -8.0,
        Code::Int8 => samples.extreme / -128.0,
        // Codebooks have units of their own: see `lookup`.
        _ => samples.extreme.abs() / code.magnitude(),
    }
}

/// [`LANES`] multiples of `unit`, evenly from `from` to `to`.
pub fn spread(unit: f32, from: f32, to: f32) -> [f32; LANES] {
    std::array::from_fn(|lane| unit * (from + (to - from) / (LANES - 1) as f32 * lane as f32))
}

/// The storable units among the extreme value divided by each of `codes`. When every value of a
/// group is a code times a storable unit, one of these is that unit: looking here first makes
/// encoding what was decoded change nothing.
pub fn storable<'a>(
    samples: &Samples,
    store: &'a Store,
    codes: impl Iterator<Item = f32> + 'a,
) -> impl Iterator<Item = Stored> + 'a {
    let (extreme, zero_bits) = (samples.extreme, store.zero_bits());
    let units = codes.map(move |code| extreme / code);
    units.filter(move |unit| unit.to_bits() & zero_bits == 0).map(|unit| store.nearest(unit))
}

/// The candidate with the smallest error, the first of equals, and its lane. An error that is not
/// a number loses.
pub fn best(samples: &Samples, grid: &impl Grid, candidates: &[Stored; LANES]) -> (Stored, usize) {
    let errors = samples.errors(&candidates.map(|stored| stored.unit), grid);
    let lane = (1..LANES).fold(0, |best, lane| if errors[lane] < errors[best] { lane } else { best });
    (candidates[lane], lane)
}

/// Rounds to codes at each of `units`, stores the least-squares unit of those codes, and takes the
/// best. Lane 0 is `first` itself, so that the result is never worse.
pub fn rescaled(
    samples: &Samples,
    store: &Store,
    grid: &impl Grid,
    first: Stored,
    units: &[f32; LANES],
) -> (Stored, usize) {
    let mut candidates = samples.rescale(units, grid).map(|unit| store.nearest(unit));
    candidates[0] = first;
    best(samples, grid, &candidates)
}
