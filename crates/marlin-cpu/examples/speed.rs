//! How fast a llama-like model of SmolLM2-135M's shape decodes and prefills here, with random weights.
//!
//! `cargo run --release -p marlin-cpu --example speed -- [FORMAT] [THREADS] [ISA] [exact]`
//!
//! Prints medians: tokens a second, bytes of weights and cache read each second, and the share of the
//! bandwidth that the same threads reach on a plain sum over memory.

use std::time::Instant;

use marlin_cpu::{CpuOptions, CpuPlayer};
use marlin_format::{Format, Weight};
use marlin_kernel::{
    Batch, Player, Precision, Random, SequenceRows,
    plan::{Activation, AttentionShape, Op, Plan, Product, RopeStyle, Rows, View, WeightId, Word},
    simd::Isa,
};

/// SmolLM2-135M.
const LAYERS: usize = 30;
const HIDDEN: usize = 576;
const INTERMEDIATE: usize = 1536;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const VOCABULARY: usize = 49152;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let format = marlin_format::by_name(args.first().map_or("fp4", String::as_str))?;
    let threads = args.get(1).map_or(Ok(0), |threads| threads.parse())?;
    let isa = args.get(2).map_or(Isa::best(), |name| {
        *Isa::available().iter().find(|isa| isa.name() == name).unwrap_or_else(|| panic!("no {name} here"))
    });
    let exact = args.get(3).is_some_and(|word| word == "exact");
    let precision = if exact { Precision::Exact } else { Precision::Int8Activations };
    let options = CpuOptions { threads, isa: Some(isa), precision, ..CpuOptions::default() };
    let mut player = CpuPlayer::new(model(format)?, &options)?;
    println!("{}, weights {}", player.describe(), format.name());
    let plan = player.plan();
    let bytes = plan.weights.iter().map(|(_, weight)| weight.len_bytes()).sum::<usize>();
    println!("weights {:.1} MB, read bandwidth {:.1} GB/s", bytes as f64 / 1e6, bandwidth(threads));
    for depth in [16, 1024] {
        // Fills the cache, so that decoding reads real rows.
        player.play(&batch(0..depth))?;
        let seconds = median(25, || player.play(&batch(depth..depth + 1)).map(drop))?;
        let cached = 2 * KV_HEADS * HEAD_DIM * LAYERS * depth * if exact { 4 } else { 2 };
        let rate = (bytes + cached) as f64 / seconds / 1e9;
        println!(
            "decode after {depth:4}: {:7.1} tokens/s, {rate:5.1} GB/s, {:.0} % of the bandwidth",
            1.0 / seconds,
            100.0 * rate / bandwidth(threads)
        );
    }
    for len in [32, 128, 512] {
        let seconds = median(5, || player.play(&batch(0..len)).map(drop))?;
        println!("prefill of {len:3}: {:7.1} tokens/s", len as f64 / seconds);
    }
    Ok(())
}

/// One sequence at `positions`, logits of the last token.
fn batch(positions: std::ops::Range<usize>) -> Batch {
    let rows = positions.len();
    Batch {
        tokens: positions.clone().map(|position| (position * 7919 % VOCABULARY) as u32).collect(),
        positions: positions.map(|position| position as u32).collect(),
        sequences: vec![SequenceRows { rows: 0..rows, pages: (0..128).collect() }],
        outputs: vec![rows as u32 - 1],
        ..Batch::default()
    }
}

fn median(
    runs: usize,
    mut work: impl FnMut() -> std::result::Result<(), marlin_kernel::Error>,
) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        work()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[runs / 2])
}

/// GB/s of `threads` threads that each sum memory of their own, larger than any cache; best of 7.
fn bandwidth(threads: usize) -> f64 {
    let threads = if threads == 0 { num_cpus::get_physical().min(num_cpus::get()) } else { threads };
    let memory: Vec<Vec<u64>> = (0..threads).map(|_| vec![1; 16 << 20]).collect();
    let pass = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in &memory {
                scope.spawn(|| {
                    std::hint::black_box(part.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)))
                });
            }
        });
        (threads * (128 << 20)) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..7).map(|_| pass()).fold(0.0, f64::max)
}

