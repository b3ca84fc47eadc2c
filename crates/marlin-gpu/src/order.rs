//! The kernel order of weights: what shaders read, and the one place that brings rows into it.
//!
//! A row becomes two runs of bytes, codes and scales, of the same lengths for every row, so that any range
//! of rows can be uploaded or bound by itself. Both go in blocks of 32 columns, the last filled up with
//! zero bytes:
//!
//! ```text
//!  codes    | block 0 | block 1 | ...       N-bit codes 4 N bytes a block, halves 64, f32 128
//!  scales   | group 0 | group 1 | ...       groups of 16: two a block; larger ones: ceil(cols / group)
//! ```
//!
//! Indices into codebooks, bytes, halves and f32 stay in the order of their columns. Narrower integers and
//! floats are words arranged so that few
//! operations leave a pair of neighbours as halves (`shader/format/u4.wgsl`, `u3.wgsl`, `u2.wgsl`,
//! `e2m1.wgsl`). Words of 4-bit codes have 8 columns:
//!
//! ```text
//!  u4     bit 31    28 27    24 23    20 19    16 15    12 11     8 7      4 3      0
//!             |  c7   |  c5    |  c3    |  c1    |  c6    |  c4    |  c2    |  c0   |
//!  e2m1   bit 15  14  13  12  11..9  8..6  5..3  2..0       low half: columns 0 2 4 6 of the word,
//!             s0  s2  s3  s1  eem0   eem1  eem2  eem3       high half: columns 1 3 5 7
//! ```
//!
//! Words of 2-bit codes have 16. A block of 3-bit codes is two of these, which hold the low bits, and a word
//! of the high ones:
//!
//! ```text
//!  u2       bit 15 14 13 12 11 10 9  8  7  6  5  4  3  2  1  0    high half: the odd columns
//!             |  c14 | c12 | c10 |  c8 | c6  | c4  | c2  | c0  |
//!  u3       words 0 and 1: bits 1, 0 of columns 0..15 and 16..31, as u2
//!           word 2: bit k (16 + k) is bit 2 of column 2k (2k + 1)
//! ```
//!
//! A block of a 2:4 sparse weight is half a block of the codes that are kept, in their order, and a word of
//! positions: 4 bits for each four columns, the second kept one in the upper two.
//!
//! Formats are told apart by their [`Layout`]. Blocks of GGUF say nothing of their codes there, and the two
//! dense formats of 16 bits look alike: those are asked what they make of some bytes.

use marlin_format::{Code, Format, Layout, Row, ScaleType, Weight, position_bytes};

/// Columns of a block.
pub(crate) const BLOCK: usize = 32;

/// What the codes of a weight are in kernel order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Codes {
    /// 4-bit floats.
    E2m1,
    /// 4-bit integers, 0..=15.
    U4,
    /// 3-bit integers, 0..=7.
    U3,
    /// 2-bit integers, 0..=3.
    U2,
    /// Indices of 4 bits into the slab's codebook.
    L4,
    /// Indices of 3 bits.
    L3,
    /// Indices of 2 bits.
    L2,
    /// 4-bit integers, -8..=7, stored with 8 added.
    S4,
    /// 8-bit integers, stored with 128 added.
    S8,
    /// 8-bit floats of 4 exponent bits.
    E4m3,
    /// 8-bit floats of 5 exponent bits.
    E5m2,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
}

impl Codes {
    /// Bytes of a block of 32 columns, all of them stored.
    const fn block_bytes(self) -> usize {
        match self {
            Codes::U2 | Codes::L2 => 8,
            Codes::U3 | Codes::L3 => 12,
            Codes::E2m1 | Codes::U4 | Codes::S4 | Codes::L4 => 16,
            Codes::S8 | Codes::E4m3 | Codes::E5m2 => 32,
            Codes::Bf16 | Codes::F16 => 64,
            Codes::F32 => 128,
        }
    }
}

