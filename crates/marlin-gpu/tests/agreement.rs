//! Every case of every kernel on the GPU there is, exact and with f16 operands.
//!
//! Without a GPU the tests pass with a message, unless `MARLIN_REQUIRE_GPU=1`.

mod common;

use std::env;

use common::gpu;
use marlin_gpu::{CacheType, GpuOptions, GpuPlayer, Opening, Tuning};
use marlin_kernel::{KERNELS, Precision, check_player};

/// Plays all cases; panics with the list of those that do not agree. `MARLIN_CASES` chooses some.
fn check(opening: &Opening, cache: CacheType, precision: Precision) {
    let filter = env::var("MARLIN_CASES").unwrap_or_default();
    check_some(opening, cache, precision, &filter, Tuning::default());
}

/// Plays the cases that `filter` names.
fn check_some(opening: &Opening, cache: CacheType, precision: Precision, filter: &str, tuning: Tuning) {
    let Some(gpu) = gpu(opening) else { return };
    let results = check_player(
        |plan, page_size, pages| {
            let options = GpuOptions { cache: Some(cache), page_size, pages, memory: None, tuning };
            Ok(Box::new(GpuPlayer::new(plan, &gpu, &options)?))
        },
        precision,
        filter,
    );
    if filter.is_empty() {
        for kernel in KERNELS {
            assert!(results.iter().any(|result| result.kernel == kernel.name), "no case of {}", kernel.name);
        }
    }
    let failed: Vec<String> =
        results.iter().filter(|result| result.outcome.is_err()).map(ToString::to_string).collect();
    assert!(!results.is_empty(), "no case is called {filter}");
    println!(
        "{}, {precision:?}: {} of {} cases agree",
        gpu.info,
        results.len() - failed.len(),
        results.len()
    );
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), results.len(), failed.join("\n"));
}

#[test]
fn exact() {
    let opening = Opening { matrices: false, ..Opening::default() };
    check(&opening, CacheType::F32, Precision::Exact);
}

/// That no shader asks for f16 shows in one case of each; what they compute is the same.
#[test]
fn without_f16_in_shaders() {
    let opening = Opening { f16: false, ..Opening::default() };
    for kernel in KERNELS {
        let filter = match kernel.name {
            "matmul" => "matmul, every format",
            "moe_experts" => "moe_experts, every format",
            "embed" => "embed, rows 33",
            name => name,
        };
        check_some(&opening, CacheType::F32, Precision::Exact, filter, Tuning::default());
    }
}

/// A device without matrices plays the shaders of `exact`.
#[test]
fn f16_operands() {
    match gpu(&Opening::default()) {
        Some(gpu) if gpu.info.matrices.is_none() => println!("{}: no matrices", gpu.info),
        _ => check(&Opening::default(), CacheType::F32, Precision::HalfOperands),
    }
}

#[test]
fn f16_caches() {
    // What a cache of 11 bits costs is within the tolerance for f16 operands.
    let opening = Opening { matrices: false, ..Opening::default() };
    for kernel in ["cache_write", "attention"] {
        check_some(&opening, CacheType::F16, Precision::HalfOperands, kernel, Tuning::default());
    }
}

#[test]
fn every_other_variant_that_a_tuning_can_choose() {
    let exact = Opening { matrices: false, ..Opening::default() };
    let default = Tuning::default();
    let split = default.split.map(|split| 3 - split);
    let other = Tuning { matvec: [4; 4], split, workgroups: 3, gate_up: 2, down: 4 };
    for filter in ["matmul, fp4", "matmul, every format", "attention", "moe_experts"] {
        check_some(&exact, CacheType::F32, Precision::Exact, filter, other);
        if gpu(&Opening::default()).is_some_and(|gpu| gpu.info.matrices.is_some()) {
            check_some(&Opening::default(), CacheType::F32, Precision::HalfOperands, filter, other);
        }
    }
    let tuning = Tuning { matvec: [2; 4], ..default };
    check_some(&exact, CacheType::F32, Precision::Exact, "matmul, fp4", tuning);
    let tuning = Tuning { down: 2, ..default };
    check_some(&exact, CacheType::F32, Precision::Exact, "moe_experts, fp4", tuning);
}
