//! Work to be timed: one step of a real model's shape, several times on memory of its own, so that no
//! cache holds what it reads. What `bench kernels` and [`Tuning::measure`] play.

use std::{ops::Range, sync::Arc};

use marlin_format::{Format, Parts, Weight};
use marlin_kernel::{
    Batch, Player, Random, SequenceRows,
    plan::{
        Activation, AttentionShape, BufferId, CacheId, Expert, Op, Plan, Product, RopeStyle, Routing, Rows,
        Scoring, View, Word,
    },
};

use crate::{CacheType, Error, Gpu, GpuOptions, GpuPlayer, Tuning};

/// Tokens of a cache page.
pub const PAGE: usize = 32;

/// Cache rows that are filled at once.
const FILL_ROWS: usize = 512;

/// How many copies of a step there are.
#[derive(Clone, Copy, Debug)]
pub struct Cold {
    /// Bytes that all copies should read together: more than caches hold.
    pub bytes: usize,
    /// Copies at most.
    pub copies: usize,
}

/// Enough for any device.
pub const COLD: Cold = Cold { bytes: 256 << 20, copies: 24 };

/// One thing to measure.
#[derive(Clone, Debug)]
pub struct Work {
    /// The kernel.
    pub kernel: &'static str,
    /// Model, place and sizes: `glm lm_head [154880, 2048]`.
    pub shape: String,
    /// The weight's format, if it has one.
    pub format: Option<&'static str>,
    /// Rows of the batch.
    pub rows: usize,
    /// Copies of one step; then, for each of its caches, a step that fills it.
    pub plan: Plan,
    /// Steps that are measured: the copies.
    pub copies: usize,
    /// What fills the caches.
    pub fill: Option<View>,
    /// The batch.
    pub batch: Batch,
}

/// A matrix of a model: where it is, rows, columns.
pub const MATRICES: &[(&str, usize, usize)] = &[
    ("glm lm_head", 154_880, 2048),
    ("glm q_b", 5120, 768),
    ("glm o", 2048, 5120),
    ("glm dense gate", 10_240, 2048),
    ("llama-3-8b lm_head", 128_256, 4096),
    ("llama-3-8b q", 4096, 4096),
    ("llama-3-8b gate", 14_336, 4096),
    ("llama-3-8b down", 4096, 14_336),
];

/// Attention of a model: name, heads, key/value heads, key width, value width, whether it is latent.
pub const ATTENTION: &[(&str, usize, usize, usize, usize, bool)] =
    &[("glm latent", 20, 1, 576, 512, true), ("llama-3-8b", 32, 8, 128, 128, false)];

/// A product of `rows` rows.
pub fn product(
    name: &str,
    format: &'static dyn Format,
    rows: usize,
    outs: usize,
    cols: usize,
    cold: Cold,
) -> Work {
    let mut plan = Plan::default();
    let weight = tiled(format, outs, cols);
    let copies = cold.copies(weight.len_bytes());
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let out = plan.add_buffer("out", Rows::Tokens, outs, Word::F32);
    for _ in 0..copies {
        let weight = plan.add_weight("weight", weight.clone());
        let products = vec![Product { weight, bias: None, out, accumulate: false }];
        plan.add_step("product", Op::MatMul { x, products });
    }
    work("matmul", format!("{name} [{outs}, {cols}]"), Some(format), plan, 0, rows)
}

