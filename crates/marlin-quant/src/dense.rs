//! How faer is called: for products and factors of dense matrices, always on the thread that asks.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use marlin_kernel::simd::clear_upper_halves;

/// Calls faer with the word for one thread, and leaves the thread's vector registers as plain code needs
/// them: its products (private-gemm-x86 0.1.22, assembly) do not. On a Xeon every `exp` after one took over
/// 150 ns in place of 10.
pub(crate) fn on_this_thread<R>(call: impl FnOnce(Par) -> R) -> R {
    let result = call(Par::Seq);
    clear_upper_halves();
    result
}

/// `out = a b`, for `a` `[rows, inner]` and `b` `[inner, cols]`; what `out` held is of no meaning.
pub(crate) fn product(out: MatMut<'_, f32>, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    on_this_thread(|par| matmul(out, Accum::Replace, a, b, 1.0, par));
}

#[cfg(test)]
mod tests {
    use faer::Mat;
    use marlin_kernel::simd::upper_halves_in_use;

    use super::*;

    #[test]
    fn plain_code_is_as_fast_after_a_product_as_before() {
        let a = Mat::from_fn(64, 64, |i, j| (i * 3 + j) as f32);
        let mut out = Mat::zeros(64, 64);
        product(out.as_mut(), a.as_ref(), a.as_ref());
        match upper_halves_in_use() {
            Some(in_use) => assert!(!in_use, "vector registers are left in use"),
            None => println!("skipped: this processor does not say which registers are in use"),
        }
    }
}
