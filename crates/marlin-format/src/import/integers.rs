//! Integer codes with a scale and a zero point or offset per group, in the smallest format of ours
//! that holds every value exactly.
//!
//! ```text
//!  value = scale * (code - zero)      GPTQ, AWQ, compressed-tensors
//!  value = scale * code + offset      MLX
//! ```
//!
//! | codes | scales | format |
//! |---|---|---|
//! | as wide as ours, one zero point or small ones | exact in f16 | `int4`, `int4-sym`, `int8`, ... |
//! | up to 4 bits | at most 16 significant bits | `affine4`: the offset is -scale * zero, exact in f32 |
//! | 8 bits | at most 15 significant bits | `affine8`, as above |
//! | that fit in a signed byte without their zero point | any | `affine8`, offsets 0 |
//! | any other | any | `f32` |

use bytes::Bytes;
use half::f16;

use super::stream::{read_stream, row_bytes, widen, write_stream};
use crate::{Code, Error, FORMATS, Format, Layout, Parts, ScaleType, Weight, by_name};

/// What is taken from a code, or added to a value.
#[derive(Clone, Debug)]
pub enum Offsets {
    /// The same zero point everywhere.
    Zero(i16),
    /// A zero point for each group, `[rows, groups]`.
    Zeros(Vec<i16>),
    /// An offset for each group, `[rows, groups]`.
    Values(Vec<f32>),
}

/// A matrix of integer codes.
#[derive(Clone, Debug)]
pub struct Integers {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Bits of a code, at most 8.
    pub bits: usize,
    /// Columns of a group; the last may be short.
    pub group: usize,
    /// Rows of codes, each a stream of bits, lowest first, padded to whole 32-bit words.
    pub codes: Bytes,
    /// `[rows, groups]`.
    pub scales: Vec<f32>,
    /// Zero points or offsets.
    pub offsets: Offsets,
}

impl Integers {
    /// The weight that has these values, bit for bit.
    ///
    /// # Errors
    /// [`Error::Length`] when streams and shape differ, [`Error::GroupSize`], or [`Error::Group`] for a
    /// scale or offset that is not finite.
    pub fn weight(self) -> Result<Weight, Error> {
        self.check()?;
        self.grouped().or_else(|| self.affine()).or_else(|| self.signed()).unwrap_or_else(|| self.dense())
    }

    fn groups(&self) -> usize {
        self.cols.div_ceil(self.group)
    }

    fn check(&self) -> Result<(), Error> {
        let Integers { rows, cols, .. } = *self;
        let lengths = [
            ("codes", self.codes.len(), rows * row_bytes(self.bits, cols)),
            ("scales", self.scales.len(), rows * self.groups()),
            (
                "zeros",
                match &self.offsets {
                    Offsets::Zero(_) => rows * self.groups(),
                    Offsets::Zeros(zeros) => zeros.len(),
                    Offsets::Values(values) => values.len(),
                },
                rows * self.groups(),
            ),
        ];
        for (stream, found, expected) in lengths {
            if found != expected {
                return Err(Error::Length { stream, format: "integers", rows, cols, found, expected });
            }
        }
        if self.groups() > 1 && !self.group.is_multiple_of(MIN_GROUP) {
            return Err(Error::GroupSize { found: self.group, multiple: MIN_GROUP });
        }
        let flaw = |field, values: &[f32]| {
            let at = values.iter().position(|value| !value.is_finite())?;
            let (row, group) = (at / self.groups(), at % self.groups());
            Some(Error::Group { format: "integers", row, group, field, found: values[at] })
        };
        let offsets = match &self.offsets {
            Offsets::Values(values) => flaw("offset", values),
            _ => None,
        };
        flaw("scale", &self.scales).or(offsets).map_or(Ok(()), Err)
    }