/// Attention of `rows` rows, the last of them at position `depth - 1`, over caches of values of `bytes`
/// bytes; `at` is a place in [`ATTENTION`].
pub fn attention(at: usize, rows: usize, depth: usize, bytes: usize, cold: Cold) -> Work {
    let (name, heads, kv_heads, k_width, v_width, latent) = ATTENTION[at];
    let mut plan = Plan::default();
    let keys = kv_heads * k_width;
    let width = if latent { keys } else { keys + kv_heads * v_width };
    let shape = AttentionShape {
        kv_heads,
        k_start: 0,
        k_width,
        v_start: if latent { 0 } else { keys },
        v_width,
        scale: (k_width as f32).powf(-0.5),
        window: None,
    };
    let q = plan.add_buffer("q", Rows::Tokens, heads * k_width, Word::F32).split(heads);
    let out = plan.add_buffer("out", Rows::Tokens, heads * v_width, Word::F32).split(heads);
    let caches: Vec<CacheId> =
        (0..cold.copies(depth * width * bytes)).map(|_| plan.add_cache("cache", width)).collect();
    for &cache in &caches {
        plan.add_step("attention", Op::Attention { q, cache, shape, sinks: None, out });
    }
    let row = plan.add_buffer("row", Rows::Tokens, width, Word::F32);
    let mut work = work("attention", format!("{name}, {depth} positions"), None, plan, depth - rows, rows);
    for cache in caches {
        work.plan.add_step("fill", Op::CacheWrite { x: row, cache, start: 0 });
    }
    Work { fill: Some(row), ..work }
}

/// Sizes of a bank of experts.
#[derive(Clone, Copy, Debug)]
pub struct ExpertSizes {
    /// Columns of gate and up, rows of down.
    pub hidden: usize,
    /// Rows of gate and up, columns of down.
    pub inner: usize,
    /// Experts, without the shared one.
    pub count: usize,
    /// Experts of a row, without the shared one.
    pub chosen: usize,
}

/// GLM-4.7-Flash's experts.
pub const GLM_EXPERTS: ExpertSizes = ExpertSizes { hidden: 2048, inner: 1536, count: 64, chosen: 4 };

/// Two banks of experts, each with a shared one.
pub fn experts(name: &str, format: &'static dyn Format, rows: usize, sizes: &ExpertSizes) -> Work {
    let ExpertSizes { hidden, inner: intermediate, count, chosen: top_k } = *sizes;
    let mut plan = Plan::default();
    let x = plan.add_buffer("x", Rows::Tokens, hidden, Word::F32);
    let experts = plan.add_buffer("experts", Rows::Tokens, top_k, Word::U32);
    let weights = plan.add_buffer("weights", Rows::Tokens, top_k, Word::F32);
    let out = plan.add_buffer("out", Rows::Tokens, hidden, Word::F32);
    let (gate, down) = (tiled(format, intermediate, hidden), tiled(format, hidden, intermediate));
    let mut expert = || Expert {
        gate: plan.add_weight("gate", gate.clone()),
        up: plan.add_weight("up", gate.clone()),
        down: plan.add_weight("down", down.clone()),
        bias: None,
    };
    let banks: Vec<(Vec<Expert>, Expert)> =
        (0..2).map(|_| ((0..count).map(|_| expert()).collect(), expert())).collect();
    for (bank, shared) in banks {
        let (shared, activation, rotation) = (Some(shared), Activation::Silu, None);
        plan.add_step(
            "experts",
            Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out },
        );
    }
    let shape = format!("{name} {count} experts, {top_k} chosen, 1 shared");
    work("moe_experts", shape, Some(format), plan, 0, rows)
}

