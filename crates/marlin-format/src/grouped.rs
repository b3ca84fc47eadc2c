//! Grouped formats: rows of codes with a scale (and a zero point) per group, in separate streams. What
//! differs between the formats of integer codes is a [`Grouped`]; all are encoded by one loop.

use half::f16;

use crate::grid::{E2m1, Integers, codes};
use crate::samples::Samples;
use crate::search::absmax_unit;
use crate::store::{Store, Stored, factor, read_scale, stored_bits, tensor_scale};
use crate::{
    Code, Error, Flaw, Format, Layout, Levels, Rounding, Row, RowMut, ScaleSearch, ScaleType, Unpacked, span,
};

/// What is chosen for one group.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// The scale.
    pub scale: Stored,
    /// The zero point; 0 for codes without.
    pub zero: u8,
}

impl Fit {
    /// For a code without a zero point.
    pub fn symmetric(scale: Stored) -> Self {
        Fit { scale, zero: 0 }
    }
}

/// One grouped format: all that differs between them.
#[derive(Debug)]
pub struct Grouped {
    /// See [`Format::name`].
    pub name: &'static str,
    /// See [`Format::summary`].
    pub summary: &'static str,
    /// What the codes mean.
    pub code: Code,
    /// Columns that share a scale.
    pub group: usize,
    /// How a scale is stored.
    pub scale: ScaleType,
    /// Chooses scale and zero point of one group that is not all zero.
    pub fit: fn(&Samples, &Store, ScaleSearch) -> Fit,
}

impl Grouped {
    const fn has_tensor_scale(&self) -> bool {
        matches!(self.scale, ScaleType::E4m3)
    }

    fn store(&self, tensor_scale: f32) -> Store {
        Store::new(self.code, self.scale, tensor_scale)
    }

    fn shape(&self) -> Shape {
        Shape { name: self.name, bits: self.code.bits(), group: self.group, scale: self.scale }
    }
}

impl Format for Grouped {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        Layout::Grouped {
            code: self.code,
            group: self.group,
            scale: self.scale,
            zero: self.code.has_zero(),
            tensor_scale: self.has_tensor_scale(),
            sparse: false,
        }
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        span::decode(self, row, out);
    }

    fn unpack(&self, row: Row<'_>, out: Unpacked<'_>) -> bool {
        self.code.unpack(row.codes, self.group, row.zeros, out.codes);
        let factor = factor(self.code, self.scale, row.tensor_scale);
        for (out, bits) in out.scales.iter_mut().zip(stored_bits(self.scale, row.scales)) {
            *out = read_scale(self.scale, bits) * factor;
        }
        out.offsets.fill(0.0);
        true
    }

    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        if let Some((group, value)) = self.store(row.tensor_scale).first_flaw(row.scales) {
            // The unit of doubled codes is half the scale.
            let doubled = if self.code == Code::E2m1 { 2.0 } else { 1.0 };
            return Some(Flaw { group, field: "scale", value: doubled * value });
        }
        let group = row.zeros.iter().position(|&zero| zero > self.code.max_zero())?;
        Some(Flaw { group, field: "zero point", value: f32::from(row.zeros[group]) })
    }

    fn tensor_scale(&self, absmax: f32) -> f32 {
        if self.has_tensor_scale() { tensor_scale(absmax) } else { 1.0 }
    }

    fn fit(&self, values: &[f32], how: Rounding<'_>, row: RowMut<'_>) -> Result<(), Error> {
        fit(self, self.shape(), self.store(row.tensor_scale), values, how, row)
    }

    fn assign(&self, values: &[f32], row: RowMut<'_>) -> Result<(), Error> {
        assign(self, self.shape(), self.store(row.tensor_scale), values, row);
        Ok(())
    }

    fn levels<'a>(&self, row: Row<'a>, group: usize) -> Option<Levels<'a>> {
        let unit = self.store(row.tensor_scale).read(row.scales, group)?.unit;
        Some(Levels::new(self.code, unit, row.zeros.get(group).copied().unwrap_or(0)))
    }
}