/// The plan; layer matrices in `format`, embedding and head in int8 as one tied weight.
fn model(format: &'static dyn Format) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut random = Random::new(1);
    let norm = plan.add_weight("norm", dense(&[1.0; HIDDEN])?);
    let frequencies: Vec<f32> =
        (0..HEAD_DIM / 2).map(|i| 1e5f32.powf(-2.0 * i as f32 / HEAD_DIM as f32)).collect();
    let frequencies = plan.add_weight("frequencies", dense(&frequencies)?);
    let head = weight(&mut random, marlin_format::by_name("int8")?, VOCABULARY, HIDDEN)?;
    let head = plan.add_weight("head", head);
    let mut buffer = |label: &str, rows, width| plan.add_buffer(label, rows, width, Word::F32);
    let hidden = buffer("hidden", Rows::Tokens, HIDDEN);
    let normed = buffer("normed", Rows::Tokens, HIDDEN);
    let q = buffer("q", Rows::Tokens, HEADS * HEAD_DIM);
    let kv = buffer("kv", Rows::Tokens, 2 * KV_HEADS * HEAD_DIM);
    let mixed = buffer("mixed", Rows::Tokens, HEADS * HEAD_DIM);
    let gate = buffer("gate", Rows::Tokens, INTERMEDIATE);
    let up = buffer("up", Rows::Tokens, INTERMEDIATE);
    let last = buffer("last", Rows::Outputs, HIDDEN);
    let logits = buffer("logits", Rows::Outputs, VOCABULARY);
    let rms = |x, out| Op::RmsNorm { x, weight: norm, eps: 1e-5, out };
    let rope = |x: View| Op::Rope { x, frequencies, style: RopeStyle::Half, scale: 1.0, out: x };
    plan.add_step("embed", Op::Embed { table: head, scale: 1.0, out: hidden });
    for _ in 0..LAYERS {
        let mut matrix = |rows, cols| -> Result<WeightId> {
            Ok(plan.add_weight("matrix", weight(&mut random, format, rows, cols)?))
        };
        let wq = matrix(HEADS * HEAD_DIM, HIDDEN)?;
        let (wk, wv) = (matrix(KV_HEADS * HEAD_DIM, HIDDEN)?, matrix(KV_HEADS * HEAD_DIM, HIDDEN)?);
        let wo = matrix(HIDDEN, HEADS * HEAD_DIM)?;
        let (wgate, wup) = (matrix(INTERMEDIATE, HIDDEN)?, matrix(INTERMEDIATE, HIDDEN)?);
        let wdown = matrix(HIDDEN, INTERMEDIATE)?;
        let cache = plan.add_cache("cache", kv.width);
        let (k, v) = (kv.inner(0, KV_HEADS * HEAD_DIM), kv.inner(KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM));
        let product = |weight, out| Product { weight, bias: None, out, accumulate: false };
        let residual = |weight| vec![Product { accumulate: true, ..product(weight, hidden) }];
        let shape = AttentionShape {
            kv_heads: KV_HEADS,
            k_start: 0,
            k_width: HEAD_DIM,
            v_start: k.width,
            v_width: HEAD_DIM,
            scale: 1.0 / (HEAD_DIM as f32).sqrt(),
            window: None,
        };
        plan.add_step("norm", rms(hidden, normed));
        let products = vec![product(wq, q), product(wk, k), product(wv, v)];
        plan.add_step("qkv", Op::MatMul { x: normed, products });
        plan.add_step("rope", rope(q.split(HEADS)));
        plan.add_step("rope", rope(k.split(KV_HEADS)));
        plan.add_step("write", Op::CacheWrite { x: kv, cache, start: 0 });
        let (heads, out) = (q.split(HEADS), mixed.split(HEADS));
        plan.add_step("attention", Op::Attention { q: heads, cache, shape, sinks: None, out });
        plan.add_step("o", Op::MatMul { x: mixed, products: residual(wo) });
        plan.add_step("norm", rms(hidden, normed));
        let products = vec![product(wgate, gate), product(wup, up)];
        plan.add_step("gate, up", Op::MatMul { x: normed, products });
        plan.add_step("silu", Op::GatedMul { gate, up, activation: Activation::Silu, out: gate });
        plan.add_step("down", Op::MatMul { x: gate, products: residual(wdown) });
    }
    plan.add_step("gather", Op::Gather { x: hidden, out: last });
    plan.add_step("norm", rms(last, last));
    let products = vec![Product { weight: head, bias: None, out: logits, accumulate: false }];
    plan.add_step("head", Op::MatMul { x: last, products });
    plan.logits = Some(logits.buffer);
    Ok(plan)
}

/// 64 random rows, repeated in memory of their own: as many bytes as a real weight, made quickly.
fn weight(random: &mut Random, format: &'static dyn Format, rows: usize, cols: usize) -> Result<Weight> {
    let some = random.weight(format, rows.min(64), cols)?;
    Ok(some.permute_rows(&(0..rows).map(|row| row % some.rows()).collect::<Vec<_>>()))
}

fn dense(values: &[f32]) -> Result<Weight> {
    let format = marlin_format::by_name("f32")?;
    Ok(Weight::encode(format, 1, values.len(), values, marlin_format::Rounding::default())?)
}