/// The row-wise kernels, routing, embedding and sampling on GLM-4.7-Flash's shapes.
pub fn small(rows: usize) -> Vec<Work> {
    let f32_vector = |plan: &mut Plan, len: usize| {
        let values = Random::new(3).normals(len);
        plan.add_weight("vector", Weight::from_f32(1, len, &values).expect("one row of len values"))
    };
    let mut works = Vec::new();
    let mut add = |kernel, shape: &str, build: &mut dyn FnMut(&mut Plan)| {
        let mut plan = Plan::default();
        build(&mut plan);
        works.push(work(kernel, shape.to_owned(), None, plan, 0, rows));
    };
    let buffer = |plan: &mut Plan, width: usize| plan.add_buffer("x", Rows::Tokens, width, Word::F32);
    add("rms_norm", "glm hidden 2048", &mut |plan| {
        let (x, out, weight) = (buffer(plan, 2048), buffer(plan, 2048), f32_vector(plan, 2048));
        plan.add_step("norm", Op::RmsNorm { x, weight, eps: 1e-5, out });
    });
    add("rope", "glm 20 heads of 64", &mut |plan| {
        let (x, frequencies) = (buffer(plan, 1280).split(20), f32_vector(plan, 32));
        let style = RopeStyle::Interleaved;
        plan.add_step("rope", Op::Rope { x, frequencies, style, scale: 1.0, out: x });
    });
    add("gated_mul", "glm dense 10240", &mut |plan| {
        let (gate, up) = (buffer(plan, 10_240), buffer(plan, 10_240));
        plan.add_step("act", Op::GatedMul { gate, up, activation: Activation::Silu, out: gate });
    });
    add("add", "glm hidden 2048", &mut |plan| {
        let (x, out) = (buffer(plan, 2048), buffer(plan, 2048));
        plan.add_step("add", Op::Add { x, out });
    });
    add("moe_route", "glm 64 experts, 4 chosen", &mut |plan| {
        let (logits, bias) = (buffer(plan, 64), f32_vector(plan, 64));
        let experts = plan.add_buffer("experts", Rows::Tokens, 4, Word::U32);
        let weights = buffer(plan, 4);
        let routing = Routing {
            scoring: Scoring::Sigmoid,
            top_k: 4,
            groups: 1,
            top_groups: 1,
            normalize: true,
            denominator_eps: 1e-20,
            scale: 1.8,
        };
        plan.add_step("route", Op::MoeRoute { logits, bias: Some(bias), routing, experts, weights });
    });
    works
}

/// GLM-4.7-Flash's heads on both sides of its latent.
pub fn heads(format: &'static dyn Format, rows: usize) -> Work {
    let (heads, outs, width) = (20, 512, 192);
    let mut plan = Plan::default();
    let weight = tiled(format, heads * outs, width);
    let x = plan.add_buffer("x", Rows::Tokens, heads * width, Word::F32).split(heads);
    let out = plan.add_buffer("out", Rows::Tokens, heads * outs, Word::F32).split(heads);
    for _ in 0..COLD.copies(weight.len_bytes()) {
        let weight = plan.add_weight("weight", weight.clone());
        plan.add_step("heads", Op::HeadMatMul { x, weight, out });
    }
    work("head_matmul", "glm k_b 20 x [512, 192]".to_owned(), Some(format), plan, 0, rows)
}

fn work(
    kernel: &'static str,
    shape: String,
    format: Option<&'static dyn Format>,
    plan: Plan,
    first: usize,
    rows: usize,
) -> Work {
    let batch = batch(first..first + rows);
    let (format, copies) = (format.map(|format| format.name()), plan.steps.len());
    Work { kernel, shape, format, rows, plan, copies, fill: None, batch }
}

/// One sequence's rows at these positions.
pub fn batch(positions: Range<usize>) -> Batch {
    let pages = positions.end.div_ceil(PAGE) as u32;
    Batch {
        tokens: vec![0; positions.len()],
        sequences: vec![SequenceRows { rows: 0..positions.len(), pages: (0..pages).collect() }],
        positions: positions.map(|position| position as u32).collect(),
        ..Batch::default()
    }
}

impl Cold {
    /// Copies of a step that reads so many bytes, at least 2.
    fn copies(self, bytes: usize) -> usize {
        self.bytes.div_ceil(bytes.max(1)).clamp(2, self.copies.max(2))
    }
}

impl Work {
    /// The same for each of `sequences` sequences, which have their own pages.
    pub fn side_by_side(mut self, sequences: usize) -> Work {
        let (rows, pages) = (self.rows, self.pages());
        let sequence = |at: usize| SequenceRows {
            rows: at * rows..(at + 1) * rows,
            pages: (at * pages..(at + 1) * pages).map(|page| page as u32).collect(),
        };
        self.batch = Batch {
            tokens: self.batch.tokens.repeat(sequences),
            positions: self.batch.positions.repeat(sequences),
            sequences: (0..sequences).map(sequence).collect(),
            ..Batch::default()
        };
        if sequences > 1 {
            self.shape.push_str(&format!(", {sequences} sequences"));
        }
        self.rows *= sequences;
        self
    }

