//! K-quants: blocks of 256 values whose groups have small integer scales of their own.
//!
//! ```text
//!        0                                                              bytes
//!  q2_k  |scales 16 |qs 64 |d |dmin|                                       84
//!  q3_k  |hmask 32 |qs 64 |scales 12 |d |                                 110
//!  q4_k  |d |dmin|scales 12 |qs 128 |                                     144
//!  q5_k  |d |dmin|scales 12 |qh 32 |qs 128 |                              176
//!  q6_k  |ql 128 |qh 64 |scales 16 |d |                                   210
//!
//!  value    q2_k, q4_k, q5_k: (d * scale) * q - dmin * min
//!           q3_k, q6_k:       (d * scale) * q
//!  groups   q2_k, q3_k, q6_k: 16 groups of 16;  q4_k, q5_k: 8 groups of 32
//! ```
//!
//! Where the bits of value `i` are, with `h = i / 128`, `k = i % 128 / 32`, `l = i % 32`,
//! `g = i / 32`:
//!
//! ```text
//!  q2_k  qs[32h + l] >> 2k & 3
//!  q3_k  qs[32h + l] >> 2k & 3, less 4 unless hmask[l] >> (4h + k) & 1
//!  q4_k  qs[32(g / 2) + l] >> 4(g % 2) & 15
//!  q5_k  as q4_k, and bit 4 is qh[l] >> g & 1
//!  q6_k  ql[64h + 32(k % 2) + l] >> 4(k / 2) & 15, and bits 4, 5 are qh[32h + l] >> 2k & 3; less 32
//! ```

use super::{Blocks, Floats, each, half};

const fn blocks(
    name: &'static str,
    summary: &'static str,
    bytes: usize,
    group: usize,
    floats: &'static [usize],
    unpack: fn(&[u8], crate::Unpacked<'_>),
) -> Blocks {
    Blocks { name, summary, values: 256, bytes, group, floats: Floats::Half(floats), unpack }
}

/// 2 bits.
pub static Q2_K: Blocks =
    blocks("q2_k", "GGUF Q2_K: 2-bit integer and offset, 256 a block", 84, 16, &[80, 82], |row, out| {
        each(row, out, q2_k);
    });

/// 3 bits.
pub static Q3_K: Blocks =
    blocks("q3_k", "GGUF Q3_K: 3-bit signed integer, 256 a block", 110, 16, &[108], |row, out| {
        each(row, out, q3_k);
    });

/// 4 bits.
pub static Q4_K: Blocks =
    blocks("q4_k", "GGUF Q4_K: 4-bit integer and offset, 256 a block", 144, 32, &[0, 2], |row, out| {
        each(row, out, q4_k);
    });

/// 5 bits.
pub static Q5_K: Blocks =
    blocks("q5_k", "GGUF Q5_K: 5-bit integer and offset, 256 a block", 176, 32, &[0, 2], |row, out| {
        each(row, out, q5_k);
    });

/// 6 bits.
pub static Q6_K: Blocks =
    blocks("q6_k", "GGUF Q6_K: 6-bit signed integer, 256 a block", 210, 16, &[208], |row, out| {
        each(row, out, q6_k);
    });

type Codes = [i8; 256];

/// Scale in the low nibble, min in the high one, a byte a group.
fn q2_k(block: &[u8; 84], codes: &mut Codes, scales: &mut [f32; 16], offsets: &mut [f32; 16]) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (g, &byte) in block[..16].iter().enumerate() {
        scales[g] = d * f32::from(byte & 15);
        offsets[g] = -(dmin * f32::from(byte >> 4));
    }
    two_bits(&block[16..80], codes);
}

fn q3_k(block: &[u8; 110], codes: &mut Codes, scales: &mut [f32; 16], offsets: &mut [f32; 16]) {
    let d = half(block, 108);
    let packed = &block[96..108];
    for (g, scale) in scales.iter_mut().enumerate() {
        // Low four bits: nibbles of 8 bytes; high two: pairs of bits of 4 bytes.
        let low = packed[g % 8] >> (4 * (g / 8)) & 15;
        let high = packed[8 + g % 4] >> (2 * (g / 4)) & 3;
        *scale = d * f32::from((low | high << 4) as i8 - 32);
    }
    offsets.fill(0.0);
    two_bits(&block[32..96], codes);
    let mask = &block[..32];
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, &bits) in codes.iter_mut().zip(mask) {
            *code -= 4 - 4 * (bits >> g & 1) as i8;
        }
    }
}

fn q4_k(block: &[u8; 144], codes: &mut Codes, scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    six_bits(block, scales, offsets);
    nibbles(&block[16..], codes);
}

fn q5_k(block: &[u8; 176], codes: &mut Codes, scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    six_bits(block, scales, offsets);
    nibbles(&block[48..], codes);
    let high = &block[16..48];
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, &bits) in codes.iter_mut().zip(high) {
            *code |= ((bits >> g & 1) << 4) as i8;
        }
    }
}

fn q6_k(block: &[u8; 210], codes: &mut Codes, scales: &mut [f32; 16], offsets: &mut [f32; 16]) {
    let d = half(block, 208);
    for (scale, &byte) in scales.iter_mut().zip(&block[192..208]) {
        *scale = d * f32::from(byte as i8);
    }
    offsets.fill(0.0);
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (h, k) = (g / 4, g % 4);
        let low = &block[64 * h + 32 * (k % 2)..][..32];
        let high = &block[128 + 32 * h..][..32];
        for ((code, &low), &high) in codes.iter_mut().zip(low).zip(high) {
            *code = (low >> (4 * (k / 2)) & 15 | (high >> (2 * k) & 3) << 4) as i8 - 32;
        }
    }
}

/// d and dmin, then 8 scales and 8 mins of 6 bits in 12 bytes:
///
/// ```text
///  byte   0..4   s4..s7 bits 4,5 | s0..s3         (2 + 6 bits)
///         4..8   m4..m7 bits 4,5 | m0..m3
///         8..12  m4..m7 bits 0-3 | s4..s7 bits 0-3
/// ```
#[inline(always)]
fn six_bits(block: &[u8], scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let packed = &block[4..16];
    for g in 0..4 {
        let (scale, min, rest) = (packed[g], packed[4 + g], packed[8 + g]);
        scales[g] = d * f32::from(scale & 63);
        offsets[g] = -(dmin * f32::from(min & 63));
        scales[4 + g] = d * f32::from(rest & 15 | scale >> 6 << 4);
        offsets[4 + g] = -(dmin * f32::from(rest >> 4 | min >> 6 << 4));
    }
}

/// 64 bytes of four 2-bit codes, 32 columns apart, in two halves.
#[inline(always)]
fn two_bits(qs: &[u8], codes: &mut Codes) {
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, &byte) in codes.iter_mut().zip(&qs[32 * (g / 4)..]) {
            *code = (byte >> (2 * (g % 4)) & 3) as i8;
        }
    }
}

/// 128 bytes of two 4-bit codes, 32 columns apart.
#[inline(always)]
fn nibbles(qs: &[u8], codes: &mut Codes) {
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, &byte) in codes.iter_mut().zip(&qs[32 * (g / 2)..]) {
            *code = (byte >> (4 * (g % 2)) & 15) as i8;
        }
    }
}
