//! AVX-512 with VL and VNNI: 32 registers of 256 bits, integer products through `vpdpbusd`.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes: weights come XORed with 0x80, which adds 128 to
//! each code, and the sum starts at -128 times the sum of x.

use std::arch::x86_64::*;

use super::{Simd, Task, avx2::Avx2, vector::forward};

/// Proof that the machine has AVX-512 F, BW, VL and VNNI besides AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(Avx2);

impl Avx512 {
    /// The proof, if the machine has it.
    pub(crate) fn detect() -> Option<Self> {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        Avx2::detect().filter(|_| avx512).map(Avx512)
    }

    /// Runs a task compiled with these instructions.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
        fn call<T: Task>(task: T, simd: Avx512) -> T::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists only where `detect` found all the features.
        unsafe { call(task, self) }
    }
}

impl Simd for Avx512 {
    forward!(Avx2);

    const FLIP: u8 = 0x80;
    const WIDE: bool = true;

    #[inline(always)]
    fn dot(self, weights: __m256i, x: __m256i, bias: &[i32; 8]) -> __m256 {
        // SAFETY: `self` proves AVX-512 VNNI and VL; the reference covers the 32 bytes loaded.
        unsafe {
            let bias = _mm256_loadu_si256(bias.as_ptr().cast());
            _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(bias, weights, x))
        }
    }
}