/// What the scales of a weight are in kernel order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scales {
    /// None: dense.
    None,
    /// E4M3, a byte; the tensor's scale is not in it.
    E4m3,
    /// E8M0, a byte.
    E8m0,
    /// IEEE half.
    F16,
    /// IEEE half and a zero point of a byte, in a word.
    F16Zero,
    /// IEEE single.
    F32,
    /// f32 scale and f32 offset.
    F32Offset,
}

impl Scales {
    /// Bytes of the scale of a group.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Scales::None => 0,
            Scales::E4m3 | Scales::E8m0 => 1,
            Scales::F16 => 2,
            Scales::F16Zero | Scales::F32 => 4,
            Scales::F32Offset => 8,
        }
    }
}

/// How weights of one format lie in kernel order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Order {
    /// Codes.
    pub(crate) codes: Codes,
    /// Scales.
    pub(crate) scales: Scales,
    /// Columns of a scale: 16, 32, 64, 128 or [`ROW`](marlin_format::ROW); 32 for dense formats.
    pub(crate) group: usize,
    /// Whether two of each four columns are stored, and their positions.
    pub(crate) sparse: bool,
}

impl Order {
    /// The order of a format's weights.
    pub(crate) fn of(format: &dyn Format) -> Order {
        let mut sparse = false;
        let (codes, scales, group) = match format.layout() {
            Layout::Dense { bytes: 2 } => (dense_codes(format), Scales::None, BLOCK),
            Layout::Dense { .. } => (Codes::F32, Scales::None, BLOCK),
            Layout::Grouped { code, group, scale, zero, sparse: two_of_four, .. } => {
                sparse = two_of_four;
                let codes = match code {
                    Code::E2m1 => Codes::E2m1,
                    Code::Uint4 => Codes::U4,
                    Code::Uint3 => Codes::U3,
                    Code::Uint2 => Codes::U2,
                    Code::Lookup4 => Codes::L4,
                    Code::Lookup3 => Codes::L3,
                    Code::Lookup2 => Codes::L2,
                    Code::Int4 => Codes::S4,
                    Code::Int8 => Codes::S8,
                    Code::E4m3 => Codes::E4m3,
                    Code::E5m2 => Codes::E5m2,
                };
                let scales = match (scale, zero) {
                    (ScaleType::F32, _) => Scales::F32,
                    (ScaleType::F16, true) => Scales::F16Zero,
                    (ScaleType::F16, false) => Scales::F16,
                    (ScaleType::E4m3, _) => Scales::E4m3,
                    (ScaleType::E8m0, _) => Scales::E8m0,
                };
                (codes, scales, group)
            }
            Layout::Affine { code: Code::Int8, group } => (Codes::S8, Scales::F32Offset, group),
            Layout::Affine { group, .. } => (Codes::U4, Scales::F32Offset, group),
            Layout::Blocks { values, bytes, group } => {
                let (codes, scales) = blocks::kinds(format, values, bytes, group);
                (codes, scales, group)
            }
        };
        Order { codes, scales, group, sparse }
    }

