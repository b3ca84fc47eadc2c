//! The upper halves of the vector registers, which code that is not ours may leave in use.
//!
//! Code compiled for AVX ends with `vzeroupper`, ours too: the compiler writes it. Assembly may leave it
//! out. On Intel's processors every SSE instruction of that thread then waits for the halves it does not
//! touch, until somebody clears them: all plain Rust, and `exp` of the C library.

/// Clears them, on a machine that has them.
#[inline]
pub fn clear_upper_halves() {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: the machine has AVX.
        unsafe { std::arch::x86_64::_mm256_zeroupper() }
    }
}

/// Whether this thread's are in use, by the processor's own record of what a switch of threads must save
/// (`XGETBV` of register 1, bits 2 and 6); `None` where it keeps none.
pub fn upper_halves_in_use() -> Option<bool> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__cpuid_count, _xgetbv};
        const UPPER: u64 = 1 << 2 | 1 << 6;
        #[target_feature(enable = "xsave")]
        fn in_use() -> u64 {
            // SAFETY: the caller has seen that the processor knows register 1.
            unsafe { _xgetbv(1) }
        }
        if is_x86_feature_detected!("xsave") && __cpuid_count(0xd, 1).eax & 1 << 2 != 0 {
            // SAFETY: the machine has XSAVE, and this register of it.
            return Some(unsafe { in_use() } & UPPER != 0);
        }
    }
    None
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_cleared() {
        if !is_x86_feature_detected!("avx") || upper_halves_in_use().is_none() {
            println!("skipped: this processor does not say which registers are in use");
            return;
        }
        // SAFETY: the machine has AVX; what is written is named.
        unsafe { std::arch::asm!("vcmptrueps ymm7, ymm7, ymm7", out("xmm7") _) };
        assert_eq!(upper_halves_in_use(), Some(true));
        clear_upper_halves();
        assert_eq!(upper_halves_in_use(), Some(false));
    }
}
