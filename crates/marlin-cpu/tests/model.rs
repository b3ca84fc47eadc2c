//! A small random transformer: the same tokens give the same logits however they are played.

use std::ops::Range;

use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_format::Weight;
use marlin_kernel::{
    Batch, Error, Player, Precision, Random, ReferencePlayer, SequenceRows, compare_steps,
    plan::{
        Activation, AttentionShape, Expert, Op, Plan, Product, RopeStyle, Routing, Rows, Scoring, View,
        WeightId, Word,
    },
    simd::Isa,
};

const VOCABULARY: usize = 61;
const HIDDEN: usize = 96;
const HEADS: usize = 5;
const LATENT: usize = 40;
const ROPE: usize = 8;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 24;
const INTERMEDIATE: usize = 65;
const EXPERTS: usize = 7;
const TOP_K: usize = 3;
const PAGE: usize = 16;
const PAGES: usize = 40;
const TOKENS: usize = 150;

/// Builds plans; every weight random and in the next of some formats.
struct Builder {
    plan: Plan,
    random: Random,
    formats: Vec<&'static str>,
}

impl Builder {
    fn matrix(&mut self, rows: usize, cols: usize) -> WeightId {
        let format =
            marlin_format::by_name(self.formats[self.plan.weights.len() % self.formats.len()]).unwrap();
        let cols_fit = cols.is_multiple_of(format.layout().cols_multiple());
        let format = if cols_fit { format } else { marlin_format::by_name("int8").unwrap() };
        let weight = self.random.weight(format, rows, cols).unwrap();
        self.plan.add_weight("matrix", weight)
    }

    fn vector(&mut self, values: &[f32]) -> WeightId {
        let format = marlin_format::by_name("f32").unwrap();
        let weight = Weight::encode(format, 1, values.len(), values, Default::default()).unwrap();
        self.plan.add_weight("vector", weight)
    }

    fn norm(&mut self, x: View, out: View) {
        let values: Vec<f32> = (0..x.width).map(|_| 1.0 + 0.1 * self.random.normal()).collect();
        let weight = self.vector(&values);
        self.plan.add_step("norm", Op::RmsNorm { x, weight, eps: 1e-5, out });
    }

    fn matmul(&mut self, label: &str, x: View, outs: &[View], accumulate: bool) {
        let product = |weight, out: &View| Product { weight, bias: None, out: *out, accumulate };
        let products =
            outs.iter().map(|out| (self.matrix(out.len(), x.len()), out)).map(|(id, out)| product(id, out));
        let products = products.collect();
        self.plan.add_step(label, Op::MatMul { x, products });
    }

    fn buffer(&mut self, label: &str, width: usize) -> View {
        self.plan.add_buffer(label, Rows::Tokens, width, Word::F32)
    }

    /// Grouped attention with a window.
    fn grouped_attention(&mut self, normed: View, hidden: View) {
        let q = self.buffer("q", HEADS * 2 * HEAD_DIM);
        let kv = self.buffer("kv", 2 * KV_HEADS * HEAD_DIM);
        let (k, v) = (kv.inner(0, KV_HEADS * HEAD_DIM), kv.inner(KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM));
        let q = q.inner(0, 2 * KV_HEADS * HEAD_DIM);
        self.matmul("qkv", normed, &[q, k, v], false);
        let frequencies: Vec<f32> = (0..HEAD_DIM / 2).map(|i| 0.7f32.powi(i as i32)).collect();
        let frequencies = self.vector(&frequencies);
        for x in [q.split(2 * KV_HEADS), k.split(KV_HEADS)] {
            self.plan
                .add_step("rope", Op::Rope { x, frequencies, style: RopeStyle::Half, scale: 1.0, out: x });
        }
        let cache = self.plan.add_cache("cache", kv.width);
        self.plan.add_step("write", Op::CacheWrite { x: kv, cache, start: 0 });
        let out = self.buffer("mixed", 2 * KV_HEADS * HEAD_DIM);
        let shape = AttentionShape {
            kv_heads: KV_HEADS,
            k_start: 0,
            k_width: HEAD_DIM,
            v_start: k.width,
            v_width: HEAD_DIM,
            scale: 0.2,
            window: Some(37),
        };
        let (q, heads) = (q.split(2 * KV_HEADS), out.split(2 * KV_HEADS));
        self.plan.add_step("attention", Op::Attention { q, cache, shape, sinks: None, out: heads });
        self.matmul("o", out, &[hidden], true);
    }

