//! `affine4` and `affine8`, groups of 128, 64, 32 and 16: integers with an f32 scale and an f32 offset
//! per group, the form of what other programs quantized and f16 scales cannot hold. Only read.
//!
//! ```text
//!  codes    affine4: nibbles 0..=15, low nibble first      affine8: a byte a column, 128 added
//!  scales   | scale f32 | offset f32 | per group
//!  value    scale * code + offset
//! ```

use crate::{Code, Error, Flaw, Format, Layout, Rounding, Row, RowMut, Unpacked, span};

/// One format: a width and a group.
#[derive(Debug)]
pub struct Affine {
    name: &'static str,
    summary: &'static str,
    code: Code,
    group: usize,
}

macro_rules! affine {
    ($($id:ident $name:literal $code:ident $bits:literal $group:literal;)*) => { $(
        #[doc = concat!($bits, "-bit codes in groups of ", $group, ".")]
        pub static $id: Affine = Affine {
            name: $name,
            summary: concat!($bits, "-bit integer, f32 scale and offset per ", $group, " columns"),
            code: Code::$code,
            group: $group,
        };
    )* };
}

// 4 bits first, largest group first.
affine! {
    AFFINE4 "affine4" Uint4 4 128;
    AFFINE4_G64 "affine4-g64" Uint4 4 64;
    AFFINE4_G32 "affine4-g32" Uint4 4 32;
    AFFINE4_G16 "affine4-g16" Uint4 4 16;
    AFFINE8 "affine8" Int8 8 128;
    AFFINE8_G64 "affine8-g64" Int8 8 64;
    AFFINE8_G32 "affine8-g32" Int8 8 32;
    AFFINE8_G16 "affine8-g16" Int8 8 16;
}

/// Scale and offset of each group.
fn pairs(scales: &[u8]) -> impl Iterator<Item = (f32, f32)> {
    let single = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
    scales
        .as_chunks::<8>()
        .0
        .iter()
        .map(move |&[a, b, c, d, e, f, g, h]| (single([a, b, c, d]), single([e, f, g, h])))
}

impl Format for Affine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        Layout::Affine { code: self.code, group: self.group }
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        span::decode(self, row, out);
    }

    fn unpack(&self, row: Row<'_>, out: Unpacked<'_>) -> bool {
        // Zero points of 0: the offset says it.
        let zeros = [0; span::SPAN / span::MIN_GROUP];
        let bytes = row.codes.chunks(self.code.bits() * span::SPAN / 8);
        for (codes, bytes) in out.codes.chunks_mut(span::SPAN).zip(bytes) {
            self.code.unpack(bytes, self.group, &zeros, codes);
        }
        for ((scale, offset), pair) in out.scales.iter_mut().zip(out.offsets).zip(pairs(row.scales)) {
            (*scale, *offset) = pair;
        }
        true
    }

    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        let most = self.code.magnitude();
        pairs(row.scales).enumerate().find_map(|(group, (scale, offset))| {
            let largest = scale.abs() * most + offset.abs();
            let (field, value) = match offset.is_finite() {
                _ if largest.is_finite() => return None,
                false => ("offset", offset),
                true => ("scale", scale),
            };
            Some(Flaw { group, field, value })
        })
    }

    fn fit(&self, _values: &[f32], _how: Rounding<'_>, _row: RowMut<'_>) -> Result<(), Error> {
        Err(Error::ReadOnly { format: self.name })
    }

    fn assign(&self, _values: &[f32], _row: RowMut<'_>) -> Result<(), Error> {
        Err(Error::ReadOnly { format: self.name })
    }
}