    /// The snippet for the slot `format` of shaders that read such weights.
    pub(crate) fn snippet(self) -> &'static str {
        if self.sparse {
            return self.sparse_snippet();
        }
        match (self.codes, self.scales) {
            (Codes::E2m1, Scales::E4m3) => "shader/format/e2m1_e4m3",
            (Codes::E2m1, Scales::E8m0) => "shader/format/e2m1_e8m0",
            (Codes::E2m1, _) => "shader/format/e2m1_f16",
            (Codes::U4, Scales::F16Zero) => "shader/format/u4_f16_zero",
            (Codes::U4, _) => "shader/format/u4_f32_offset",
            (Codes::U3, _) => "shader/format/u3_f16_zero",
            (Codes::U2, _) => "shader/format/u2_f16_zero",
            (Codes::L4, Scales::F32) => "shader/format/lut4_f32",
            (Codes::L4, _) => "shader/format/lut4_f16",
            (Codes::L3, _) => "shader/format/lut3_f16",
            (Codes::L2, _) => "shader/format/lut2_f16",
            (Codes::S4, Scales::F16) => "shader/format/s4_f16",
            (Codes::S4, _) => "shader/format/s4_f32_offset",
            (Codes::S8, Scales::F16) => "shader/format/s8_f16",
            (Codes::S8, _) => "shader/format/s8_f32_offset",
            (Codes::E4m3, _) => "shader/format/e4m3_f32",
            (Codes::E5m2, _) => "shader/format/e5m2_f32",
            (Codes::Bf16, _) => "shader/format/dense_bf16",
            (Codes::F16, _) => "shader/format/dense_f16",
            (Codes::F32, _) => "shader/format/dense_f32",
        }
    }

    /// The same for 2:4 sparse weights.
    fn sparse_snippet(self) -> &'static str {
        match self.codes {
            Codes::E2m1 => "shader/format/sparse_e2m1_e4m3",
            Codes::S4 => "shader/format/sparse_s4_f16",
            Codes::L4 => "shader/format/sparse_lut4_f16",
            Codes::S8 => "shader/format/sparse_s8_f16",
            _ => "shader/format/sparse_e4m3_f32",
        }
    }

    /// Bytes of a block of 32 columns.
    pub(crate) const fn block_bytes(self) -> usize {
        // Half of the codes and four bits for each four columns.
        if self.sparse { self.codes.block_bytes() / 2 + 4 } else { self.codes.block_bytes() }
    }

    /// log2(group / 16): `shift` of a shader's step.
    pub(crate) fn shift(self) -> u32 {
        (self.group / 16).trailing_zeros()
    }

    /// Blocks of a row.
    pub(crate) fn blocks(cols: usize) -> usize {
        cols.div_ceil(BLOCK)
    }

    /// Scales of a row.
    pub(crate) fn groups(self, cols: usize) -> usize {
        (Order::blocks(cols) * BLOCK).div_ceil(self.group)
    }

    /// Bytes of the codes and of the scales of a row.
    pub(crate) fn row_bytes(self, cols: usize) -> (usize, usize) {
        (Order::blocks(cols) * self.block_bytes(), self.groups(cols) * self.scales.bytes())
    }

    /// Writes the codes of one row in kernel order to `out`, of the length above.
    pub(crate) fn codes_row(self, weight: &Weight, row: usize, out: &mut [u8]) {
        match weight.layout() {
            Layout::Blocks { .. } => blocks::codes_row(self, weight, row, out),
            Layout::Grouped { sparse: true, .. } => self.write_sparse(weight.row(row), out),
            _ => self.write_codes(weight.row(row).codes, out),
        }
    }

    /// Writes the scales of one row in kernel order to `out`, of the length above.
    pub(crate) fn scales_row(self, weight: &Weight, row: usize, out: &mut [u8]) {
        let Row { scales, zeros, .. } = weight.row(row);
        match (weight.layout(), self.scales) {
            (Layout::Blocks { .. }, _) => blocks::scales_row(self, weight, row, out),
            (_, Scales::F16Zero) => {
                out.fill(0);
                let pairs = scales.as_chunks::<2>().0.iter().zip(zeros);
                for (out, (scale, zero)) in out.as_chunks_mut::<4>().0.iter_mut().zip(pairs) {
                    *out = [scale[0], scale[1], *zero, 0];
                }
            }
            _ => copy_padded(scales, out),
        }
    }

    /// The codes of a 2:4 sparse row, and its positions after the codes of each block.
    fn write_sparse(self, row: Row<'_>, out: &mut [u8]) {
        let block = self.codes.block_bytes() / 2;
        let mut kept = vec![0; Order::blocks(row.cols) * block];
        let (codes, positions) = row.codes.split_at(row.codes.len() - position_bytes(row.cols));
        self.write_codes(codes, &mut kept);
        let blocks = kept.chunks_exact(block).zip(positions.chunks_exact(4));
        for (out, (codes, positions)) in out.chunks_exact_mut(block + 4).zip(blocks) {
            out[..block].copy_from_slice(codes);
            out[block..].copy_from_slice(positions);
        }
    }

    /// Codes as `marlin_format` packs them into kernel order.
    fn write_codes(self, from: &[u8], codes: &mut [u8]) {
        match self.codes {
            Codes::E2m1 => arrange(from, codes, |[word]| [e2m1_word(word)]),
            Codes::U4 | Codes::S4 => arrange(from, codes, |[word]| [u4_word(word)]),
            Codes::U3 => arrange(from, codes, u3_block),
            Codes::U2 => arrange(from, codes, |[word]| [u2_word(word)]),
            _ => copy_padded(from, codes),
        }
    }
}

