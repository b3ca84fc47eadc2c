//! Weight formats: how one row of a matrix is stored, and how it is read back.
//!
//! Pure: bytes in, numbers out; no device, no file, no thread. Every other crate learns about a
//! format from [`FORMATS`] and the [`Format`] trait and never from its name.
//!
//! | names | code | columns a group | scale |
//! |---|---|---|---|
//! | `fp4` | E2M1 | 16 | E4M3, and f32 for the tensor |
//! | `fp4-g32` `fp4-g64` `fp4-g128` | E2M1 | 32, 64, 128 | f16 |
//! | `mxfp4` | E2M1 | 32 | E8M0 |
//! | `int4` `int4-g64` `int4-g32` | unsigned 4 bits and zero point | 128, 64, 32 | f16 |
//! | `int3` `int3-g128` `int3-g32` | unsigned 3 bits and zero point | 64, 128, 32 | f16 |
//! | `int2` `int2-g128` `int2-g32` | unsigned 2 bits and zero point | 64, 128, 32 | f16 |
//! | `int4-sym` `int4-sym-g64` `int4-sym-g32` | signed 4 bits | 128, 64, 32 | f16 |
//! | `int8` `int8-g64` `int8-g32` | signed 8 bits | 128, 64, 32 | f16 |
//! | `nf4` `nf3` `nf2` | 4, 3, 2 bits into a codebook | 64 | f16 |
//! | `lut4` `lut4-g32` | 4 bits into any codebook | 64, 32 | f32 |
//! | `fp8-e4m3` `fp8-e5m2` | 8-bit floats | the row | f32 |
//! | `fp8-e4m3-g128` | E4M3 | 128 | f32 |
//! | `fp4+sparse24` `int4-sym+sparse24` ... | of 2 of each 4 columns, and 4 bits of positions | | |
//! | `bf16` `f16` `f32` | dense | | |
//! | `affine4` `affine8`, `-g64` `-g32` `-g16` | 4, 8 bits, read only | 128, 64, 32, 16 | f32, and offset |
//! | `q4_0` ... `q6_k`, `mxfp4-gguf`, `iq4_nl`, `iq4_xs` | blocks, read only | 16, 32 | inside the block |
//!
//! A grouped format keeps three streams per row, each starting on a byte of its own:
//!
//! ```text
//!  codes   element 0 in the lowest bits, LSB first, padded with zeros to a multiple of 4 bytes
//!          |k0|k1|k2|k3|k4|k5|k6|k7| ...            (4-bit codes: low nibble = even column)
//!  scales  one per group of `group` columns; the last group may be short
//!  zeros   one byte per group, only for formats with a zero point
//! ```
//!
//! and a value is `scale[g] * code(k) + offset[g]`, the tensor's scale being part of `scale`, the zero
//! point and the weight's codebook, which lookup codes are indices into, of `code`. A block format
//! interleaves the same facts inside fixed-size blocks; a dense format has values only.
//!
//! How an encoder chooses the scale of a group: it tries sixteen at once (the lanes of `grid`), takes
//! the nearest codes of each, moves each scale to the least-squares fit of its codes, stores it, and
//! keeps the one whose stored scale gives the least (weighted) squared error. Coarsely stored scales
//! (E4M3, E8M0) are tried directly, bits by bits. Before that it looks for a scale that reproduces
//! the group exactly, so that encoding what was decoded changes nothing.

#![forbid(unsafe_code)]

mod affine;
mod codes;
mod dense;
mod error;
pub mod export;
mod fp4;
mod fp8;
mod gguf;
mod grid;
mod grouped;
pub mod import;
mod int;
mod int8;
pub mod laws;
mod layout;
mod levels;
mod lookup;
mod mxfp4;
mod samples;
pub mod scalar;
mod search;
mod span;
mod sparse;
mod store;
mod weight;

pub use error::Error;
pub use layout::{Code, Layout, ROW, ScaleType, position_bytes};
pub use levels::Levels;
pub use weight::{Parts, Row, RowMut, Weight};

use std::fmt::Debug;

/// How the scale of each group is chosen when a row is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleSearch {
    /// The scale that maps the largest magnitude of the group onto the largest code.
    Absmax,
    /// The best of a grid of candidate scales by (weighted) squared error, and exact where the group
    /// can be represented exactly. The default: at 3 bits and fewer it is worth more than halving
    /// the group.
    #[default]
    Grid,
}

/// What an encoder may use besides the values themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rounding<'a> {
    /// How scales are chosen.
    pub search: ScaleSearch,
    /// Importance of each column (length `cols`): the weight of its squared error, finite and not
    /// negative. Only ratios within a group matter. `None`, or all 0 in a group, is 1 everywhere.
    pub importance: Option<&'a [f32]>,
}

/// One row taken apart for a kernel: `value[k] = scales[k / group] * codes[k] + offsets[k / group]`.
#[derive(Debug)]
pub struct Unpacked<'a> {
    /// Integer codes, length `cols`. E2M1: twice the value, -12..=12; zero points are taken off.
    pub codes: &'a mut [i8],
    /// f32 scale of each group, tensor scale included; length `ceil(cols / group)`.
    pub scales: &'a mut [f32],
    /// f32 offset of each group, same length as `scales`: 0 but for `affine4`, `affine8` and the GGUF
    /// formats with a minimum (`q4_1`, `q5_1`, `q2_k`, `q4_k`, `q5_k`).
    pub offsets: &'a mut [f32],
}

/// A group of a row that cannot be used; see [`Format::first_flaw`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flaw {
    /// The group within the row.
    pub group: usize,
    /// `scale`, `offset`, `zero point` or `positions` (4 bits, the second above the first).
    pub field: &'static str,
    /// What it is, NaN for the codes that mean it.
    pub value: f32,
}

