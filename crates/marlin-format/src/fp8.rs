//! `fp8-e4m3`, `fp8-e4m3-g128`, `fp8-e5m2`: 8-bit floats with an f32 scale.
//!
//! ```text
//!  codes    byte k  | s e e e e m m m |  or  | s e e e e e m m |     column k; rows are not filled up
//!  scales   f32, one for the row;  -g128: one per 128 columns
//!  value    float(code) * scale
//! ```
//!
//! This is how compressed-tensors (`float-quantized`, a scale a channel) and, once its scales of 128 x 128
//! values are repeated for their rows, DeepSeek's FP8 store weights.
//!
//! Floats are about as exact at any scale, so nothing is searched: the largest magnitude becomes the largest
//! code. Scales are rounded up to 20 bits, so that products with codes are exact in f32 and encoding what was
//! decoded changes nothing.

use crate::codes::split;
use crate::layout::ROW;
use crate::scalar::{E4M3_MAX, E5M2_MAX, e4m3_from_f32, e4m3_to_f32, e5m2_from_f32, e5m2_to_f32};
use crate::store::{MIN_F32, Store};
use crate::{
    Code, Error, Flaw, Format, Layout, Levels, Rounding, Row, RowMut, ScaleSearch, ScaleType, Unpacked,
};

/// E4M3, a scale a row.
pub static FP8_E4M3: Fp8 = Fp8 {
    name: "fp8-e4m3",
    summary: "8-bit float (E4M3), an f32 scale per row",
    code: Code::E4m3,
    group: ROW,
};
/// E4M3, a scale per 128 columns.
pub static FP8_E4M3_G128: Fp8 = Fp8 {
    name: "fp8-e4m3-g128",
    summary: "8-bit float (E4M3), an f32 scale per 128 columns: DeepSeek's blocks",
    group: 128,
    ..FP8_E4M3
};
/// E5M2, a scale a row.
pub static FP8_E5M2: Fp8 = Fp8 {
    name: "fp8-e5m2",
    summary: "8-bit float (E5M2), an f32 scale per row",
    code: Code::E5m2,
    ..FP8_E4M3
};

/// One format of 8-bit floats.
#[derive(Debug)]
pub struct Fp8 {
    name: &'static str,
    summary: &'static str,
    code: Code,
    group: usize,
}

/// One kind of float.
struct Float {
    decode: fn(u8) -> f32,
    encode: fn(f32) -> u8,
    largest: f32,
}

/// Bits of a scale's significand that are 0 in the scales that are written.
const SHORT: u32 = 15;

impl Fp8 {
    fn float(&self) -> Float {
        match self.code {
            Code::E5m2 => Float { decode: e5m2_to_f32, encode: e5m2_from_f32, largest: E5M2_MAX },
            _ => Float { decode: e4m3_to_f32, encode: e4m3_from_f32, largest: E4M3_MAX },
        }
    }

    fn store(&self) -> Store {
        Store::up_to(self.float().largest, ScaleType::F32, 1.0)
    }

    /// The scale at which `absmax` becomes the largest code; 0 for a group of zeros.
    fn absmax_scale(&self, absmax: f32) -> f32 {
        if absmax == 0.0 {
            return 0.0;
        }
        let largest = self.float().largest;
        let most = f32::from_bits((f32::MAX / largest).to_bits() & !SHORT);
        let up = f32::from_bits(((absmax / largest).to_bits() + SHORT) & !SHORT);
        up.clamp(MIN_F32, most)
    }

    /// The scale that reproduces the group, if there is one. Taking a power of two from scale to codes
    /// keeps them codes as long as the largest is one, so only those near the largest code can be its code.
    fn exact_scale(&self, values: &[f32], absmax: f32) -> Option<f32> {
        let Float { decode, encode, largest } = self.float();
        let near_largest =
            (0..0x7f).rev().map(decode).filter(|code| (0.5 * largest..=largest).contains(code));
        let store = self.store();
        let mut scales = near_largest.flat_map(|code| store.sources(absmax / code)).map(|stored| stored.unit);
        scales.find(|scale| values.iter().all(|value| scale * decode(encode(value / scale)) == *value))
    }
}

impl Format for Fp8 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        let Fp8 { code, group, .. } = *self;
        Layout::Grouped {
            code,
            group,
            scale: ScaleType::F32,
            zero: false,
            tensor_scale: false,
            sparse: false,
        }
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        let scales = row.scales.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        for ((out, codes), scale) in out.chunks_mut(self.group).zip(row.codes.chunks(self.group)).zip(scales)
        {
            // Adding 0 makes one zero of the two, as integer codes have it.
            match self.code {
                Code::E5m2 => split(8, codes, out, |code| scale * e5m2_to_f32(code) + 0.0),
                _ => split(8, codes, out, |code| scale * e4m3_to_f32(code) + 0.0),
            }
        }
    }

    fn unpack(&self, _row: Row<'_>, _out: Unpacked<'_>) -> bool {
        false
    }

    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        let (group, value) = self.store().first_flaw(row.scales)?;
        Some(Flaw { group, field: "scale", value })
    }

    fn fit(&self, values: &[f32], how: Rounding<'_>, row: RowMut<'_>) -> Result<(), Error> {
        for (values, stored) in values.chunks(self.group).zip(row.scales.as_chunks_mut().0) {
            let absmax = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            let exact = match how.search {
                ScaleSearch::Grid if absmax > 0.0 => self.exact_scale(values, absmax),
                _ => None,
            };
            *stored = exact.unwrap_or_else(|| self.absmax_scale(absmax)).to_le_bytes();
        }
        Ok(())
    }

    fn assign(&self, values: &[f32], row: RowMut<'_>) -> Result<(), Error> {
        let Float { encode, .. } = self.float();
        let groups = values.chunks(self.group).zip(row.codes.chunks_mut(self.group));
        for ((values, codes), stored) in groups.zip(row.scales.as_chunks().0) {
            let scale = f32::from_le_bytes(*stored);
            for (code, value) in codes.iter_mut().zip(values) {
                *code = if scale == 0.0 { 0 } else { encode(value / scale) };
            }
        }
        Ok(())
    }

    fn levels<'a>(&self, row: Row<'a>, group: usize) -> Option<Levels<'a>> {
        Some(Levels::new(self.code, self.store().read(row.scales, group)?.unit, 0))
    }
}
