//! GGUF's block formats, read only: scales and codes interleaved in blocks of fixed size.
//!
//! Layouts and order of operations are those of ggml's dequantizers (llama.cpp,
//! `ggml/src/ggml-quants.c`), without fused multiply-add. All fields are little endian; `d`, `m`
//! and `dmin` are f16. "Halves": byte j holds value j in its low nibble and value j + n/2 in its
//! high nibble.

mod blocks32;
mod iq4;
mod k_quants;

pub use blocks32::{MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub use iq4::{IQ4_NL, IQ4_XS};
pub use k_quants::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};

use half::f16;

use crate::store::Store;
use crate::{Code, Error, Flaw, Format, Layout, Rounding, Row, RowMut, ScaleType, Unpacked, span};

/// One block format: sizes, and how a row is taken apart.
#[derive(Debug)]
pub struct Blocks {
    name: &'static str,
    summary: &'static str,
    /// Values of a block.
    values: usize,
    /// Bytes of a block.
    bytes: usize,
    /// Values that share a scale.
    group: usize,
    /// Where the floats of a block are.
    floats: Floats,
    /// Takes apart a row of whole blocks.
    unpack: fn(&[u8], Unpacked<'_>),
}

/// The floats of a block, which a file may set to anything.
#[derive(Clone, Copy, Debug)]
enum Floats {
    /// Halves at these offsets: a scale, and perhaps an offset.
    Half(&'static [usize]),
    /// An E8M0 byte at offset 0.
    E8m0,
}

impl Floats {
    /// The first float of the block that cannot be used, with its name.
    fn flaw(self, block: &[u8]) -> Option<(&'static str, f32)> {
        match self {
            Floats::Half(offsets) => {
                let mut named = offsets.iter().zip(["scale", "offset"]);
                named.find_map(|(&at, name)| {
                    let value = half(block, at);
                    (!value.is_finite()).then_some((name, value))
                })
            }
            Floats::E8m0 => {
                let (_, half) = Store::new(Code::E2m1, ScaleType::E8m0, 1.0).first_flaw(&block[..1])?;
                Some(("scale", 2.0 * half))
            }
        }
    }
}

/// Walks a row block by block: `B` bytes, `V` values and `G` groups each.
#[inline(always)]
fn each<const B: usize, const V: usize, const G: usize>(
    row: &[u8],
    out: Unpacked<'_>,
    unpack: impl Fn(&[u8; B], &mut [i8; V], &mut [f32; G], &mut [f32; G]),
) {
    let codes = out.codes.as_chunks_mut::<V>().0.iter_mut();
    let scales = out.scales.as_chunks_mut::<G>().0.iter_mut();
    let offsets = out.offsets.as_chunks_mut::<G>().0.iter_mut();
    for (((block, codes), scales), offsets) in
        row.as_chunks::<B>().0.iter().zip(codes).zip(scales).zip(offsets)
    {
        unpack(block, codes, scales, offsets);
    }
}

/// The f16 at byte `at`.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

impl Format for Blocks {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        Layout::Blocks { values: self.values, bytes: self.bytes, group: self.group }
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        span::decode(self, row, out);
    }

    fn unpack(&self, row: Row<'_>, out: Unpacked<'_>) -> bool {
        (self.unpack)(row.codes, out);
        true
    }

    fn has_byte_scales(&self) -> bool {
        matches!(self.floats, Floats::E8m0)
    }

    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        let mut blocks = row.codes.chunks_exact(self.bytes).enumerate();
        blocks.find_map(|(index, block)| {
            let (field, value) = self.floats.flaw(block)?;
            Some(Flaw { group: index * (self.values / self.group), field, value })
        })
    }

    fn fit(&self, _values: &[f32], _how: Rounding<'_>, _row: RowMut<'_>) -> Result<(), Error> {
        Err(Error::ReadOnly { format: self.name })
    }

    fn assign(&self, _values: &[f32], _row: RowMut<'_>) -> Result<(), Error> {
        Err(Error::ReadOnly { format: self.name })
    }
}
