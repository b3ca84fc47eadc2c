//! Codes that are indices into 16 integers: `iq4_nl` and `iq4_xs`.
//!
//! ```text
//!           0   2   4       8              136
//!  iq4_nl   |d  |qs 16 halves |                        d * table[q]
//!  iq4_xs   |d  |sh |sl 4   |qs 128        |           (d * (scale - 32)) * table[q], 8 groups of 16 bytes
//!
//!  scale of group g    sl[g / 2] >> 4(g % 2) & 15, and bits 4, 5 are sh >> 2g & 3
//! ```

use super::{Blocks, Floats, each, half};

/// What the codes stand for (ggml-common.h, `kvalues_iq4nl`).
const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// 4 bits, a scale per 32.
pub static IQ4_NL: Blocks = Blocks {
    name: "iq4_nl",
    summary: "GGUF IQ4_NL: 4-bit index into 16 integers, 32 a block",
    values: 32,
    bytes: 18,
    group: 32,
    floats: Floats::Half(&[0]),
    unpack: |row, out| {
        each::<18, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([half(block, 0)], [0.0]);
            halves(&block[2..], codes);
        });
    },
};

/// 4 bits, 256 a block.
pub static IQ4_XS: Blocks = Blocks {
    name: "iq4_xs",
    summary: "GGUF IQ4_XS: 4-bit index into 16 integers, 256 a block",
    values: 256,
    bytes: 136,
    group: 32,
    floats: Floats::Half(&[0]),
    unpack: |row, out| each(row, out, iq4_xs),
};

fn iq4_xs(block: &[u8; 136], codes: &mut [i8; 256], scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    let (d, high) = (half(block, 0), u16::from_le_bytes([block[2], block[3]]));
    offsets.fill(0.0);
    for (g, scale) in scales.iter_mut().enumerate() {
        let low = block[4 + g / 2] >> (4 * (g % 2)) & 15;
        let bits = low | ((high >> (2 * g)) as u8 & 3) << 4;
        *scale = d * f32::from(bits as i8 - 32);
    }
    for (qs, codes) in block[8..].chunks_exact(16).zip(codes.as_chunks_mut::<32>().0) {
        halves(qs, codes);
    }
}

fn halves(qs: &[u8], codes: &mut [i8; 32]) {
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(qs) {
        (*low, *high) = (TABLE[usize::from(byte & 15)], TABLE[usize::from(byte >> 4)]);
    }
}
