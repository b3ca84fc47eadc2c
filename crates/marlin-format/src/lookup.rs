//! `nf4`, `nf3`, `nf2`, and `lut4`, `lut4-g32`: indices into a codebook that belongs to the weight.
//!
//! ```text
//!  codes      4 bits   byte j  | q | q |    high nibble: column 2j + 1, low nibble: column 2j
//!             3, 2 bits        as int3, int2
//!  scales     nf4, nf3, nf2: f16 per 64 columns;  lut4: f32 per 64, lut4-g32: f32 per 32
//!  codebook   16, 8 or 4 values in f32, one for the weight
//!  value      codebook[q] * scale
//! ```
//!
//! Any table of finite values can be a weight's codebook, in any order, so that other formats of 4-bit
//! indices keep their values: that is what `lut4` is for (bitsandbytes has an f32 scale per 64, GGUF's
//! IQ4_XS makes one per 32). What is encoded here uses these codebooks:
//!
//! | format | codebook | why |
//! |---|---|---|
//! | `nf4`, `lut4` | NF4 (Dettmers et al., QLoRA, 2023, appendix E), as in bitsandbytes | what others use |
//! | `nf3`, `nf2` | Lloyd-Max levels of N(0, 1) (Max, 1960, table I), largest 1 | the least error measured |
//!
//! There is no standard for 3 and 2 bits. Relative squared error on 2^18 values of N(0, 1), searched scales,
//! groups of 64, by the test `lloyd_max_levels_are_the_best_codebooks` of `tests/format/lookup.rs`:
//!
//! ```text
//!                                                          nf3        nf2
//!  LoftQ's: -1 -.479 -.217 0 .161 .338 .563 1; -1 0 .338 1  0.03306    0.14262
//!  midpoints of equally likely bins                         0.02934    0.11118
//!  Lloyd-Max                                                0.02925    0.11093
//! ```

use crate::codes::{join, split};
use crate::grid::Grid;
use crate::grouped::{Coder, Fit, Shape, assign, fit};
use crate::samples::{MAX_GROUP, Samples};
use crate::search::{rescaled, spread};
use crate::store::{Store, Stored, read_scale, stored_bits};
use crate::{
    Code, Error, Flaw, Format, Layout, Levels, Rounding, Row, RowMut, ScaleSearch, ScaleType, Unpacked,
};

/// The NF4 values.
#[rustfmt::skip]
static NF4_CODEBOOK: [f32; 16] = [
    -1.0, -0.696_192_8, -0.525_073_05, -0.394_917_5, -0.284_441_38, -0.184_773_43, -0.091_050_036, 0.0,
    0.079_580_3, 0.160_930_2, 0.246_112_3, 0.337_915_24, 0.440_709_83, 0.562_617, 0.722_956_84, 1.0,
];

/// Lloyd-Max levels 0.2451, 0.7560, 1.3439, 2.1519 over the last.
static NF3_CODEBOOK: [f32; 8] = [-1.0, -0.624_52, -0.351_32, -0.113_90, 0.113_90, 0.351_32, 0.624_52, 1.0];

/// Lloyd-Max levels 0.4528, 1.5104 over the last.
static NF2_CODEBOOK: [f32; 4] = [-1.0, -0.299_79, 0.299_79, 1.0];

/// 4 bits, f16 scales per 64.
pub static NF4: Lookup = Lookup {
    name: "nf4",
    summary: "4-bit index into 16 values (NF4), f16 scale per 64 columns",
    code: Code::Lookup4,
    group: 64,
    scale: ScaleType::F16,
    codebook: &NF4_CODEBOOK,
};

/// The half of `nf4+sparse24`.
pub static NF4_G32: Lookup = Lookup { name: "nf4-g32", group: 32, ..NF4 };

/// 3 bits, f16 scales per 64.
pub static NF3: Lookup = Lookup {
    name: "nf3",
    summary: "3-bit index into 8 values (Lloyd-Max), f16 scale per 64 columns",
    code: Code::Lookup3,
    codebook: &NF3_CODEBOOK,
    ..NF4
};

