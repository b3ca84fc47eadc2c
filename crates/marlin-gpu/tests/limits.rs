//! What does not fit, what is missing and what breaks: an error that says so, or a way around it that
//! gives the same numbers.

mod common;

use std::sync::Arc;

use common::gpu;
use marlin_format::{Weight, by_name};
use marlin_gpu::{CacheType, Gpu, GpuOptions, GpuPlayer, Opening};
use marlin_kernel::{
    Batch, Error, Player, Precision, Random, ReferencePlayer, SequenceRows, compare_steps,
    plan::{Op, Plan, Product, Rows, Word},
};

/// An embedding of `rows` tokens and a product with `outs` outputs, `cols` columns between.
fn plan(format: &str, rows: usize, outs: usize, cols: usize) -> Plan {
    let mut plan = Plan::default();
    let mut random = Random::new(1);
    let mut weight = |rows| {
        let values = random.normals(rows * cols);
        Weight::encode(by_name(format).unwrap(), rows, cols, &values, Default::default()).unwrap()
    };
    let (table, matrix) = (weight(rows), weight(outs));
    let (table, weight) = (plan.add_weight("table", table), plan.add_weight("matrix", matrix));
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let out = plan.add_buffer("out", Rows::Tokens, outs, Word::F32);
    plan.add_step("embed", Op::Embed { table, scale: 1.0, out: x });
    let products = vec![Product { weight, bias: None, out, accumulate: false }];
    plan.add_step("product", Op::MatMul { x, products });
    plan.add_cache("cache", 64);
    plan
}

fn batch(tokens: &[u32]) -> Batch {
    let rows = tokens.len();
    Batch {
        tokens: tokens.to_vec(),
        positions: (0..rows as u32).collect(),
        sequences: vec![SequenceRows { rows: 0..rows, pages: (0..rows.div_ceil(16) as u32).collect() }],
        ..Batch::default()
    }
}

fn options() -> GpuOptions {
    GpuOptions { cache: Some(CacheType::F32), page_size: 16, pages: 4, ..GpuOptions::default() }
}

fn open(opening: &Opening) -> Option<Arc<Gpu>> {
    gpu(&Opening { matrices: false, ..opening.clone() })
}

#[test]
fn a_matrix_larger_than_a_binding_is_cut_into_rows() {
    let Some(gpu) = open(&Opening { max_binding: Some(200 << 10), ..Opening::default() }) else { return };
    for format in ["f32", "fp4", "int4"] {
        let plan = plan(format, 1000, 1001, 512);
        let mut tested = GpuPlayer::new(plan.clone(), &gpu, &options()).unwrap();
        let mut truth = ReferencePlayer::new(plan, 16, 4).unwrap();
        for tokens in [&[999, 0, 431][..], &[7], &(500..520).collect::<Vec<u32>>()] {
            let batch = batch(tokens);
            let difference = compare_steps(&mut tested, &mut truth, &batch, Precision::Exact).unwrap();
            assert!(difference.is_none(), "{format}, {tokens:?}: {}", difference.unwrap());
        }
    }
}

#[test]
fn a_row_larger_than_a_binding_is_refused_by_name() {
    let Some(gpu) = open(&Opening { max_binding: Some(4 << 10), ..Opening::default() }) else { return };
    let error = GpuPlayer::new(plan("f32", 3, 5, 2048), &gpu, &options()).unwrap_err().to_string();
    assert!(error.contains("a row of table has 8192 bytes, one binding holds 4096"), "{error}");
}

#[test]
fn a_batch_larger_than_a_binding_is_refused() {
    let Some(gpu) = open(&Opening { max_binding: Some(64 << 10), ..Opening::default() }) else { return };
    let mut player = GpuPlayer::new(plan("f32", 9, 64, 256), &gpu, &options()).unwrap();
    player.play(&batch(&[1, 2])).unwrap();
    let error = player.play(&batch(&[3; 64])).unwrap_err().to_string();
    assert!(error.contains("activations has") && error.contains("one binding holds 65536"), "{error}");
    // What fits is played as before.
    player.play(&batch(&[1, 2])).unwrap();
}

#[test]
fn a_model_larger_than_memory_says_what_is_missing() {
    let Some(gpu) = open(&Opening::default()) else { return };
    let limited = GpuOptions { memory: Some(100_000), ..options() };
    let error = GpuPlayer::new(plan("f32", 300, 300, 128), &gpu, &limited).unwrap_err().to_string();
    assert!(error.contains("do not fit: 100000 bytes are available"), "{error}");
    let missing = error.rsplit(", ").next().unwrap();
    let missing: u64 = missing.split(' ').next().unwrap().parse().unwrap();
    // Two matrices of 150 KiB, four pages of cache of 64 values, and some activations.
    assert!((2 * 153_600 + 16_384 - 100_000..2 * 153_600 + 40_000).contains(&missing), "{error}");
    GpuPlayer::new(plan("fp4", 300, 300, 128), &gpu, &limited).unwrap();
}

#[test]
fn f16_caches_need_f16() {
    let Some(gpu) = open(&Opening { f16: false, ..Opening::default() }) else { return };
    let half = GpuOptions { cache: Some(CacheType::F16), ..options() };
    let error = GpuPlayer::new(plan("f32", 3, 5, 32), &gpu, &half).unwrap_err().to_string();
    assert!(error.ends_with("has no f16 for its caches, which the kernels need"), "{error}");
    let player =
        GpuPlayer::new(plan("f32", 3, 5, 32), &gpu, &GpuOptions { cache: None, ..options() }).unwrap();
    assert!(player.describe().contains("no f16") && player.describe().ends_with("f32 cache"));
}

#[test]
fn a_lost_device_is_an_error_and_stays_one() {
    let Some(gpu) = open(&Opening::default()) else { return };
    let mut player = GpuPlayer::new(plan("fp4", 30, 50, 64), &gpu, &options()).unwrap();
    let batch = batch(&[1, 2, 3]);
    player.begin(&batch).unwrap();
    player.run(0..1).unwrap();
    gpu.lose();
    let lost = |result: Result<(), Error>, what: &str| match result {
        Err(Error::Device { reason, .. }) => assert!(!reason.is_empty(), "{what}"),
        other => panic!("{what}: {other:?}"),
    };
    lost(player.run(1..2).and_then(|()| player.read(marlin_kernel::plan::BufferId(1)).map(drop)), "run");
    lost(player.play(&batch).map(drop), "play");
    lost(player.begin(&batch), "begin");
}
