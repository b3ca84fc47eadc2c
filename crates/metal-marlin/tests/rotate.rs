//! Rotations that are played: they change no logit on any player, come back from the files, and are refused
//! where nobody would play them.

mod common;

use std::path::Path;

use common::{Copy, fail, has_gpu, succeed};
use marlin_cpu::{CpuOptions, CpuPlayer};
use marlin_gpu::{Gpu, GpuOptions, GpuPlayer, Opening};
use marlin_kernel::{Batch, Player, Precision, SequenceRows, plan::Op};
use marlin_model::{Source, Tensors};
use serde_json::json;

/// Tokens of a prompt: more than a GPU plays as few rows.
const TOKENS: usize = 40;
const PAGE: usize = 8;
/// Largest difference of a logit, as a share of the largest logit.
const TOLERANCE: f32 = 1e-5;

/// Dense and with experts, their formats dense and in blocks.
const GOLDENS: [&str; 8] = [
    "llama",
    "llama-gptq",
    "gemma3-text",
    "qwen3-moe",
    "glm4-moe-lite",
    "glm4-moe-lite-groups",
    "gpt-oss",
    "gpt-oss-mxfp4",
];

fn golden(name: &str) -> Source {
    Source::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name)).unwrap()
}

/// The logits of all positions, the tokens played in chunks of so many.
fn logits(player: &mut dyn Player, chunk: usize) -> Vec<f32> {
    let vocabulary = player.plan().vocabulary();
    let tokens: Vec<u32> = (0..TOKENS).map(|at| (at * at % vocabulary) as u32).collect();
    let mut all = Vec::new();
    for (at, tokens) in tokens.chunks(chunk).enumerate() {
        let first = (at * chunk) as u32;
        let batch = Batch {
            tokens: tokens.to_vec(),
            positions: (first..first + tokens.len() as u32).collect(),
            sequences: vec![SequenceRows {
                rows: 0..tokens.len(),
                pages: (0..(TOKENS / PAGE) as u32).collect(),
            }],
            outputs: (0..tokens.len() as u32).collect(),
            ..Batch::default()
        };
        all.extend(player.play(&batch).unwrap());
    }
    all
}

/// Compares each golden with its rotated twin on the players that `make` makes, tokens in one piece and one
/// by one.
fn compare(make: &dyn Fn(&Source) -> Box<dyn Player>) {
    for name in GOLDENS {
        for most in [8, 256] {
            let (plain, rotated) = (golden(name), golden(name).rotated_online(most).unwrap());
            let block = rotated.online_rotation().unwrap().unwrap();
            assert!(block >= 8, "{name}: {block}");
            for chunk in [TOKENS, 1] {
                let expected = logits(make(&plain).as_mut(), chunk);
                let found = logits(make(&rotated).as_mut(), chunk);
                let largest = expected.iter().fold(0.0f32, |largest, logit| largest.max(logit.abs()));
                let off = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
                // A NaN must not pass as a small difference.
                let off = off.fold(0.0f32, |most, off| if off <= most { most } else { off });
                assert!(off <= TOLERANCE * largest, "{name}, blocks of {block}, chunks of {chunk}: {off}");
            }
        }
    }
}

#[test]
fn no_logit_changes_on_the_cpu() {
    compare(&|source| {
        let plan = marlin_model::build(source).unwrap().plan;
        let options = CpuOptions {
            threads: 2,
            precision: Precision::Exact,
            page_size: PAGE,
            pages: TOKENS / PAGE,
            cache: Some(marlin_cpu::CacheType::F32),
            ..CpuOptions::default()
        };
        Box::new(CpuPlayer::new(plan, &options).unwrap())
    });
}

#[test]
fn no_logit_changes_on_a_gpu() {
    if !has_gpu() {
        return;
    }
    let gpu = Gpu::open(&Opening { matrices: false, ..Opening::default() }).unwrap();
    compare(&|source| {
        let plan = marlin_model::build(source).unwrap().plan;
        let cache = Some(marlin_gpu::CacheType::F32);
        let options = GpuOptions { cache, page_size: PAGE, pages: TOKENS / PAGE, ..GpuOptions::default() };
        Box::new(GpuPlayer::new(plan, &gpu, &options).unwrap())
    });
}