/// 2 bits, f16 scales per 64.
pub static NF2: Lookup = Lookup {
    name: "nf2",
    summary: "2-bit index into 4 values (Lloyd-Max), f16 scale per 64 columns",
    code: Code::Lookup2,
    codebook: &NF2_CODEBOOK,
    ..NF4
};

/// 4 bits, f32 scales per 64: bitsandbytes' NF4 and FP4.
pub static LUT4: Lookup = Lookup {
    name: "lut4",
    summary: "4-bit index into any 16 values, f32 scale per 64 columns: for what others made",
    scale: ScaleType::F32,
    ..NF4
};

/// 4 bits, f32 scales per 32: GGUF's IQ4_NL and IQ4_XS.
pub static LUT4_G32: Lookup = Lookup {
    name: "lut4-g32",
    summary: "4-bit index into any 16 values, f32 scale per 32 columns: for what others made",
    group: 32,
    ..LUT4
};

/// One format of indices.
#[derive(Debug)]
pub struct Lookup {
    name: &'static str,
    summary: &'static str,
    code: Code,
    group: usize,
    scale: ScaleType,
    /// What [`Format::codebook`] gives.
    codebook: &'static [f32],
}

impl Lookup {
    fn store(&self, codebook: &[f32]) -> Store {
        Store::up_to(magnitude(codebook), self.scale, 1.0)
    }

    fn shape(&self) -> Shape {
        Shape { name: self.name, bits: self.code.bits(), group: self.group, scale: self.scale }
    }

    /// Writes `scales * codebook[code]` with the codebook in an array of `N`, so that no index is checked.
    #[inline(always)]
    fn decode_from<const N: usize>(&self, row: Row<'_>, out: &mut [f32]) {
        let codebook: [f32; N] = std::array::from_fn(|code| row.codebook[code]);
        let groups = out.chunks_mut(self.group).zip(row.codes.chunks(self.group * self.code.bits() / 8));
        for ((out, codes), bits) in groups.zip(stored_bits(self.scale, row.scales)) {
            let scale = read_scale(self.scale, bits);
            // Adding 0 makes one zero of the two, as integer codes have it.
            split(self.code.bits(), codes, out, |code| scale * codebook[usize::from(code) % N] + 0.0);
        }
    }
}

impl Format for Lookup {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        let Lookup { code, group, scale, .. } = *self;
        Layout::Grouped { code, group, scale, zero: false, tensor_scale: false, sparse: false }
    }

    fn codebook(&self) -> &'static [f32] {
        self.codebook
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        match self.code {
            Code::Lookup4 => self.decode_from::<16>(row, out),
            Code::Lookup3 => self.decode_from::<8>(row, out),
            _ => self.decode_from::<4>(row, out),
        }
    }

    fn unpack(&self, _row: Row<'_>, _out: Unpacked<'_>) -> bool {
        false
    }

    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        let (group, value) = self.store(row.codebook).first_flaw(row.scales)?;
        Some(Flaw { group, field: "scale", value })
    }

    fn fit(&self, values: &[f32], how: Rounding<'_>, row: RowMut<'_>) -> Result<(), Error> {
        let (shape, store) = (self.shape(), self.store(row.codebook));
        match self.code {
            Code::Lookup4 => fit(&Table::<16>::new(row.codebook), shape, store, values, how, row),
            Code::Lookup3 => fit(&Table::<8>::new(row.codebook), shape, store, values, how, row),
            _ => fit(&Table::<4>::new(row.codebook), shape, store, values, how, row),
        }
    }

    fn assign(&self, values: &[f32], row: RowMut<'_>) -> Result<(), Error> {
        let (shape, store) = (self.shape(), self.store(row.codebook));
        match self.code {
            Code::Lookup4 => assign(&Table::<16>::new(row.codebook), shape, store, values, row),
            Code::Lookup3 => assign(&Table::<8>::new(row.codebook), shape, store, values, row),
            _ => assign(&Table::<4>::new(row.codebook), shape, store, values, row),
        }
        Ok(())
    }

    fn levels<'a>(&self, row: Row<'a>, group: usize) -> Option<Levels<'a>> {
        let unit = self.store(row.codebook).read(row.scales, group)?.unit;
        Some(Levels::lookup(row.codebook, unit))
    }
}

