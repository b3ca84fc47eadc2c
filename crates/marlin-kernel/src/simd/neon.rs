//! NEON: eight lanes are two registers of four; with `dotprod` the integer products are one
//! instruction per register.

use std::arch::{aarch64::*, asm, is_aarch64_feature_detected};

use super::{Simd, Task, vector::forward};

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

impl Neon {
    /// The proof, if the machine has it.
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    /// Runs a task compiled with these instructions.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "neon")]
        fn call<T: Task>(task: T, simd: Neon) -> T::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists only where `detect` found the feature.
        unsafe { call(task, self) }
    }
}

impl Simd for Neon {
    type F32 = float32x4x2_t;
    type Bytes = uint8x16x2_t;
    const FLIP: u8 = 0;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vdupq_n_f32(value), vdupq_n_f32(value)) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> float32x4x2_t {
        // SAFETY: `self` proves NEON; the reference covers both halves.
        unsafe { float32x4x2_t(vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))) }
    }

    #[inline(always)]
    fn store(self, lanes: float32x4x2_t, to: &mut [f32; 8]) {
        // SAFETY: `self` proves NEON; the reference covers both halves.
        unsafe {
            vst1q_f32(to.as_mut_ptr(), lanes.0);
            vst1q_f32(to.as_mut_ptr().add(4), lanes.1);
        }
    }

    #[inline(always)]
    fn load_twice(self, from: &[f32; 4]) -> float32x4x2_t {
        // SAFETY: `self` proves NEON; the reference covers the four values.
        let four = unsafe { vld1q_f32(from.as_ptr()) };
        float32x4x2_t(four, four)
    }

    #[inline(always)]
    fn spread(self, lanes: float32x4x2_t, at: usize) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            match at {
                0 => float32x4x2_t(vdupq_laneq_f32::<0>(lanes.0), vdupq_laneq_f32::<0>(lanes.1)),
                1 => float32x4x2_t(vdupq_laneq_f32::<1>(lanes.0), vdupq_laneq_f32::<1>(lanes.1)),
                2 => float32x4x2_t(vdupq_laneq_f32::<2>(lanes.0), vdupq_laneq_f32::<2>(lanes.1)),
                _ => float32x4x2_t(vdupq_laneq_f32::<3>(lanes.0), vdupq_laneq_f32::<3>(lanes.1)),
            }
        }
    }

    #[inline(always)]
    fn mul(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn sum(self, lanes: float32x4x2_t) -> f32 {
        // SAFETY: `self` proves NEON.
        unsafe {
            let four = vaddq_f32(lanes.0, lanes.1);
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }

    /// Nothing: there is no stable intrinsic, and these machines' own prefetchers follow rows.
    #[inline(always)]
    fn prefetch(self, _memory: &[u8]) {}

    #[inline(always)]
    fn splat_bytes(self, value: u8) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vdupq_n_u8(value), vdupq_n_u8(value)) }
    }

    #[inline(always)]
    fn sub_bytes(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vsubq_u8(a.0, b.0), vsubq_u8(a.1, b.1)) }
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32], flip: u8) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON; the reference covers both halves.
        unsafe {
            let (low, high) = (vld1q_u8(from.as_ptr()), vld1q_u8(from.as_ptr().add(16)));
            uint8x16x2_t(veorq_u8(low, vdupq_n_u8(flip)), veorq_u8(high, vdupq_n_u8(flip)))
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: uint8x16x2_t, to: &mut [u8; 32]) {
        // SAFETY: `self` proves NEON; the reference covers both halves.
        unsafe {
            vst1q_u8(to.as_mut_ptr(), bytes.0);
            vst1q_u8(to.as_mut_ptr().add(16), bytes.1);
        }
    }

    #[inline(always)]
    fn nibbles(self, from: &[u8; 16], table: &[u8; 16]) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON; the references cover 16 bytes each.
        unsafe {
            let (bytes, table) = (vld1q_u8(from.as_ptr()), vld1q_u8(table.as_ptr()));
            let low = vqtbl1q_u8(table, vandq_u8(bytes, vdupq_n_u8(15)));
            let high = vqtbl1q_u8(table, vshrq_n_u8::<4>(bytes));
            uint8x16x2_t(vzip1q_u8(low, high), vzip2q_u8(low, high))
        }
    }

    #[inline(always)]
    fn dot(self, weights: uint8x16x2_t, x: uint8x16x2_t, _bias: &[i32; 8]) -> float32x4x2_t {
        #[inline(always)]
        fn half(weights: uint8x16_t, x: uint8x16_t) -> float32x4_t {
            // SAFETY: called from a function whose `self` proves NEON.
            unsafe {
                let (w, x) = (vreinterpretq_s8_u8(weights), vreinterpretq_s8_u8(x));
                let low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
                let high = vpaddlq_s16(vmull_high_s8(w, x));
                vcvtq_f32_s32(vpaddq_s32(low, high))
            }
        }
        float32x4x2_t(half(weights.0, x.0), half(weights.1, x.1))
    }
}

/// Proof that the machine has NEON with the `sdot` instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeonDotprod(Neon);

impl NeonDotprod {
    /// The proof, if the machine has it.
    pub(crate) fn detect() -> Option<Self> {
        Neon::detect().filter(|_| is_aarch64_feature_detected!("dotprod")).map(NeonDotprod)
    }

    /// Runs a task compiled with these instructions.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "neon,dotprod")]
        fn call<T: Task>(task: T, simd: NeonDotprod) -> T::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists only where `detect` found both features.
        unsafe { call(task, self) }
    }
}

impl Simd for NeonDotprod {
    forward!(Neon);

    const FLIP: u8 = 0;
    const WIDE: bool = false;

    #[inline(always)]
    fn dot(self, weights: uint8x16x2_t, x: uint8x16x2_t, _bias: &[i32; 8]) -> float32x4x2_t {
        #[inline(always)]
        fn half(weights: uint8x16_t, x: uint8x16_t) -> float32x4_t {
            // SAFETY: called from a function whose `self` proves dotprod; registers only. (Assembly,
            // as the intrinsic `vdotq_s32` is not stable.)
            unsafe {
                let mut sums = vdupq_n_s32(0);
                asm!(
                    ".arch_extension dotprod",
                    "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
                    sums = inout(vreg) sums,
                    weights = in(vreg) weights,
                    x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags),
                );
                vcvtq_f32_s32(sums)
            }
        }
        float32x4x2_t(half(weights.0, x.0), half(weights.1, x.1))
    }
}
