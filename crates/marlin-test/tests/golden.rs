//! Whole models against transformers: every directory of goldens/ that holds expected logits.
//!
//! Each prompt is played in one piece, in chunks of 1, 7 and 32, and on pages in another order: all
//! must agree with transformers, and with each other more closely.

use std::path::{Path, PathBuf};

use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_file::Safetensors;
use marlin_kernel::{Batch, Player, Precision, SequenceRows};
use marlin_model::{Source, Tensors};

/// Largest difference of a logit from transformers'.
const TOLERANCE: f32 = 2e-3;
/// Largest difference between ways to cut one prompt into chunks.
const CHUNK_TOLERANCE: f32 = 1e-4;

/// Models that we do not support, and what we say of them.
const REFUSED: [(&str, &str); 1] = [(
    "gemma3-softcap",
    "config final_logit_softcapping: found 3.0, expected null (this feature is not supported)",
)];

/// Token ids of each prompt, and logits `[positions, vocabulary]`.
struct Golden {
    prompts: Vec<(Vec<u32>, Vec<f32>)>,
}

impl Golden {
    fn read(path: &Path) -> Golden {
        let file = Safetensors::open(path).unwrap();
        let ids = file.tensors().get("input_ids").unwrap();
        let logits = file.tensors().get("logits").unwrap();
        let (count, len, vocab_size) = (logits.shape[0], logits.shape[1], logits.shape[2]);
        assert_eq!(ids.shape, [count, len]);
        let wide = ids.data.len() / (count * len);
        let ids: Vec<u32> =
            ids.data.chunks_exact(wide).map(|id| u32::from_le_bytes(id[..4].try_into().unwrap())).collect();
        let logits: Vec<f32> =
            logits.data.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect();
        let prompts = ids.chunks(len).zip(logits.chunks(len * vocab_size));
        Golden { prompts: prompts.map(|(ids, logits)| (ids.to_vec(), logits.to_vec())).collect() }
    }
}

fn goldens() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.safetensors").exists())
        .collect();
    found.sort();
    found
}

fn player(source: &Source, len: usize) -> CpuPlayer {
    let path = source.checkpoint().tensors().source();
    let plan = marlin_model::build(source).unwrap_or_else(|error| panic!("{path}: {error}")).plan;
    let options = CpuOptions {
        threads: 2,
        precision: Precision::Exact,
        cache: Some(CacheType::F32),
        page_size: 16,
        pages: 2 * len.div_ceil(16),
        ..CpuOptions::default()
    };
    CpuPlayer::new(plan, &options).unwrap()
}

/// Logits of all positions, `chunk` tokens at a time, on pages from the back.
fn logits(player: &mut CpuPlayer, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let pages: Vec<u32> = (0..player.pages() as u32).rev().collect();
    let mut all = Vec::new();
    for (index, tokens) in tokens.chunks(chunk).enumerate() {
        let start = index * chunk;
        let batch = Batch {
            tokens: tokens.to_vec(),
            positions: (start..start + tokens.len()).map(|position| position as u32).collect(),
            sequences: vec![SequenceRows { rows: 0..tokens.len(), pages: pages.clone() }],
            outputs: (0..tokens.len() as u32).collect(),
            ..Batch::default()
        };
        all.extend(player.play(&batch).unwrap());
    }
    all
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // A NaN must not pass as a small difference.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |max, x| if x <= max { max } else { x })
}

fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
}

/// The checkpoints a golden speaks of: its own directory, its twin as a GGUF, or the program's asset.
fn models(golden: &Path) -> Vec<PathBuf> {
    let gguf = golden.join("model.gguf");
    let asset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(golden.file_name().unwrap());
    let own = golden.join("config.json").exists().then(|| golden.to_owned());
    own.into_iter().chain(gguf.exists().then_some(gguf)).chain(asset.exists().then_some(asset)).collect()
}

/// Plays a model against its golden, prompts in one piece, and returns the largest difference of a logit.
fn check(name: &str, source: &Source, golden: &Golden) -> f32 {
    let len = golden.prompts[0].0.len();
    let vocab_size = golden.prompts[0].1.len() / len;
    let mut player = player(source, len);
    let mut difference: f32 = 0.0;
    for (prompt, (tokens, expected)) in golden.prompts.iter().enumerate() {
        let whole = logits(&mut player, tokens, tokens.len());
        difference = difference.max(largest_difference(&whole, expected));
        let rows = whole.chunks(vocab_size).zip(expected.chunks(vocab_size));
        for (position, (ours, theirs)) in rows.enumerate() {
            assert_eq!(argmax(ours), argmax(theirs), "{name}: prompt {prompt}, position {position}");
        }
    }
    assert!(difference <= TOLERANCE, "{name}: {difference}");
    difference
}

/// Plays a model in chunks, which must not matter.
fn check_chunks(name: &str, source: &Source, golden: &Golden) {
    let mut player = player(source, golden.prompts[0].0.len());
    for (tokens, _) in &golden.prompts {
        let whole = logits(&mut player, tokens, tokens.len());
        for chunk in [1, 7, 32] {
            let difference = largest_difference(&whole, &logits(&mut player, tokens, chunk));
            assert!(difference <= CHUNK_TOLERANCE, "{name}: chunks of {chunk}: {difference}");
        }
    }
}

#[test]
fn every_model_gives_the_logits_of_transformers() {
    let goldens = goldens();
    assert!(goldens.len() >= 12, "only {} goldens found", goldens.len());
    let mut lines = Vec::new();
    for dir in goldens {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let golden = Golden::read(&dir.join("golden.safetensors"));
        if let Some((_, message)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            let error = marlin_model::build(&Source::open(&dir).unwrap()).unwrap_err().to_string();
            assert_eq!(error, *message, "{name}");
            lines.push(format!("{name:<44} refused: {message}"));
            continue;
        }
        let models = models(&dir);
        assert!(!models.is_empty(), "{name}: no checkpoint");
        for model in models {
            let name = format!("{name} ({})", model.extension().unwrap_or("directory".as_ref()).display());
            let source = Source::open(&model).unwrap_or_else(|error| panic!("{}: {error}", model.display()));
            lines.push(format!("{name:<44} {:.1e}", check(&name, &source, &golden)));
            check_chunks(&name, &source, &golden);
        }
    }
    println!("largest difference of a logit from transformers:\n{}", lines.join("\n"));
}

#[test]
fn rotated_models_give_the_logits_of_transformers() {
    const READER: &str = "model.layers.0.self_attn.o_proj.weight";
    let mut lines = Vec::new();
    for dir in goldens() {
        let golden = Golden::read(&dir.join("golden.safetensors"));
        for model in models(&dir) {
            let source = Source::open(&model).unwrap();
            let as_it_was = source.weight(READER);
            let Ok(rotated) = source.rotated(128) else { continue };
            assert_ne!(rotated.weight(READER).unwrap().to_f32(), as_it_was.unwrap().to_f32());
            let norm = rotated.weight("model.norm.weight").unwrap().to_f32();
            assert!(norm.iter().all(|weight| *weight == 1.0));
            let name = model.file_name().unwrap().to_string_lossy().into_owned();
            // Rows and columns of the down projections at once.
            let rotated = rotated.rotated_online(128).unwrap();
            lines.push(format!("{name:<44} {:.1e}", check(&name, &rotated, &golden)));
        }
    }
    assert!(lines.len() >= 20, "only {} models could be rotated", lines.len());
    println!("largest difference of a logit from transformers, rotated:\n{}", lines.join("\n"));
}
