//! Codes between their bits in memory and the integers kernels multiply with.
//!
//! ```text
//!  2, 3 bits   column k in bits [bits k, bits k + bits) of the row, LSB first: 3-bit codes straddle bytes
//!  4 bits      byte j = | column 2j+1 | column 2j |     low nibble = even column
//!  8 bits      byte j = column j
//! ```
//!
//! | code | integer |
//! |---|---|
//! | E2M1 | twice the value: 0 ±1 ±2 ±3 ±4 ±6 ±8 ±12 |
//! | Uint4, Uint3, Uint2 | code less the group's zero point |
//! | Int4 | code less 8 |
//! | Int8 | code less 128 |
//! | Lookup4, Lookup3, Lookup2 | none: the code is an index |
//! | E4M3, E5M2 | none: the code is a float |

use crate::Code;
use crate::scalar::{E4M3_MAX, E5M2_MAX, e2m1_from_twice, e2m1_to_twice};

impl Code {
    /// Largest magnitude of an integer code: what a scale is multiplied with at most.
    pub(crate) const fn magnitude(self) -> f32 {
        match self {
            Code::E2m1 => 12.0,
            Code::Uint4 | Code::Uint3 | Code::Uint2 => self.max_zero() as f32,
            Code::Int4 => 8.0,
            Code::Int8 => 128.0,
            Code::E4m3 => E4M3_MAX,
            Code::E5m2 => E5M2_MAX,
            Code::Lookup4 | Code::Lookup3 | Code::Lookup2 => 1.0,
        }
    }

    /// Reads `out.len()` codes; group `k / group` has the zero point `zeros[k / group]`.
    pub(crate) fn unpack(self, bytes: &[u8], group: usize, zeros: &[u8], out: &mut [i8]) {
        let bits = self.bits();
        match self {
            Code::E2m1 => split(bits, bytes, out, e2m1_to_twice),
            Code::Int4 => split(bits, bytes, out, |code| (code as i8).wrapping_sub(8)),
            Code::Int8 => split(bits, bytes, out, |code| (code ^ 0x80) as i8),
            Code::Uint4 | Code::Uint3 | Code::Uint2 => {
                let groups = out.chunks_mut(group).zip(bytes.chunks(group * bits / 8)).zip(zeros);
                groups.for_each(|((out, bytes), &zero)| {
                    split(bits, bytes, out, |code| code.wrapping_sub(zero) as i8);
                });
            }
            _ => split(bits, bytes, out, |code| code as i8),
        }
    }

    /// Writes integer codes of one group to `bytes`.
    pub(crate) fn pack(self, codes: &[i8], zero: u8, bytes: &mut [u8]) {
        let width = self.bits();
        match self {
            Code::E2m1 => join(width, codes, bytes, e2m1_from_twice),
            Code::Int4 => join(width, codes, bytes, |code| code.wrapping_add(8) as u8),
            Code::Int8 => join(width, codes, bytes, |code| code as u8 ^ 0x80),
            Code::Uint4 | Code::Uint3 | Code::Uint2 => {
                join(width, codes, bytes, |code| code.wrapping_add(zero as i8) as u8);
            }
            _ => join(width, codes, bytes, |code| code as u8),
        }
    }
}

/// Reads codes of `bits` bits (2, 3, 4 or 8) and maps each.
#[inline(always)]
pub(crate) fn split<T>(bits: usize, bytes: &[u8], out: &mut [T], value: impl Fn(u8) -> T + Copy) {
    match bits {
        2 => octets::<2, T>(bytes, out, value),
        3 => octets::<3, T>(bytes, out, value),
        4 => nibbles(bytes, out, value),
        _ => out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = value(byte)),
    }
}

/// Splits bytes into nibbles, low first, and maps each. Fixed-size chunks so that it vectorises.
#[inline(always)]
fn nibbles<T>(bytes: &[u8], out: &mut [T], value: impl Fn(u8) -> T + Copy) {
    let (chunks, out_tail) = out.as_chunks_mut::<32>();
    let (byte_chunks, bytes_tail) = bytes.split_at(chunks.len() * 16);
    for (out, bytes) in chunks.iter_mut().zip(byte_chunks.as_chunks::<16>().0) {
        for (pair, &byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [value(byte & 15), value(byte >> 4)];
        }
    }
    for (k, out) in out_tail.iter_mut().enumerate() {
        *out = value(bytes_tail[k / 2] >> (4 * (k % 2)) & 15);
    }
}

/// Splits a stream of codes of `BITS` bits, LSB first, eight of them in `BITS` bytes, and maps each.
#[inline(always)]
fn octets<const BITS: usize, T>(bytes: &[u8], out: &mut [T], value: impl Fn(u8) -> T + Copy) {
    let some = |bytes: &[u8], out: &mut [T]| {
        let word = bytes.iter().rev().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        for (k, out) in out.iter_mut().enumerate() {
            *out = value((word >> (BITS * k)) as u8 & ((1 << BITS) - 1));
        }
    };
    let (eights, out_tail) = out.as_chunks_mut::<8>();
    let (byte_eights, bytes_tail) = bytes.split_at(eights.len() * BITS);
    for (out, bytes) in eights.iter_mut().zip(byte_eights.as_chunks::<BITS>().0) {
        some(bytes, out);
    }
    some(&bytes_tail[..(out_tail.len() * BITS).div_ceil(8)], out_tail);
}

/// Writes codes of `width` bits (1 to 8), LSB first, to as many bytes as they fill.
pub(crate) fn join(width: usize, codes: &[i8], bytes: &mut [u8], bits: impl Fn(i8) -> u8) {
    let mask = ((1u16 << width) - 1) as u8;
    for (eight, bytes) in codes.chunks(8).zip(bytes.chunks_mut(width)) {
        let place = |(k, &code): (usize, &i8)| u64::from(bits(code) & mask) << (width * k);
        let word = eight.iter().enumerate().map(place).fold(0, |word, code| word | code);
        let used = (eight.len() * width).div_ceil(8);
        bytes[..used].copy_from_slice(&word.to_le_bytes()[..used]);
    }
}