    /// Pages of the caches.
    fn pages(&self) -> usize {
        self.batch.sequences.iter().map(|sequence| sequence.pages.len()).sum()
    }

    /// A player with full caches that has taken the batch and its inputs: ready to be timed.
    ///
    /// # Errors
    /// As [`GpuPlayer::new`].
    pub fn player(&self, gpu: &Arc<Gpu>, tuning: Tuning) -> Result<GpuPlayer, Error> {
        let cache = if gpu.info.f16 { CacheType::F16 } else { CacheType::F32 };
        let pages = self.pages();
        let options = GpuOptions { cache: Some(cache), page_size: PAGE, pages, memory: None, tuning };
        let mut player = GpuPlayer::new(self.plan.clone(), gpu, &options)?;
        self.fill_caches(&mut player)?;
        player.begin(&self.batch)?;
        for at in 0..self.plan.buffers.len() {
            player.write(BufferId(at as u32), &self.input(at))?;
        }
        Ok(player)
    }

    /// Plays the steps that fill the caches: every page, as if they were one sequence's.
    fn fill_caches(&self, player: &mut GpuPlayer) -> Result<(), Error> {
        let Some(row) = self.fill else { return Ok(()) };
        let total = self.pages() * PAGE;
        let values = Random::new(5).normals(FILL_ROWS * row.width);
        for start in (0..total).step_by(FILL_ROWS) {
            let end = total.min(start + FILL_ROWS);
            player.begin(&batch(start..end))?;
            player.write(row.buffer, &values[..(end - start) * row.width])?;
            player.run(self.copies..self.plan.steps.len())?;
        }
        Ok(())
    }

    /// Input of a buffer: normal values, or experts (that exist, where a bank is read).
    fn input(&self, buffer: usize) -> Vec<f32> {
        let description = &self.plan.buffers[buffer];
        let mut random = Random::new(buffer as u64 + 1);
        match description.word {
            Word::F32 => random.normals(self.rows * description.width),
            Word::U32 => {
                let row = |random: &mut Random| {
                    let experts = self.experts().max(description.width);
                    random.permutation(experts).into_iter().take(description.width)
                };
                let words = (0..self.rows).flat_map(|_| row(&mut random).collect::<Vec<_>>());
                words.map(|word| f32::from_bits(word as u32)).collect()
            }
        }
    }

    /// Experts that can be chosen.
    fn experts(&self) -> usize {
        let bank = |op: &Op| if let Op::MoeExperts { bank, .. } = op { Some(bank.len()) } else { None };
        self.plan.steps.iter().find_map(|step| bank(&step.op)).unwrap_or(1)
    }
}

/// A weight of any size whose rows repeat some random ones: it decodes like any other, and takes no time
/// to make.
fn tiled(format: &'static dyn Format, rows: usize, cols: usize) -> Weight {
    const DISTINCT: usize = 64;
    let some = Random::new(7).weight(format, DISTINCT.min(rows), cols).expect("a random weight can be made");
    let repeat = |stream: &[u8]| {
        let row = stream.len() / some.rows();
        let mut bytes = Vec::with_capacity(rows * row);
        while bytes.len() < rows * row {
            let rest = rows * row - bytes.len();
            bytes.extend_from_slice(&stream[..rest.min(stream.len())]);
        }
        bytes.into()
    };
    let parts = some.parts();
    let parts = Parts {
        codes: repeat(&parts.codes),
        scales: repeat(&parts.scales),
        zeros: repeat(&parts.zeros),
        ..parts.clone()
    };
    Weight::new(format, rows, cols, parts).expect("whole rows repeated")
}