    /// Latent attention, absorbed, over all positions.
    fn latent_attention(&mut self, normed: View, hidden: View) {
        let q = self.buffer("q", HEADS * (16 + ROPE));
        let latent = self.buffer("latent", LATENT + ROPE);
        self.matmul("q, latent", normed, &[q, latent], false);
        let frequencies: Vec<f32> = (0..ROPE / 2).map(|i| 0.3f32.powi(i as i32)).collect();
        let frequencies = self.vector(&frequencies);
        let absorbed = self.buffer("absorbed", HEADS * (LATENT + ROPE)).split(HEADS);
        let (q, rotated) = (q.split(HEADS), latent.inner(LATENT, ROPE));
        self.norm(latent.inner(0, LATENT), latent.inner(0, LATENT));
        let style = RopeStyle::Interleaved;
        for (x, out) in [(q.inner(16, ROPE), absorbed.inner(LATENT, ROPE)), (rotated, rotated)] {
            self.plan.add_step("rope", Op::Rope { x, frequencies, style, scale: 1.0, out });
        }
        let weight = self.matrix(HEADS * LATENT, 16);
        let (x, out) = (q.inner(0, 16), absorbed.inner(0, LATENT));
        self.plan.add_step("absorb", Op::HeadMatMul { x, weight, out });
        let cache = self.plan.add_cache("cache", latent.width);
        self.plan.add_step("write", Op::CacheWrite { x: latent, cache, start: 0 });
        let mixed = self.buffer("mixed", HEADS * LATENT).split(HEADS);
        let shape = AttentionShape {
            kv_heads: 1,
            k_start: 0,
            k_width: LATENT + ROPE,
            v_start: 0,
            v_width: LATENT,
            scale: 0.25,
            window: None,
        };
        self.plan.add_step("attention", Op::Attention { q: absorbed, cache, shape, sinks: None, out: mixed });
        let values = self.buffer("values", HEADS * 12);
        let weight = self.matrix(HEADS * 12, LATENT);
        self.plan.add_step("values", Op::HeadMatMul { x: mixed, weight, out: values.split(HEADS) });
        self.matmul("o", values, &[hidden], true);
    }

    fn dense(&mut self, normed: View, hidden: View) {
        let (gate, up) = (self.buffer("gate", INTERMEDIATE), self.buffer("up", INTERMEDIATE));
        self.matmul("gate, up", normed, &[gate, up], false);
        let activation = Activation::GeluTanh;
        self.plan.add_step("gelu", Op::GatedMul { gate, up, activation, out: up });
        self.matmul("down", up, &[hidden], true);
    }

    fn experts(&mut self, normed: View, hidden: View) {
        let logits = self.buffer("router", EXPERTS);
        let formats = std::mem::replace(&mut self.formats, vec!["f32"]);
        self.matmul("router", normed, &[logits], false);
        self.formats = formats;
        let experts = self.plan.add_buffer("experts", Rows::Tokens, TOP_K, Word::U32);
        let weights = self.buffer("weights", TOP_K);
        let routing = Routing {
            scoring: Scoring::Sigmoid,
            top_k: TOP_K,
            groups: 1,
            top_groups: 1,
            normalize: true,
            denominator_eps: 1e-20,
            scale: 1.8,
        };
        self.plan.add_step("route", Op::MoeRoute { logits, bias: None, routing, experts, weights });
        let expert = |it: &mut Builder| Expert {
            gate: it.matrix(INTERMEDIATE, HIDDEN),
            up: it.matrix(INTERMEDIATE, HIDDEN),
            down: it.matrix(HIDDEN, INTERMEDIATE),
            bias: None,
        };
        let bank = (0..EXPERTS).map(|_| expert(self)).collect();
        let shared = Some(expert(self));
        let (x, activation, out) = (normed, Activation::Silu, hidden);
        self.plan.add_step(
            "experts",
            Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation: None, out },
        );
    }
}

