//! Our weights in GGUF's blocks: bits move, every value stays as it is (a negative zero becomes 0).
//!
//! | format | blocks | why it fits |
//! |---|---|---|
//! | `int2`, `int3`, `int4-sym`, whole blocks a group | `q4_0` | a code less its zero point is in -8..=7 |
//! | `int4`, `fp4-g32` to `-g128` | `q5_0` | in -16..=15; E2M1 is half an integer in -12..=12 |
//! | `int8` | `q8_0` | |
//! | `mxfp4` | `mxfp4-gguf` | the same codes and scales |
//! | `affine4`, where scales and offsets are halves | `q4_1` | |
//!
//! NVFP4's factor is a tensor of its own, so it is no block format here: [`rows_to_nvfp4`]. The same values
//! under other scales, as other programs want them: [`common_scale`], [`regrouped`].

mod scales;

pub use scales::{common_scale, regrouped, rescaled};

use half::f16;

use crate::import::interleave;
use crate::{Code, Layout, Parts, ScaleType, Unpacked, Weight, by_name};

/// Values of a block.
const VALUES: usize = 32;

/// A block format of integers: a value is `scale * (stored - bias)`, or `scale * stored + offset`.
struct Blocks {
    name: &'static str,
    /// What is taken off the stored code.
    bias: i8,
    /// Whether a block has an offset.
    offset: bool,
    /// Bits of a stored code.
    bits: usize,
}

const Q4_0: Blocks = Blocks { name: "q4_0", bias: 8, offset: false, bits: 4 };
const Q4_1: Blocks = Blocks { name: "q4_1", bias: 0, offset: true, bits: 4 };
const Q5_0: Blocks = Blocks { name: "q5_0", bias: 16, offset: false, bits: 5 };
const Q8_0: Blocks = Blocks { name: "q8_0", bias: 0, offset: false, bits: 8 };

/// The blocks whose codes hold all codes of a layout, whatever they are.
fn blocks_of(layout: Layout) -> Option<&'static Blocks> {
    match layout {
        Layout::Grouped { scale: ScaleType::F16, code, .. } => match code {
            Code::Uint2 | Code::Uint3 | Code::Int4 => Some(&Q4_0),
            Code::Uint4 | Code::E2m1 => Some(&Q5_0),
            Code::Int8 => Some(&Q8_0),
            _ => None,
        },
        Layout::Affine { code, .. } if code.bits() == 4 => Some(&Q4_1),
        _ => None,
    }
}

/// `weight` in the GGUF blocks of the table, or as it is if it is in blocks already. `None` if no blocks
/// hold its format, its columns are not whole blocks, or a scale is no f16.
pub fn to_blocks(weight: &Weight) -> Option<Weight> {
    if matches!(weight.layout(), Layout::Blocks { .. }) {
        return Some(weight.clone());
    }
    // Formats of the same codes and scales, block by block.
    if let Some(twin) = interleave(weight) {
        return Some(twin);
    }
    let blocks = blocks_of(weight.layout())?;
    if !weight.cols().is_multiple_of(VALUES) {
        return None;
    }
    let format = by_name(blocks.name).ok()?;
    let (cols, groups) = (weight.cols(), weight.layout().groups(weight.cols()));
    let row_bytes = format.layout().code_bytes(cols);
    let mut bytes = vec![0; weight.rows() * row_bytes];
    let (mut codes, mut scales, mut offsets) = (vec![0; cols], vec![0.0; groups], vec![0.0; groups]);
    for (row, out) in bytes.chunks_exact_mut(row_bytes.max(1)).enumerate() {
        let unpacked = Unpacked { codes: &mut codes, scales: &mut scales, offsets: &mut offsets };
        if !weight.unpack_row(row, unpacked) {
            return None;
        }
        let group = weight.layout().group();
        for (at, block) in out.chunks_exact_mut(blocks.bytes()).enumerate() {
            let (first, last) = (at * VALUES / group, (at * VALUES + VALUES - 1) / group);
            let scale = common(&scales[first..=last])?;
            let offset = common(&offsets[first..=last])?;
            blocks.write(&codes[at * VALUES..][..VALUES], scale, offset, block)?;
        }
    }
    Weight::new(format, weight.rows(), cols, Parts::codes_only(bytes.into())).ok()
}

/// The value that all have.
fn common(values: &[f32]) -> Option<f32> {
    let (first, rest) = values.split_first()?;
    rest.iter().all(|value| value == first).then_some(*first)
}

/// The half that is `value`.
fn exact_half(value: f32) -> Option<[u8; 2]> {
    let half = f16::from_f32(value);
    (half.to_f32() == value).then(|| half.to_le_bytes())
}

impl Blocks {
    /// Bytes of a block: scale, offset, codes.
    const fn bytes(&self) -> usize {
        2 + if self.offset { 2 } else { 0 } + VALUES * self.bits / 8
    }

