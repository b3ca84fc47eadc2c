//! How a weight lies in safetensors: which tensors, of which dtype and shape. The reader checks
//! against this table and the writer plans from it, so the two cannot differ.
//!
//! The tensors are drawn in the documentation of the crate.

use marlin_format::{Code, Format, Layout, ScaleType};

use crate::Dtype;

/// Which part of a weight a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Codes,
    Scales,
    Zeros,
    Codebook,
    TensorScale,
    Shape,
}

/// One tensor of a weight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub part: Part,
    /// What follows the weight's name and a dot.
    pub suffix: &'static str,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

const DENSE: &str = "weight";
const PACKED: &str = "weight_packed";
const SCALE: &str = "weight_scale";
const ZERO_POINT: &str = "weight_zero_point";
const CODEBOOK: &str = "weight_codebook";
const GLOBAL_SCALE: &str = "weight_global_scale";
const SHAPE: &str = "weight_shape";

/// The tensors of a weight; `None` for a dense format that no file dtype stores.
pub(crate) fn stored(format: &dyn Format, rows: usize, cols: usize) -> Option<Vec<Stored>> {
    let layout = format.layout();
    let part = |part, suffix, dtype, shape| Stored { part, suffix, dtype, shape };
    let shape = part(Part::Shape, SHAPE, Dtype::I64, vec![2]);
    let Layout::Grouped { code, group, scale, zero, tensor_scale, sparse } = layout else {
        return match layout {
            Layout::Affine { .. } => {
                let words = vec![rows, layout.code_bytes(cols) / 4];
                let pairs = vec![rows, 2 * layout.groups(cols)];
                let scales = part(Part::Scales, SCALE, Dtype::F32, pairs);
                Some(vec![part(Part::Codes, PACKED, Dtype::I32, words), scales, shape])
            }
            Layout::Dense { .. } => {
                let dtype = Dtype::of_dense_format(format.name())?;
                Some(vec![part(Part::Codes, DENSE, dtype, vec![rows, cols])])
            }
            _ => {
                let bytes = vec![rows, layout.code_bytes(cols)];
                Some(vec![part(Part::Codes, PACKED, Dtype::U8, bytes), shape])
            }
        };
    };
    let groups = layout.groups(cols);
    let scale = match scale {
        ScaleType::F32 => Dtype::F32,
        ScaleType::F16 => Dtype::F16,
        ScaleType::E4m3 => Dtype::F8E4m3,
        ScaleType::E8m0 => Dtype::U8,
    };
    let bytes = layout.code_bytes(cols);
    let mut tensors = vec![
        match code {
            _ if sparse => part(Part::Codes, PACKED, Dtype::U8, vec![rows, bytes]),
            Code::E4m3 => part(Part::Codes, DENSE, Dtype::F8E4m3, vec![rows, cols]),
            Code::E5m2 => part(Part::Codes, DENSE, Dtype::F8E5m2, vec![rows, cols]),
            Code::E2m1 => part(Part::Codes, PACKED, Dtype::U8, vec![rows, bytes]),
            _ => part(Part::Codes, PACKED, Dtype::I32, vec![rows, bytes / 4]),
        },
        part(Part::Scales, SCALE, scale, vec![rows, groups]),
    ];
    if zero {
        let words = zero_words(rows, code.bits());
        tensors.push(part(Part::Zeros, ZERO_POINT, Dtype::I32, vec![words, groups]));
    }
    if code.codebook_len() > 0 {
        tensors.push(part(Part::Codebook, CODEBOOK, Dtype::F32, vec![code.codebook_len()]));
    }
    if tensor_scale {
        tensors.push(part(Part::TensorScale, GLOBAL_SCALE, Dtype::F32, vec![1]));
    }
    // Other tensors say as much where a row is stored column by column, or in whole groups of 4 bits.
    let told = match code {
        _ if sparse => false,
        Code::E4m3 | Code::E5m2 => true,
        Code::E2m1 => cols.is_multiple_of(group),
        _ => false,
    };
    if !told {
        tensors.push(shape);
    }
    Some(tensors)
}

/// Words that hold the zero points of one group of all rows.
fn zero_words(rows: usize, bits: usize) -> usize {
    rows.saturating_mul(bits).div_ceil(32)
}

/// Zero points as stored: group `g` of all rows is a stream of `bits`-bit numbers, LSB first, whose
/// 32-bit words lie a row of `groups` words apart. `zeros` is `[rows, groups]`, a byte each.
pub(crate) fn pack_zeros(zeros: &[u8], rows: usize, groups: usize, bits: usize) -> Vec<u8> {
    let mut words = vec![0u32; zero_words(rows, bits) * groups];
    for (row, zeros) in zeros.chunks_exact(groups).enumerate() {
        let (word, shift) = (row * bits / 32, row * bits % 32);
        for (group, &zero) in zeros.iter().enumerate() {
            let spread = u64::from(zero) << shift;
            words[word * groups + group] |= spread as u32;
            if shift + bits > 32 {
                words[(word + 1) * groups + group] |= (spread >> 32) as u32;
            }
        }
    }
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// The inverse of [`pack_zeros`]; `stored` has the length it returns.
pub(crate) fn unpack_zeros(stored: &[u8], rows: usize, groups: usize, bits: usize) -> Vec<u8> {
    let (words, _) = stored.as_chunks::<4>();
    let word = |at: usize| words.get(at).map_or(0, |word| u64::from(u32::from_le_bytes(*word)));
    let mask = (1u64 << bits) - 1;
    let mut zeros = Vec::with_capacity(rows * groups);
    for row in 0..rows {
        let (first, shift) = (row * bits / 32, row * bits % 32);
        for group in 0..groups {
            let both = word(first * groups + group) | word((first + 1) * groups + group) << 32;
            zeros.push((both >> shift & mask) as u8);
        }
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_points_survive_packing_at_every_width() {
        for bits in 1..=8 {
            for (rows, groups) in [(1, 1), (7, 3), (8, 2), (11, 5), (33, 1), (64, 4)] {
                let mask = ((1u16 << bits) - 1) as u8;
                let zeros: Vec<u8> = (0..rows * groups).map(|i| (i * 37 + 11) as u8 & mask).collect();
                let stored = pack_zeros(&zeros, rows, groups, bits);
                assert_eq!(stored.len(), (rows * bits).div_ceil(32) * 4 * groups);
                assert_eq!(
                    unpack_zeros(&stored, rows, groups, bits),
                    zeros,
                    "{bits} bits [{rows}, {groups}]"
                );
            }
        }
    }

    /// Row r of a column is nibble r of its word, lowest first: drawn by hand.
    #[test]
    fn four_bit_zero_points_lie_down_the_rows() {
        let zeros: Vec<u8> = (0..9).flat_map(|row| [row, 15 - row]).collect();
        let stored = pack_zeros(&zeros, 9, 2, 4);
        let words: Vec<u32> =
            stored.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!(words, [0x7654_3210, 0x89ab_cdef, 0x0000_0008, 0x0000_0007]);
    }
}
