//! marlin-mini on the Metal sources, as an M-series GPU would play it, writes what the CPU writes.

#![cfg(target_os = "linux")]

use std::{fs, path::Path, sync::Arc};

use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_engine::{Engine, Limits, Request, Sampling};
use marlin_gpu::{GpuInfo, GpuOptions, GpuPlayer};
use marlin_kernel::{Player, Precision, plan::Plan};
use marlin_model::Source;
use marlin_msl::{
    Build, Compiler,
    device::{Metal, Sources, m_series},
};
use marlin_text::Tokenizer;

const PROMPT: &str = "It was a truth universally acknowledged, that a single man in possession of a good";
const TOKENS: usize = 24;
const PAGES: usize = 4;

fn miniature() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/marlin-mini")
}

fn plan() -> Plan {
    marlin_model::build(&Source::open(&miniature()).unwrap()).unwrap().plan
}

/// Greedy tokens after the prompt.
fn write(player: Box<dyn Player>, prompt: &[u32]) -> Vec<u32> {
    let mut engine = Engine::new(player, Limits::default()).unwrap();
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let request =
        Request { prompt: prompt.to_vec(), max_tokens: Some(TOKENS), sampling, ..Request::default() };
    engine.add(request).unwrap();
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        tokens.extend(engine.step().unwrap().into_iter().filter_map(|event| event.token));
    }
    tokens
}

#[test]
fn the_metal_sources_write_what_the_cpu_writes() {
    let json = fs::read(miniature().join("tokenizer.json")).unwrap();
    let config = fs::read(miniature().join("tokenizer_config.json")).unwrap();
    let tokenizer = Tokenizer::from_json(&json, Some(&config)).unwrap();
    let prompt = tokenizer.encode(PROMPT, true, false).unwrap();
    let options = CpuOptions {
        precision: Precision::Exact,
        cache: Some(CacheType::F32),
        page_size: 32,
        pages: PAGES,
        ..CpuOptions::default()
    };
    let expected = write(Box::new(CpuPlayer::new(plan(), &options).unwrap()), &prompt);
    assert_eq!(expected.len(), TOKENS);
    let compiler = Compiler::find(Path::new(env!("CARGO_TARGET_TMPDIR")).join("msl")).unwrap();
    let sources = Arc::new(Sources::new(compiler));
    let ways = [
        ("f32", GpuInfo { matrices: None, ..m_series() }, marlin_gpu::CacheType::F32),
        ("f16 operands", m_series(), marlin_gpu::CacheType::F16),
    ];
    for (name, info, cache) in ways {
        let device = Metal::new(info, &sources, Build::Checked, 1);
        let options = GpuOptions { cache: Some(cache), pages: PAGES, ..GpuOptions::default() };
        let player = GpuPlayer::new(plan(), &device, &options).unwrap();
        println!("{}", player.describe());
        let found = write(Box::new(player), &prompt);
        let text = |tokens: &[u32]| tokenizer.decode(tokens, true);
        assert_eq!(text(&found), text(&expected), "{name}");
        println!("{name}: {PROMPT}{}", text(&found));
    }
}