/// A directory with the miniature quantized by these options.
fn quantize(more: &[&str]) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model").to_str().unwrap().to_owned();
    succeed(&[&["quantize", "marlin-mini", "--out", &out], more].concat());
    (dir, out)
}

#[test]
fn a_rotated_model_is_reopened_and_played_so() {
    for (format, method) in
        [("fp4", "compressed-tensors"), ("nf4", "metal-marlin"), ("f32", "compressed-tensors")]
    {
        let tables = ["--format", format, "--embed", "f32", "--head", "f32", "--rotate", "--rotate-online"];
        let (_dir, out) = quantize(&tables);
        let source = Source::open(Path::new(&out)).unwrap();
        // Experts have 96 columns between.
        assert_eq!(source.online_rotation().unwrap(), Some(32));
        let quantization = source.config().section("quantization_config").unwrap().unwrap();
        assert_eq!(quantization.text_or("quant_method", "").unwrap(), method);
        let plan = marlin_model::build(&source).unwrap().plan;
        let rotations = plan.steps.iter().filter(|step| match &step.op {
            Op::Hadamard { block, .. } => *block == 32,
            Op::MoeExperts { rotation, .. } => *rotation == Some(32),
            _ => false,
        });
        assert_eq!(rotations.count(), 5);
        let text = common::miniature().join("heldout.txt");
        let args = [
            "compare",
            &out,
            "--reference",
            "marlin-mini",
            "--windows",
            "1",
            "--text",
            text.to_str().unwrap(),
        ];
        let most = if format == "f32" { 1e-6 } else { 0.1 };
        let divergence = common::json(&args)["models"][0]["kl_mean"].as_f64().unwrap();
        assert!(divergence < most, "{format}: {divergence}");
    }
}

#[test]
fn a_rotated_model_is_not_rotated_twice_nor_converted() {
    let (dir, out) = quantize(&["--rotate-online=16"]);
    let to = dir.path().join("to").to_str().unwrap().to_owned();
    let error = fail(&["quantize", &out, "--out", &to, "--rotate-online"]);
    assert!(
        error.contains("found inputs of down_proj rotated in blocks of 16, expected a model without"),
        "{error}"
    );
    for (container, name) in [("gguf", "GGUF"), ("compressed-tensors", "compressed-tensors")] {
        let error = fail(&["convert", &out, "--to", container, "--out", &to]);
        let expected =
            format!("{name}: inputs of down_proj are rotated in blocks of 16 when the model is played");
        assert!(error.contains(&expected), "{error}");
    }
    // Quantized once more, it keeps the rotation that its weights have.
    succeed(&["quantize", &out, "--out", &to, "--format", "int8"]);
    let (once, twice) = (Source::open(Path::new(&out)).unwrap(), Source::open(Path::new(&to)).unwrap());
    assert_eq!(twice.online_rotation().unwrap(), Some(16));
    const DOWN: &str = "model.layers.1.mlp.experts.3.down_proj.weight";
    let (once, twice) = (once.weight(DOWN).unwrap().to_f32(), twice.weight(DOWN).unwrap().to_f32());
    let largest = once.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    assert!(once.iter().zip(&twice).all(|(a, b)| (a - b).abs() < 0.01 * largest));
}

#[test]
fn a_transform_that_is_not_played_is_refused() {
    let copy = Copy::new();
    copy.edit("config.json", |config| {
        let apply = json!([{ "targets": ["Linear"], "location": "input", "ignore": ["lm_head"] }]);
        let scheme = json!({ "type": "hadamard", "head_dim": 32, "apply": apply });
        config["quantization_config"] = json!({ "transform_config": { "config_groups": { "v": scheme } } });
    });
    let error = fail(&["run", copy.path(), "--prompt", "a", "--max-tokens", "1"]);
    let expected = "config_groups.v.apply[0].targets: found a list of 1, expected [\"re:.*down_proj$\"]";
    assert!(error.contains(expected), "{error}");
}
