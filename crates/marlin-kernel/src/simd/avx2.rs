//! AVX2 with FMA: 256-bit lanes, integer products through `maddubs`.
//!
//! `maddubs` adds two products of an unsigned and a signed byte in a saturating i16. With the weight's
//! magnitude (at most 128) as the unsigned factor and its sign moved to x (at most 127) a pair is at
//! most 2 * 128 * 127 = 32512 and never saturates.

use std::arch::x86_64::*;

use super::{Simd, Task};

/// Proof that the machine has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, if the machine has it.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }

    /// Runs a task compiled with these instructions.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,fma")]
        fn call<T: Task>(task: T, simd: Avx2) -> T::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists only where `detect` found both features.
        unsafe { call(task, self) }
    }
}

impl Simd for Avx2 {
    type F32 = __m256;
    type Bytes = __m256i;
    const FLIP: u8 = 0;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> __m256 {
        // SAFETY: `self` proves AVX; the reference covers the 32 bytes, no alignment is needed.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, lanes: __m256, to: &mut [f32; 8]) {
        // SAFETY: `self` proves AVX; the reference covers the 32 bytes, no alignment is needed.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), lanes) }
    }

    #[inline(always)]
    fn load_twice(self, from: &[f32; 4]) -> __m256 {
        // SAFETY: `self` proves AVX; the reference covers the 16 bytes, no alignment is needed.
        unsafe { _mm256_broadcast_ps(&_mm_loadu_ps(from.as_ptr())) }
    }

    #[inline(always)]
    fn spread(self, lanes: __m256, at: usize) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe {
            match at {
                0 => _mm256_permute_ps::<0b00_00_00_00>(lanes),
                1 => _mm256_permute_ps::<0b01_01_01_01>(lanes),
                2 => _mm256_permute_ps::<0b10_10_10_10>(lanes),
                _ => _mm256_permute_ps::<0b11_11_11_11>(lanes),
            }
        }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sum(self, lanes: __m256) -> f32 {
        // SAFETY: `self` proves AVX.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn prefetch(self, memory: &[u8]) {
        for line in memory.chunks(64) {
            // SAFETY: a hint; `self` proves SSE.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
        }
    }

    #[inline(always)]
    fn splat_bytes(self, value: u8) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_epi8(value as i8) }
    }

    #[inline(always)]
    fn sub_bytes(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_sub_epi8(a, b) }
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; 32], flip: u8) -> __m256i {
        // SAFETY: `self` proves AVX2; the reference covers the 32 bytes, no alignment is needed.
        unsafe {
            let bytes = _mm256_loadu_si256(from.as_ptr().cast());
            _mm256_xor_si256(bytes, _mm256_set1_epi8(flip as i8))
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: __m256i, to: &mut [u8; 32]) {
        // SAFETY: `self` proves AVX2; the reference covers the 32 bytes, no alignment is needed.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes) }
    }

    #[inline(always)]
    fn nibbles(self, from: &[u8; 16], table: &[u8; 16]) -> __m256i {
        // Byte b becomes the word b | b << 4, whose bytes end in the low and the high nibble.
        // SAFETY: `self` proves AVX2; the references cover 16 bytes each, no alignment is needed.
        unsafe {
            let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(from.as_ptr().cast()));
            let pairs = _mm256_or_si256(words, _mm256_slli_epi16::<4>(words));
            let nibbles = _mm256_and_si256(pairs, _mm256_set1_epi8(15));
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, nibbles)
        }
    }

    #[inline(always)]
    fn dot(self, weights: __m256i, x: __m256i, _bias: &[i32; 8]) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
            _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}
