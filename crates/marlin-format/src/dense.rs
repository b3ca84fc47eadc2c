//! `bf16`, `f16`, `f32`: values stored as they are, little endian.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::{Error, Format, Layout, Rounding, Row, RowMut, Unpacked};

/// A dense format: a name and a pair of conversions.
#[derive(Debug)]
pub struct Dense {
    name: &'static str,
    summary: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Bf16,
    F16,
    F32,
}

/// bfloat16: the upper half of an f32.
pub static BF16: Dense = Dense { name: "bf16", summary: "bfloat16, unquantized", kind: Kind::Bf16 };
/// IEEE half precision.
pub static F16: Dense = Dense { name: "f16", summary: "IEEE half, unquantized", kind: Kind::F16 };
/// IEEE single precision.
pub static F32: Dense = Dense { name: "f32", summary: "IEEE single, unquantized", kind: Kind::F32 };

impl Dense {
    fn largest(&self) -> f32 {
        match self.kind {
            Kind::Bf16 => bf16::MAX.to_f32(),
            Kind::F16 => f16::MAX.to_f32(),
            Kind::F32 => f32::MAX,
        }
    }

    /// The smallest magnitude that rounds to infinity: half a step above the largest.
    fn first_infinite(&self) -> f32 {
        match self.kind {
            Kind::Bf16 => f32::from_bits(0x7f7f_8000),
            Kind::F16 => 65520.0,
            Kind::F32 => f32::INFINITY,
        }
    }
}

impl Format for Dense {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        Layout::Dense { bytes: if matches!(self.kind, Kind::F32) { 4 } else { 2 } }
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        match self.kind {
            Kind::Bf16 => read(row.codes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Kind::F16 => read_halves(row.codes, out),
            Kind::F32 => read(row.codes, out, f32::from_le_bytes),
        }
    }

    fn unpack(&self, _row: Row<'_>, _out: Unpacked<'_>) -> bool {
        false
    }

    fn fit(&self, _values: &[f32], _how: Rounding<'_>, _row: RowMut<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn assign(&self, values: &[f32], row: RowMut<'_>) -> Result<(), Error> {
        if let Some(col) = values.iter().position(|value| value.abs() >= self.first_infinite()) {
            let (format, value, limit) = (self.name, values[col], self.largest());
            return Err(Error::Overflow { format, row: 0, col, value, limit });
        }
        match self.kind {
            Kind::Bf16 => write(values, row.codes, |value| bf16::from_f32(value).to_le_bytes()),
            Kind::F16 => write_halves(values, row.codes),
            Kind::F32 => write(values, row.codes, f32::to_le_bytes),
        }
        Ok(())
    }
}

fn read<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (out, chunk) in out.iter_mut().zip(chunks) {
        *out = value(*chunk);
    }
}

fn write<const N: usize>(values: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    let (chunks, _) = out.as_chunks_mut::<N>();
    for (value, chunk) in values.iter().zip(chunks) {
        *chunk = bytes(*value);
    }
}

/// Halves converted at a time: whole slices use the conversion instructions of the machine.
const HALVES: usize = 64;

fn read_halves(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; HALVES];
    for (out, bytes) in out.chunks_mut(HALVES).zip(bytes.chunks(2 * HALVES)) {
        for (half, pair) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*pair);
        }
        halves[..out.len()].convert_to_f32_slice(out);
    }
}

fn write_halves(values: &[f32], bytes: &mut [u8]) {
    let mut halves = [f16::ZERO; HALVES];
    for (values, bytes) in values.chunks(HALVES).zip(bytes.chunks_mut(2 * HALVES)) {
        halves[..values.len()].convert_from_f32_slice(values);
        for (half, pair) in halves.iter().zip(bytes.as_chunks_mut().0) {
            *pair = half.to_le_bytes();
        }
    }
}