/// The largest magnitude of a codebook.
fn magnitude(codebook: &[f32]) -> f32 {
    codebook.iter().fold(0.0, |max, value| max.max(value.abs()))
}

/// A codebook of `N` values in ascending order, as points to round to.
#[derive(Debug)]
struct Table<const N: usize> {
    values: [f32; N],
    /// The code of each value.
    codes: [u8; N],
    /// Half way from each value to the next; infinite after the last.
    cuts: [f32; N],
    /// The code whose value is nearest to 0, above it if there are two.
    zero: u8,
    magnitude: f32,
}

impl<const N: usize> Table<N> {
    fn new(codebook: &[f32]) -> Self {
        let mut order: [u8; N] = std::array::from_fn(|code| code as u8);
        let value = |code: u8| codebook[usize::from(code)];
        order.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
        let values = order.map(value);
        let cuts = std::array::from_fn(|at| match values.get(at + 1) {
            Some(next) => 0.5 * values[at] + 0.5 * next,
            None => f32::INFINITY,
        });
        let nearest = |a: &&u8, b: &&u8| {
            let (a, b) = (value(**a), value(**b));
            a.abs().total_cmp(&b.abs()).then(b.total_cmp(&a))
        };
        let zero = order.iter().min_by(nearest).copied().unwrap_or(0);
        Table { values, codes: order, cuts, zero, magnitude: magnitude(codebook) }
    }

    /// The scale that reproduces the group, if there is one: the extreme over some value of the codebook.
    fn exact(&self, samples: &Samples, store: &Store) -> Option<Stored> {
        let largest_first = self.values.iter().rev().filter(|value| **value != 0.0);
        let mut units = largest_first.flat_map(|value| store.sources(samples.extreme / value));
        units.find(|stored| samples.exact(stored.unit, self))
    }
}

impl<const N: usize> Grid for Table<N> {
    #[inline(always)]
    fn round(&self, _lane: usize, units: f32) -> f32 {
        let mut value = self.values[0];
        for at in 1..N {
            value = if units > self.cuts[at - 1] { self.values[at] } else { value };
        }
        value
    }
}

impl<const N: usize> Coder for Table<N> {
    fn absmax_unit(&self, samples: &Samples) -> f32 {
        samples.extreme.abs() / self.magnitude
    }

    fn limit(&self) -> f32 {
        self.magnitude
    }

    fn fit(&self, samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
        let absmax = self.absmax_unit(samples);
        let first = store.nearest(absmax);
        // The fewer values, the more it gains to clip.
        let (from, to) = match N {
            16 => (0.72, 1.17),
            8 => (0.55, 1.15),
            _ => (0.4, 1.15),
        };
        Fit::symmetric(match search {
            ScaleSearch::Absmax => first,
            ScaleSearch::Grid => self
                .exact(samples, store)
                .unwrap_or_else(|| rescaled(samples, store, self, first, &spread(absmax, from, to)).0),
        })
    }

    fn pack(&self, values: &[f32], fit: Fit, codes: &mut [u8]) {
        let unit = fit.scale.unit;
        let code = |value: &f32| {
            let units = value / unit;
            let at = self.cuts.iter().filter(|cut| units > **cut).count();
            if unit == 0.0 { self.zero as i8 } else { self.codes[at] as i8 }
        };
        let mut integers = [0; MAX_GROUP];
        for (integer, value) in integers.iter_mut().zip(values) {
            *integer = code(value);
        }
        join(N.trailing_zeros() as usize, &integers[..values.len()], codes, |code| code as u8);
    }
}