    /// Writes one block, as `gguf/blocks32.rs` draws it.
    fn write(&self, codes: &[i8], scale: f32, offset: f32, block: &mut [u8]) -> Option<()> {
        let (floats, stored) = block.split_at_mut(if self.offset { 4 } else { 2 });
        floats[..2].copy_from_slice(&exact_half(scale)?);
        if self.offset {
            floats[2..].copy_from_slice(&exact_half(offset)?);
        } else if offset != 0.0 {
            return None;
        }
        let code = |at: usize| codes[at].wrapping_add(self.bias) as u8;
        if self.bits == 8 {
            stored.iter_mut().enumerate().for_each(|(at, byte)| *byte = code(at));
            return Some(());
        }
        let (high, nibbles) = stored.split_at_mut(if self.bits == 5 { 4 } else { 0 });
        for (at, byte) in nibbles.iter_mut().enumerate() {
            *byte = code(at) & 15 | code(at + VALUES / 2) << 4;
        }
        if self.bits == 5 {
            let fifth = (0..VALUES).fold(0u32, |bits, at| bits | u32::from(code(at) >> 4 & 1) << at);
            high.copy_from_slice(&fifth.to_le_bytes());
        }
        Some(())
    }
}

/// The blocks of GGUF's NVFP4 that hold a weight in `fp4`, without its tensor scale: the inverse of
/// [`nvfp4_to_rows`](crate::import::nvfp4_to_rows), with its drawing. `None` for another format, columns
/// that are no multiple of 64, or a scale with a sign.
pub fn rows_to_nvfp4(weight: &Weight) -> Option<Vec<u8>> {
    if weight.format().name() != "fp4" || !weight.cols().is_multiple_of(64) {
        return None;
    }
    let (codes, scales) =
        (weight.parts().codes.as_chunks::<32>().0, weight.parts().scales.as_chunks::<4>().0);
    let mut blocks = Vec::with_capacity(codes.len() * 36);
    for (codes, scales) in codes.iter().zip(scales) {
        if scales.iter().any(|&scale| scale >= 0x7f) {
            return None;
        }
        blocks.extend_from_slice(scales);
        for group in codes.as_chunks::<8>().0 {
            // Columns 2j and 2j + 1 of a group of 16 are the nibbles of byte j.
            let nibble = |column: usize| group[column / 2] >> (4 * (column % 2)) & 15;
            blocks.extend((0..8).map(|j| nibble(j) | nibble(j + 8) << 4));
        }
    }
    Some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::nvfp4_to_rows;
    use crate::{FORMATS, Format, Rounding};

    fn encoded(format: &'static dyn Format, rows: usize, cols: usize) -> Weight {
        let values: Vec<f32> =
            (0..rows * cols).map(|i| ((i * 37 + i / 7) % 101) as f32 / 50.0 - 0.8).collect();
        Weight::encode(format, rows, cols, &values, Rounding::default()).unwrap()
    }

    #[test]
    fn every_value_of_what_has_blocks_is_kept() {
        let mut found = Vec::new();
        for format in FORMATS.iter().copied().filter(|format| blocks_of(format.layout()).is_some()) {
            if matches!(format.layout(), Layout::Affine { .. }) {
                continue;
            }
            for (rows, cols) in [(1, 32), (3, 96), (5, 160)] {
                let weight = encoded(format, rows, cols);
                let blocks = to_blocks(&weight).unwrap_or_else(|| panic!("{} {cols}", format.name()));
                assert_eq!(blocks.to_f32(), weight.to_f32(), "{} [{rows}, {cols}]", format.name());
                found.push(blocks.format().name());
            }
        }
        for blocks in ["q4_0", "q5_0", "q8_0"] {
            assert!(found.contains(&blocks), "{blocks}");
        }
    }

    #[test]
    fn what_no_blocks_hold_is_refused() {
        for (name, cols) in [("nf4", 64), ("fp8-e4m3", 64), ("int8", 33), ("mxfp4", 48), ("fp4", 64)] {
            assert!(to_blocks(&encoded(by_name(name).unwrap(), 2, cols)).is_none(), "{name} {cols}");
        }
        // A scale below the normal halves cannot be halved if it is odd.
        let weight = encoded(by_name("fp4-g32").unwrap(), 1, 32);
        let odd = Parts { scales: vec![3, 0].into(), ..weight.parts().clone() };
        let odd = Weight::new(weight.format(), 1, 32, odd).unwrap();
        assert!(to_blocks(&odd).is_none());
    }

    #[test]
    fn offsets_that_are_halves_have_blocks() {
        let format = by_name("affine4-g32").unwrap();
        let pair = |scale: f32, offset: f32| [scale.to_le_bytes(), offset.to_le_bytes()].concat();
        let codes: Vec<u8> = (0..32).map(|i| i * 7).collect();
        let weight = |offset: f32| {
            let scales = [pair(0.5, offset), pair(0.25, -3.0)].concat();
            let parts = Parts { scales: scales.into(), ..Parts::codes_only(codes.clone().into()) };
            Weight::new(format, 1, 64, parts).unwrap()
        };
        let blocks = to_blocks(&weight(0.75)).unwrap();
        assert_eq!((blocks.format().name(), blocks.to_f32()), ("q4_1", weight(0.75).to_f32()));
        assert!(to_blocks(&weight(0.7)).is_none());
    }

    #[test]
    fn nvfp4_comes_back_from_its_blocks() {
        let weight = encoded(by_name("fp4").unwrap(), 3, 128);
        let (codes, scales) = nvfp4_to_rows(&rows_to_nvfp4(&weight).unwrap());
        assert_eq!((&codes[..], &scales[..]), (&weight.parts().codes[..], &weight.parts().scales[..]));
        assert!(rows_to_nvfp4(&encoded(by_name("fp4").unwrap(), 3, 96)).is_none());
    }
}
