//! Tensors as the scheme `fp8` names them: refused with a reason or used throughout.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| marlin_fuzz::weights::read("fp8", data));