impl Coder for Grouped {
    fn absmax_unit(&self, samples: &Samples) -> f32 {
        absmax_unit(self.code, samples)
    }

    fn limit(&self) -> f32 {
        factor(self.code, self.scale, 1.0) * self.code.magnitude()
    }

    fn fit(&self, samples: &Samples, store: &Store, search: ScaleSearch) -> Fit {
        (self.fit)(samples, store, search)
    }

    fn pack(&self, values: &[f32], fit: Fit, out: &mut [u8]) {
        let unit = fit.scale.unit;
        let integers = match self.code {
            Code::E2m1 => codes(values, unit, &E2m1),
            code => codes(values, unit, &Integers::of(code, fit.zero)),
        };
        self.code.pack(&integers[..values.len()], fit.zero, out);
    }
}

/// What grouped formats choose for a group.
pub trait Coder {
    /// The unit that maps the extreme of the group onto the extreme code.
    fn absmax_unit(&self, samples: &Samples) -> f32;
    /// The largest value with a scale of 1.
    fn limit(&self) -> f32;
    /// Scale and zero point of a group that is not all zero.
    fn fit(&self, samples: &Samples, store: &Store, search: ScaleSearch) -> Fit;
    /// Writes the codes nearest to the values of a group, whose scale may be 0.
    fn pack(&self, values: &[f32], fit: Fit, codes: &mut [u8]);
}

/// Sizes of a grouped row.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The format's name, for errors.
    pub name: &'static str,
    /// Bits of a code.
    pub bits: usize,
    /// Columns that share a scale.
    pub group: usize,
    /// How a scale is stored.
    pub scale: ScaleType,
}

/// Chooses scales and zero points of a row, one group after another.
///
/// # Errors
/// [`Error::Overflow`] for a value whose scale would be infinite.
pub fn fit(
    coder: &impl Coder,
    shape: Shape,
    store: Store,
    values: &[f32],
    how: Rounding<'_>,
    row: RowMut<'_>,
) -> Result<(), Error> {
    let Shape { name, group, scale, .. } = shape;
    let scales = row.scales.chunks_exact_mut(scale.bytes());
    for (g, (values, scale)) in values.chunks(group).zip(scales).enumerate() {
        let start = g * group;
        let weights = how.importance.map(|weights| &weights[start..][..values.len()]);
        let samples = Samples::new(values, weights);
        let store = store.at(samples.exponent);
        if store.overflows(coder.absmax_unit(&samples)) {
            let larger = |a: &(usize, &f32), b: &(usize, &f32)| a.1.abs().total_cmp(&b.1.abs());
            let (col, &value) = values.iter().enumerate().max_by(larger).unwrap_or((0, &0.0));
            let limit = f16::MAX.to_f32() * coder.limit();
            return Err(Error::Overflow { format: name, row: 0, col: start + col, value, limit });
        }
        let fit = match samples.extreme {
            0.0 => Fit::symmetric(store.stored(0)),
            _ => coder.fit(&samples, &store, how.search),
        };
        scale.copy_from_slice(&fit.scale.bits.to_le_bytes()[..scale.len()]);
        if let Some(zero) = row.zeros.get_mut(g) {
            *zero = fit.zero;
        }
    }
    Ok(())
}

/// Writes the codes of a row whose scales and zero points are chosen.
pub fn assign(coder: &impl Coder, shape: Shape, store: Store, values: &[f32], row: RowMut<'_>) {
    let Shape { bits, group, scale, .. } = shape;
    let codes = row.codes.chunks_mut(group * bits / 8);
    let scales = stored_bits(scale, row.scales).map(|bits| store.stored(bits));
    for (g, ((values, codes), scale)) in values.chunks(group).zip(codes).zip(scales).enumerate() {
        let zero = row.zeros.get(g).copied().unwrap_or(0);
        coder.pack(values, Fit { scale, zero }, codes);
    }
}