/// One weight format: a file of this crate, a row of [`FORMATS`].
pub trait Format: Debug + Send + Sync {
    /// Name on the command line and in files, such as `fp4-g64`.
    fn name(&self) -> &'static str;

    /// One line for help texts and tables.
    fn summary(&self) -> &'static str;

    /// Where the bytes of a row lie.
    fn layout(&self) -> Layout;

    /// Writes the `row.cols` values of one row to `out`.
    fn decode(&self, row: Row<'_>, out: &mut [f32]);

    /// The codebook that [`Weight::encode`] gives a weight; empty for formats without lookup codes.
    fn codebook(&self) -> &'static [f32] {
        &[]
    }

    /// Takes one row apart into integer codes, scales and offsets, such that the sum
    /// `scales * codes + offsets` in f32 is exactly what [`Format::decode`] writes. Returns false,
    /// and writes nothing, for formats that are not integer codes ([`Layout::has_integers`]).
    fn unpack(&self, row: Row<'_>, out: Unpacked<'_>) -> bool;

    /// Whether scales are floats of one byte, some of which are NaN.
    fn has_byte_scales(&self) -> bool {
        matches!(self.layout(), Layout::Grouped { scale: ScaleType::E4m3 | ScaleType::E8m0, .. })
    }

    /// The first group of the row whose scale, offset or zero point is none a value can be made with:
    /// NaN, so large that a value overflows, or beyond the codes. Reads no codes. `None` for rows
    /// that are fine and for dense formats.
    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        let _ = row;
        None
    }

    /// The factor common to a whole tensor whose largest magnitude is `absmax`; 1 if unused.
    fn tensor_scale(&self, absmax: f32) -> f32 {
        let _ = absmax;
        1.0
    }

    /// Chooses the scales (and zero points) for finite `values` (length `row.cols`) and writes them to
    /// `row`; its codes stay as they are. Dense formats have nothing to choose.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for formats that are only read, [`Error::Overflow`] for a value that the
    /// format cannot hold.
    fn fit(&self, values: &[f32], how: Rounding<'_>, row: RowMut<'_>) -> Result<(), Error>;

    /// Writes the codes nearest to finite `values` (length `row.cols`) under the scales that stand in
    /// `row`, whose codes are zeros.
    ///
    /// # Errors
    /// As [`Format::fit`].
    fn assign(&self, values: &[f32], row: RowMut<'_>) -> Result<(), Error>;

    /// What the columns of one group can hold under the scales that stand in `row`: rounding to these
    /// levels value by value, then [`Format::assign`], decodes to the rounded values. `None` for
    /// formats without group scales and for those that are only read.
    fn levels<'a>(&self, row: Row<'a>, group: usize) -> Option<Levels<'a>> {
        let _ = (row, group);
        None
    }

    /// Encodes finite `values` (length `row.cols`) into the streams of `row`: [`Format::fit`], then
    /// [`Format::assign`].
    ///
    /// # Errors
    /// As [`Format::fit`].
    fn encode(&self, values: &[f32], how: Rounding<'_>, mut row: RowMut<'_>) -> Result<(), Error> {
        self.fit(values, how, row.reborrow())?;
        self.assign(values, row)
    }
}

/// Every format, in the order help texts list them: what we write, the default first; then what we
/// only read.
pub static FORMATS: &[&dyn Format] = &[
    &fp4::FP4,
    &fp4::FP4_G32,
    &fp4::FP4_G64,
    &fp4::FP4_G128,
    &mxfp4::MXFP4,
    &int::INT4,
    &int::INT4_G64,
    &int::INT4_G32,
    &int::INT3,
    &int::INT3_G128,
    &int::INT3_G32,
    &int::INT2,
    &int::INT2_G128,
    &int::INT2_G32,
    &int::INT4_SYM,
    &int::INT4_SYM_G64,
    &int::INT4_SYM_G32,
    &int8::INT8,
    &int8::INT8_G64,
    &int8::INT8_G32,
    &lookup::NF4,
    &lookup::NF3,
    &lookup::NF2,
    &lookup::LUT4,
    &lookup::LUT4_G32,
    &fp8::FP8_E4M3,
    &fp8::FP8_E4M3_G128,
    &fp8::FP8_E5M2,
    &sparse::FP4_SPARSE24,
    &sparse::INT4_SYM_SPARSE24,
    &sparse::NF4_SPARSE24,
    &sparse::INT8_SPARSE24,
    &sparse::FP8_E4M3_SPARSE24,
    &dense::BF16,
    &dense::F16,
    &dense::F32,
    &affine::AFFINE4,
    &affine::AFFINE4_G64,
    &affine::AFFINE4_G32,
    &affine::AFFINE4_G16,
    &affine::AFFINE8,
    &affine::AFFINE8_G64,
    &affine::AFFINE8_G32,
    &affine::AFFINE8_G16,
    &gguf::Q4_0,
    &gguf::Q4_1,
    &gguf::Q5_0,
    &gguf::Q5_1,
    &gguf::Q8_0,
    &gguf::Q2_K,
    &gguf::Q3_K,
    &gguf::Q4_K,
    &gguf::Q5_K,
    &gguf::Q6_K,
    &gguf::MXFP4,
    &gguf::IQ4_NL,
    &gguf::IQ4_XS,
];

/// Finds a format by its name.
///
/// # Errors
/// [`Error::UnknownFormat`] lists the names there are.
pub fn by_name(name: &str) -> Result<&'static dyn Format, Error> {
    FORMATS
        .iter()
        .copied()
        .find(|format| format.name() == name)
        .ok_or_else(|| Error::UnknownFormat { name: name.to_owned() })
}
