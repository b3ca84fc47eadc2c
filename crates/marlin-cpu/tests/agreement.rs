//! Every case of every kernel on every instruction set of this machine, in both precisions.

use marlin_cpu::{CpuOptions, CpuPlayer};
use marlin_kernel::{KERNELS, Precision, check_player, simd::Isa};

/// Plays all cases; panics with the list of those that do not agree.
fn check(isa: Isa, precision: Precision, threads: usize) {
    let results = check_player(
        |plan, page_size, pages| {
            let options = CpuOptions { threads, isa: Some(isa), precision, cache: None, page_size, pages };
            Ok(Box::new(CpuPlayer::new(plan, &options)?))
        },
        precision,
        "",
    );
    for kernel in KERNELS {
        assert!(results.iter().any(|result| result.kernel == kernel.name), "no case of {}", kernel.name);
    }
    let failed: Vec<String> =
        results.iter().filter(|result| result.outcome.is_err()).map(ToString::to_string).collect();
    let count = results.len();
    assert!(
        failed.is_empty(),
        "{isa}, {precision:?}: {} of {count} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn exact_on_every_instruction_set() {
    for isa in Isa::available() {
        check(isa, Precision::Exact, 1);
    }
}

#[test]
fn int8_activations_on_every_instruction_set() {
    for isa in Isa::available() {
        check(isa, Precision::Int8Activations, 1);
    }
}

#[test]
fn several_threads() {
    for precision in [Precision::Exact, Precision::Int8Activations] {
        check(Isa::best(), precision, 3);
    }
}