fn plan(formats: &[&'static str]) -> Plan {
    let mut builder = Builder { plan: Plan::default(), random: Random::new(3), formats: formats.to_vec() };
    let (hidden, normed) = (builder.buffer("hidden", HIDDEN), builder.buffer("normed", HIDDEN));
    let table = builder.matrix(VOCABULARY, HIDDEN);
    builder.plan.add_step("embed", Op::Embed { table, scale: 8.0, out: hidden });
    builder.norm(hidden, normed);
    builder.grouped_attention(normed, hidden);
    builder.norm(hidden, normed);
    builder.dense(normed, hidden);
    builder.norm(hidden, normed);
    builder.latent_attention(normed, hidden);
    builder.norm(hidden, normed);
    builder.experts(normed, hidden);
    let mut plan = builder.plan;
    let last = plan.add_buffer("last", Rows::Outputs, HIDDEN, Word::F32);
    plan.add_step("gather", Op::Gather { x: hidden, out: last });
    let logits = plan.add_buffer("logits", Rows::Outputs, VOCABULARY, Word::F32);
    let products = vec![Product { weight: table, bias: None, out: logits, accumulate: false }];
    plan.add_step("head", Op::MatMul { x: last, products });
    plan.logits = Some(logits.buffer);
    plan
}

const QUANTIZED: &[&str] = &["fp4", "int4", "int8", "mxfp4", "int4-sym-g32", "q4_0", "q8_0"];
const EXACT: &[&str] = &["f32", "bf16", "fp4"];

fn options(precision: Precision, threads: usize) -> CpuOptions {
    let isa = Some(Isa::best());
    CpuOptions { threads, isa, precision, cache: Some(CacheType::F32), page_size: PAGE, pages: PAGES }
}

fn player(formats: &[&'static str], options: &CpuOptions) -> CpuPlayer {
    CpuPlayer::new(plan(formats), options).unwrap()
}

/// The token of sequence `sequence` at `position`.
fn token(sequence: usize, position: usize) -> u32 {
    ((position * 31 + sequence * 17 + position * position / 7) % VOCABULARY) as u32
}

/// Positions `positions` of a sequence, all logits wanted.
fn batch(parts: &[(usize, Range<usize>, &[u32])]) -> Batch {
    let mut batch = Batch::default();
    for (sequence, positions, pages) in parts {
        let start = batch.tokens.len();
        batch.tokens.extend(positions.clone().map(|position| token(*sequence, position)));
        batch.positions.extend(positions.clone().map(|position| position as u32));
        batch.sequences.push(SequenceRows { rows: start..batch.tokens.len(), pages: pages.to_vec() });
    }
    batch.outputs = (0..batch.tokens.len() as u32).collect();
    batch
}

/// Logits of all tokens of sequence 0, played in chunks of `chunk` on `pages`.
fn logits(player: &mut CpuPlayer, chunk: usize, pages: &[u32]) -> Vec<f32> {
    let chunks = (0..TOKENS).step_by(chunk).map(|start| start..TOKENS.min(start + chunk));
    chunks.flat_map(|positions| player.play(&batch(&[(0, positions, pages)])).unwrap()).collect()
}

fn pages() -> Vec<u32> {
    (0..TOKENS.div_ceil(PAGE) as u32).collect()
}

#[test]
fn every_step_agrees_with_the_reference() {
    for (formats, precision) in [(EXACT, Precision::Exact), (QUANTIZED, Precision::Int8Activations)] {
        let mut tested = player(formats, &options(precision, 2));
        let mut truth = ReferencePlayer::new(plan(formats), PAGE, PAGES).unwrap();
        for positions in [0..40, 40..41, 41..45] {
            let batch = batch(&[(0, positions, &pages())]);
            let difference = compare_steps(&mut tested, &mut truth, &batch, precision).unwrap();
            assert!(difference.is_none(), "{precision:?}: {}", difference.unwrap());
        }
    }
}

#[test]
fn chunks_of_a_prompt_give_the_same_bits() {
    for (formats, precision) in [(EXACT, Precision::Exact), (QUANTIZED, Precision::Int8Activations)] {
        for isa in Isa::available() {
            let mut player = player(formats, &CpuOptions { isa: Some(isa), ..options(precision, 1) });
            let whole = logits(&mut player, TOKENS, &pages());
            assert!(whole.iter().all(|value| value.is_finite()) && whole.iter().any(|value| *value != 0.0));
            for chunk in [1, 7, 32] {
                let found = logits(&mut player, chunk, &pages());
                assert!(found == whole, "{isa}, {precision:?}, chunks of {chunk}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (formats, precision) in [(EXACT, Precision::Exact), (QUANTIZED, Precision::Int8Activations)] {
        let [one, two, three] = [1, 2, 3].map(|threads| {
            let mut player = player(formats, &options(precision, threads));
            (logits(&mut player, 64, &pages()), logits(&mut player, 1, &pages()))
        });
        assert!(one == two && one == three, "{precision:?}");
    }
}

#[test]
fn any_pages_give_the_same_bits() {
    let mut player = player(QUANTIZED, &options(Precision::Int8Activations, 2));
    let expected = logits(&mut player, 50, &pages());
    let mut random = Random::new(8);
    for _ in 0..3 {
        let order: Vec<u32> = random.permutation(PAGES).into_iter().map(|page| page as u32).collect();
        assert!(logits(&mut player, 50, &order[..pages().len()]) == expected, "{order:?}");
    }
}

#[test]
fn sequences_played_together_do_not_mix() {
    let mut player = player(QUANTIZED, &options(Precision::Int8Activations, 2));
    let (one, two): (Vec<u32>, Vec<u32>) = ((0..8).collect(), (8..16).collect());
    let alone = player.play(&batch(&[(1, 0..30, &one)])).unwrap();
    player.play(&batch(&[(1, 0..20, &one), (2, 0..50, &two)])).unwrap();
    let together = player.play(&batch(&[(2, 50..51, &two), (1, 20..30, &one)])).unwrap();
    assert!(together[VOCABULARY..] == alone[20 * VOCABULARY..]);
}

#[test]
fn a_half_precision_cache_is_close() {
    let exact = logits(&mut player(EXACT, &options(Precision::Exact, 1)), TOKENS, &pages());
    let options = CpuOptions { cache: Some(CacheType::F16), ..options(Precision::Exact, 1) };
    let half = logits(&mut player(EXACT, &options), TOKENS, &pages());
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    let mut errors: Vec<f64> = exact
        .chunks(VOCABULARY)
        .zip(half.chunks(VOCABULARY))
        .map(|(a, b)| norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied()))
        .collect();
    errors.sort_by(f64::total_cmp);
    // A router's near-tie may fall the other way in a few rows.
    let (middle, most) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    assert!(middle > 0.0 && middle < 2e-3 && most < 0.5, "{middle:e} in the middle, {most:e} at most");
}

#[test]
fn caches_that_do_not_fit_are_refused() {
    for pages in [1 << 40, usize::MAX] {
        let options = CpuOptions { pages, ..options(Precision::Exact, 1) };
        let error = CpuPlayer::new(plan(EXACT), &options).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error}");
        assert!(error.to_string().contains("GiB"), "{error}");
    }
}

#[test]
fn the_description_names_the_path() {
    for isa in Isa::available() {
        let options = CpuOptions { isa: Some(isa), ..options(Precision::Int8Activations, 2) };
        let found = player(QUANTIZED, &options).describe();
        assert_eq!(found, format!("cpu, {isa}, 2 threads, int8 activations, f32 cache"));
    }
}

#[test]
fn a_wrong_batch_is_refused_and_the_player_lives_on() {
    let mut player = player(EXACT, &options(Precision::Exact, 2));
    assert!(player.play(&batch(&[(0, 0..20, &[0])])).is_err());
    assert!(player.play(&batch(&[(0, 0..20, &[0, PAGES as u32])])).is_err());
    let id = player.plan().logits.unwrap();
    player.begin(&batch(&[(0, 0..3, &[0])])).unwrap();
    assert!(player.write(id, &[0.0]).is_err());
    assert_eq!(player.play(&batch(&[(0, 0..20, &[0, 1])])).unwrap().len(), 20 * VOCABULARY);
}
