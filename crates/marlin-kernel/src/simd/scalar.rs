//! The portable instruction set: arrays, for machines without vectors we know and for tests.

use super::Simd;

/// Plain Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    type F32 = [f32; 8];
    type Bytes = [u8; 32];
    const FLIP: u8 = 0;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> [f32; 8] {
        *from
    }

    #[inline(always)]
    fn store(self, lanes: [f32; 8], to: &mut [f32; 8]) {
        *to = lanes;
    }

    #[inline(always)]
    fn load_twice(self, &[a, b, c, d]: &[f32; 4]) -> [f32; 8] {
        [a, b, c, d, a, b, c, d]
    }

    #[inline(always)]
    fn spread(self, lanes: [f32; 8], at: usize) -> [f32; 8] {
        let (low, high) = (lanes[at], lanes[at + 4]);
        [low, low, low, low, high, high, high, high]
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        let mut out = a;
        for (out, b) in out.iter_mut().zip(b) {
            *out *= b;
        }
        out
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut out = c;
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out += a * b;
        }
        out
    }

    #[inline(always)]
    fn sum(self, lanes: [f32; 8]) -> f32 {
        let [a, b, c, d, e, f, g, h] = lanes;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    fn prefetch(self, _memory: &[u8]) {}

    #[inline(always)]
    fn splat_bytes(self, value: u8) -> [u8; 32] {
        [value; 32]
    }

    #[inline(always)]
    fn sub_bytes(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        let mut out = a;
        for (out, b) in out.iter_mut().zip(b) {
            *out = out.wrapping_sub(b);
        }
        out
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32], flip: u8) -> [u8; 32] {
        let mut out = *from;
        for byte in &mut out {
            *byte ^= flip;
        }
        out
    }

    #[inline(always)]
    fn store_bytes(self, bytes: [u8; 32], to: &mut [u8; 32]) {
        *to = bytes;
    }

    #[inline(always)]
    fn nibbles(self, from: &[u8; 16], table: &[u8; 16]) -> [u8; 32] {
        let mut out = [0; 32];
        for (out, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(from) {
            *out = [table[usize::from(byte & 15)], table[usize::from(byte >> 4)]];
        }
        out
    }

    #[inline(always)]
    fn dot(self, weights: [u8; 32], x: [u8; 32], _bias: &[i32; 8]) -> [f32; 8] {
        let (w, x) = (weights.as_chunks::<4>().0, x.as_chunks::<4>().0);
        let mut out = [0.0; 8];
        for ((out, w), x) in out.iter_mut().zip(w).zip(x) {
            let product = |k: usize| i32::from(w[k] as i8) * i32::from(x[k] as i8);
            *out = (product(0) + product(1) + product(2) + product(3)) as f32;
        }
        out
    }
}
