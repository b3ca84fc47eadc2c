//! Blocks of 32 values with one scale: `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q8_0`, and GGUF's MXFP4.
//!
//! ```text
//!         0   2   4       8        16      20     24     34
//!  q4_0   |d  |qs 16 halves          |                        d * (q - 8)
//!  q4_1   |d  |m  |qs 16 halves          |                    d * q + m
//!  q5_0   |d  |qh 4   |qs 16 halves         |                 d * (q - 16), bit 4 of q i: bit i of qh
//!  q5_1   |d  |m  |qh 4   |qs 16 halves         |             d * q + m
//!  q8_0   |d  |qs 32 signed bytes                      |      d * q
//!  mxfp4  |e|qs 16 halves         |                           2^(e - 127) * e2m1(q)
//! ```

use super::{Blocks, Floats, each, half};
use crate::scalar::{e2m1_to_twice, e8m0_to_half};

const fn blocks(
    name: &'static str,
    summary: &'static str,
    bytes: usize,
    floats: Floats,
    unpack: fn(&[u8], crate::Unpacked<'_>),
) -> Blocks {
    Blocks { name, summary, values: 32, bytes, group: 32, floats, unpack }
}

/// 4 bits, scale.
pub static Q4_0: Blocks =
    blocks("q4_0", "GGUF Q4_0: 4-bit signed integer, 32 a block", 18, Floats::Half(&[0]), |row, out| {
        each::<18, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([half(block, 0)], [0.0]);
            halves(&block[2..], codes, |q| q as i8 - 8);
        });
    });

/// 4 bits, scale and offset.
pub static Q4_1: Blocks = blocks(
    "q4_1",
    "GGUF Q4_1: 4-bit integer and offset, 32 a block",
    20,
    Floats::Half(&[0, 2]),
    |row, out| {
        each::<20, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([half(block, 0)], [half(block, 2)]);
            halves(&block[4..], codes, |q| q as i8);
        });
    },
);

/// 5 bits, scale.
pub static Q5_0: Blocks =
    blocks("q5_0", "GGUF Q5_0: 5-bit signed integer, 32 a block", 22, Floats::Half(&[0]), |row, out| {
        each::<22, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([half(block, 0)], [0.0]);
            halves(&block[6..], codes, |q| q as i8 - 16);
            fifth_bits(block, 2, codes);
        });
    });

/// 5 bits, scale and offset.
pub static Q5_1: Blocks = blocks(
    "q5_1",
    "GGUF Q5_1: 5-bit integer and offset, 32 a block",
    24,
    Floats::Half(&[0, 2]),
    |row, out| {
        each::<24, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([half(block, 0)], [half(block, 2)]);
            halves(&block[8..], codes, |q| q as i8);
            fifth_bits(block, 4, codes);
        });
    },
);

/// 8 bits, scale.
pub static Q8_0: Blocks =
    blocks("q8_0", "GGUF Q8_0: 8-bit signed integer, 32 a block", 34, Floats::Half(&[0]), |row, out| {
        each::<34, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([half(block, 0)], [0.0]);
            for (code, &byte) in codes.iter_mut().zip(&block[2..]) {
                *code = byte as i8;
            }
        });
    });

/// E2M1 codes, a power of two.
pub static MXFP4: Blocks =
    blocks("mxfp4-gguf", "GGUF MXFP4: 4-bit float (E2M1), 32 a block", 17, Floats::E8m0, |row, out| {
        each::<17, 32, 1>(row, out, |block, codes, scales, offsets| {
            (*scales, *offsets) = ([e8m0_to_half(block[0])], [0.0]);
            halves(&block[1..], codes, e2m1_to_twice);
        });
    });

#[inline(always)]
fn halves(qs: &[u8], codes: &mut [i8; 32], integer: impl Fn(u8) -> i8) {
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(qs) {
        (*low, *high) = (integer(byte & 15), integer(byte >> 4));
    }
}

#[inline(always)]
fn fifth_bits(block: &[u8], at: usize, codes: &mut [i8; 32]) {
    let bits = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    for (i, code) in codes.iter_mut().enumerate() {
        *code += if bits & 1 << i == 0 { 0 } else { 16 };
    }
}