fn copy_padded(from: &[u8], to: &mut [u8]) {
    let (body, padding) = to.split_at_mut(from.len());
    body.copy_from_slice(from);
    padding.fill(0);
}

/// Brings `N` words at a time into kernel order, zeros after the last.
#[inline(always)]
fn arrange<const N: usize>(from: &[u8], to: &mut [u8], words: impl Fn([u32; N]) -> [u32; N]) {
    let mut from = from.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    for out in to.as_chunks_mut::<4>().0.chunks_exact_mut(N) {
        let arranged = words(std::array::from_fn(|_| from.next().unwrap_or(0)));
        for (out, word) in out.iter_mut().zip(arranged) {
            *out = word.to_le_bytes();
        }
    }
}

/// Eight nibbles, column 0 lowest, as the drawing of u4.
#[inline(always)]
fn u4_word(word: u32) -> u32 {
    let gather = |word: u32| {
        let nibbles = word & 0x0f0f_0f0f;
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff;
        (bytes | bytes >> 8) & 0xffff
    };
    gather(word) | gather(word >> 4) << 16
}

/// Sixteen codes of 2 bits, column 0 lowest, as the drawing of u2.
#[inline(always)]
fn u2_word(word: u32) -> u32 {
    let gather = |word: u32| {
        let pairs = word & 0x3333_3333;
        let nibbles = (pairs | pairs >> 2) & 0x0f0f_0f0f;
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff;
        (bytes | bytes >> 8) & 0xffff
    };
    gather(word) | gather(word >> 2) << 16
}

/// A block of 32 codes of 3 bits, LSB first, as the drawing of u3.
#[inline(always)]
fn u3_block(stream: [u32; 3]) -> [u32; 3] {
    let [low, middle, high] = stream.map(u128::from);
    let stream = low | middle << 32 | high << 64;
    let mut words = [0; 3];
    for col in 0..32 {
        let code = (stream >> (3 * col)) as u32 & 7;
        let pair = col % 16 / 2;
        words[col / 16] |= (code & 3) << (2 * pair + 16 * (col % 2));
        words[2] |= (code >> 2) << (col / 2 + 16 * (col % 2));
    }
    words
}

/// Eight nibbles `s e e m`, column 0 lowest, as the drawing of e2m1.
#[inline(always)]
fn e2m1_word(word: u32) -> u32 {
    let half = |word: u32| {
        let magnitudes = (word & 7) << 9 | (word >> 8 & 7) << 6 | (word >> 16 & 7) << 3 | (word >> 24 & 7);
        let signs =
            (word >> 3 & 1) << 15 | (word >> 11 & 1) << 12 | (word >> 19 & 1) << 14 | (word >> 27 & 1) << 13;
        magnitudes | signs
    };
    half(word) | half(word >> 4) << 16
}

/// Which of the two 16-bit floats a dense format stores: 0x3f80 is 1 as bfloat16.
fn dense_codes(format: &dyn Format) -> Codes {
    let mut value = [0.0];
    let row = Row { cols: 1, ..Row::codes_only(&[0x80, 0x3f]) };
    format.decode(row, &mut value);
    if value[0] == 1.0 { Codes::Bf16 } else { Codes::F16 }
}

mod blocks;

#[cfg(test)]
mod tests;
