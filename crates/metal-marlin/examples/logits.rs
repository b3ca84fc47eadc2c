//! The logits of a model for given tokens, played on the CPU with exact products, for comparison with other
//! programs (goldens/exports.py).
//!
//! `cargo run --release -p metal-marlin --example logits -- MODEL IDS OUT`
//!
//! IDS is a file of u32, one prompt; OUT becomes f32 [tokens, vocabulary]; both little endian.

use std::path::Path;

use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_kernel::{Batch, Player, Precision, SequenceRows};
use marlin_model::Source;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, ids, out] = args.as_slice() else { return Err("expected MODEL IDS OUT".into()) };
    let bytes = std::fs::read(ids)?;
    let tokens: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
    let source = Source::open(Path::new(model))?;
    let options = CpuOptions {
        precision: Precision::Exact,
        cache: Some(CacheType::F32),
        page_size: 16,
        pages: tokens.len().div_ceil(16),
        ..CpuOptions::default()
    };
    let mut player = CpuPlayer::new(marlin_model::build(&source)?.plan, &options)?;
    let pages = (0..player.pages() as u32).collect();
    let count = tokens.len() as u32;
    let logits = player.play(&Batch {
        sequences: vec![SequenceRows { rows: 0..tokens.len(), pages }],
        tokens,
        positions: (0..count).collect(),
        outputs: (0..count).collect(),
        ..Batch::default()
    })?;
    let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    Ok(std::fs::write(out, bytes)?)
}