    /// The largest group of ours that this one is made of, for which `fits` has a format.
    fn format(&self, fits: impl Fn(&Layout) -> bool) -> Option<&'static dyn Format> {
        let divides = |group: usize| self.groups() == 1 || self.group.is_multiple_of(group);
        let formats = FORMATS.iter().copied().filter(|format| {
            let layout = format.layout();
            fits(&layout) && divides(layout.group())
        });
        formats.max_by_key(|format| format.layout().group())
    }

    /// One value for each of our groups, row by row, from one for each of theirs.
    fn spread<'a, T: Copy>(&'a self, group: usize, theirs: &'a [T]) -> impl Iterator<Item = T> + 'a {
        let ours = self.cols.div_ceil(group);
        theirs.chunks_exact(self.groups()).flat_map(move |row| {
            (0..ours).map(move |g| if row.len() == 1 { row[0] } else { row[g * group / self.group] })
        })
    }

    /// A format with f16 scales and codes as wide.
    fn grouped(&self) -> Option<Result<Weight, Error>> {
        let exact = |scale: &f32| f16::from_f32(*scale).to_f32().to_bits() == scale.to_bits();
        if matches!(self.offsets, Offsets::Values(_)) || !self.scales.iter().all(exact) {
            return None;
        }
        let format = self.format(|layout| match *layout {
            Layout::Grouped { code, scale: ScaleType::F16, zero: true, sparse: false, .. } => {
                code.bits() == self.bits && self.zeros_within(code.magnitude() as i16)
            }
            Layout::Grouped { code, scale: ScaleType::F16, zero: false, sparse: false, .. } => {
                let signed = matches!(code, Code::Int4 | Code::Int8);
                signed && code.bits() == self.bits && self.one_zero() == Some(1 << (self.bits - 1))
            }
            _ => false,
        });
        let format = format?;
        let layout = format.layout();
        let halves = self.spread(layout.group(), &self.scales).map(f16::from_f32);
        let scales: Vec<u8> = halves.flat_map(f16::to_le_bytes).collect();
        let mut parts = Parts { scales: scales.into(), ..Parts::codes_only(self.codes.clone()) };
        if layout.zero_bytes(self.cols) > 0 {
            let zeros = self.zeros();
            let bytes = self.spread(layout.group(), &zeros).map(|zero| zero as u8);
            parts.zeros = bytes.collect::<Vec<u8>>().into();
        }
        Some(Weight::new(format, self.rows, self.cols, parts))
    }

    /// The zero point that all groups have.
    fn one_zero(&self) -> Option<i16> {
        match &self.offsets {
            Offsets::Zero(zero) => Some(*zero),
            Offsets::Zeros(zeros) => {
                let first = *zeros.first()?;
                zeros.iter().all(|zero| *zero == first).then_some(first)
            }
            Offsets::Values(_) => None,
        }
    }

    fn zeros_within(&self, most: i16) -> bool {
        let fits = |zero: &i16| (0..=most).contains(zero);
        match &self.offsets {
            Offsets::Zero(zero) => fits(zero),
            Offsets::Zeros(zeros) => zeros.iter().all(fits),
            Offsets::Values(_) => false,
        }
    }

    fn zeros(&self) -> Vec<i16> {
        match &self.offsets {
            Offsets::Zeros(zeros) => zeros.clone(),
            Offsets::Zero(zero) => vec![*zero; self.scales.len()],
            Offsets::Values(_) => Vec::new(),
        }
    }

    /// Codes as they are, an offset for each group in f32, if that loses nothing.
    fn affine(&self) -> Option<Result<Weight, Error>> {
        let width = if self.bits <= 4 { 4 } else { 8 };
        // 4-bit codes stand for themselves; of bytes 128 is taken, so that narrower codes get it added.
        let (add, taken) = match self.bits {
            8 => (0, 128),
            5..8 => (128, 0),
            _ => (0, 0),
        };
        let mut pairs = Vec::with_capacity(self.scales.len());
        match &self.offsets {
            Offsets::Values(values) => {
                for (&scale, &value) in self.scales.iter().zip(values) {
                    let wanted = f64::from(value) + f64::from(scale) * f64::from(taken);
                    pairs.push((scale, exactly(wanted)?));
                }
            }
            Offsets::Zero(_) | Offsets::Zeros(_) => {
                // A code less its zero point has up to 9 bits, one of 4 bits up to 8: the product and
                // both sums must be exact.
                let significant = if width == 8 { 15 } else { 16 };
                for (&scale, zero) in self.scales.iter().zip(self.zeros()) {
                    if scale.to_bits() & ((1 << (24 - significant)) - 1) != 0 {
                        return None;
                    }
                    pairs.push((scale, exactly(f64::from(scale) * f64::from(taken - zero))?));
                }
            }
        }
        let codes = match (self.bits, add) {
            (4 | 8, 0) => self.codes.clone(),
            _ => widen(self.bits, width, add, &self.codes, self.cols).into(),
        };
        self.with_pairs(width, codes, &pairs)
    }

    /// Codes less their zero points as signed bytes, if they fit.
    fn signed(&self) -> Option<Result<Weight, Error>> {
        let zeros = self.zeros();
        let most = (1i16 << self.bits) - 1;
        let fits = |zero: &i16| i8::try_from(-zero).is_ok() && i8::try_from(most - zero).is_ok();
        if zeros.is_empty() || !zeros.iter().all(fits) {
            return None;
        }
        let mut codes = vec![0; self.rows * row_bytes(8, self.cols)];
        let mut row_codes = vec![0; self.cols];
        for (row, out) in codes.chunks_exact_mut(row_bytes(8, self.cols)).enumerate() {
            self.read_row(row, &mut row_codes);
            let zeros = zeros[row * self.groups()..].iter();
            for (codes, zero) in row_codes.chunks_mut(self.group).zip(zeros) {
                codes.iter_mut().for_each(|code| *code = (i16::from(*code) - zero + 128) as u8);
            }
            write_stream(8, &row_codes, out);
        }
        let pairs: Vec<(f32, f32)> = self.scales.iter().map(|scale| (*scale, 0.0)).collect();
        self.with_pairs(8, codes.into(), &pairs)
    }

    fn with_pairs(&self, width: usize, codes: Bytes, pairs: &[(f32, f32)]) -> Option<Result<Weight, Error>> {
        let format =
            self.format(|layout| matches!(layout, Layout::Affine { code, .. } if code.bits() == width))?;
        let pairs = self.spread(format.layout().group(), pairs);
        let scales: Vec<u8> =
            pairs.flat_map(|(scale, offset)| [scale, offset]).flat_map(f32::to_le_bytes).collect();
        let parts = Parts { scales: scales.into(), ..Parts::codes_only(codes) };
        Some(Weight::new(format, self.rows, self.cols, parts))
    }

    fn read_row(&self, row: usize, codes: &mut [u8]) {
        let bytes = row_bytes(self.bits, self.cols);
        read_stream(self.bits, &self.codes[row * bytes..][..bytes], codes);
    }

    /// The values themselves.
    fn dense(&self) -> Result<Weight, Error> {
        let (zeros, mut values) = (self.zeros(), Vec::with_capacity(self.rows * self.cols * 4));
        let mut codes = vec![0; self.cols];
        for row in 0..self.rows {
            self.read_row(row, &mut codes);
            for (g, codes) in codes.chunks(self.group).enumerate() {
                let at = row * self.groups() + g;
                let scale = self.scales[at];
                for code in codes {
                    let value = match &self.offsets {
                        Offsets::Values(offsets) => scale * f32::from(*code) + offsets[at],
                        _ => scale * f32::from(i16::from(*code) - zeros[at]),
                    };
                    values.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        Weight::new(by_name("f32")?, self.rows, self.cols, Parts::codes_only(values.into()))
    }
}

/// What groups of several in a row are a multiple of.
const MIN_GROUP: usize = 16;

/// `value` as f32, if nothing is lost.
fn exactly(value: f64) -> Option<f32> {
    let single = value as f32;
    (f64::from(single) == value).then_some(single)
}

#[cfg(test)]
mod tests;
