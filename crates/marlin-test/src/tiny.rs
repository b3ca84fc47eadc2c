//! A tiny language model with random weights that uses every kernel: GLM-4.7-Flash's shape in
//! miniature, a dense layer and a layer of experts, three heads, odd widths.

use marlin_format::Weight;
use marlin_kernel::{
    Random,
    plan::{
        Activation, AttentionShape, CacheId, Expert, Op, Plan, Product, RopeStyle, Routing, Rows, Scoring,
        View, WeightId, Word,
    },
};

const VOCABULARY: usize = 29;
const HEADS: usize = 3;
/// Columns of a query head without and with rotation.
const NOPE: usize = 9;
const ROPE: usize = 6;
const VALUE: usize = 7;
const EXPERTS: usize = 5;
const TOP_K: usize = 2;

/// The model with its matrices in the format of that name.
///
/// Panics if there is no such format.
pub fn tiny_model(format: &str) -> Plan {
    let format = marlin_format::by_name(format).expect("a format of that name");
    let fit = |cols: usize| cols.next_multiple_of(format.layout().cols_multiple());
    let plan = Plan::default();
    let mut model = Model { plan, random: Random::new(47), format, hidden: fit(26), latent: fit(11) };
    model.build(fit(33));
    model.plan
}

struct Model {
    plan: Plan,
    random: Random,
    format: &'static dyn marlin_format::Format,
    hidden: usize,
    latent: usize,
}

impl Model {
    fn build(&mut self, intermediate: usize) {
        let table = self.dense("embed", VOCABULARY, self.hidden);
        let x = self.buffer("residual", self.hidden);
        let normed = self.buffer("normed", self.hidden);
        self.plan.add_step("embed", Op::Embed { table, scale: 1.5, out: x });
        for layer in 0..2 {
            self.norm(&format!("layers.{layer}.input_norm"), x, normed);
            self.attention(&format!("layers.{layer}.attention"), normed, x);
            self.norm(&format!("layers.{layer}.output_norm"), x, normed);
            match layer {
                0 => self.feed_forward("layers.0.mlp", normed, x, intermediate),
                _ => self.experts("layers.1.experts", normed, x, intermediate),
            }
        }
        let last = self.plan.add_buffer("last", Rows::Outputs, self.hidden, Word::F32);
        let logits = self.plan.add_buffer("logits", Rows::Outputs, VOCABULARY, Word::F32);
        self.plan.add_step("gather", Op::Gather { x, out: last });
        self.norm("norm", last, last);
        let head = self.matrix("head", VOCABULARY, self.hidden);
        self.product("head", last, &[(head, logits, false)]);
        self.plan.add_sampling("sample", logits);
        self.plan.logits = Some(logits.buffer);
    }

    /// Latent attention: queries taken into the latent space, one cached latent for all heads.
    fn attention(&mut self, label: &str, x: View, out: View) {
        let (latent, row_width) = (self.latent, self.latent + ROPE);
        let cache: CacheId = self.plan.add_cache(label, row_width);
        let q = self.buffer("q", HEADS * (NOPE + ROPE));
        let row = self.buffer("latent", row_width);
        let (w_q, w_row) =
            (self.matrix("q", q.len(), self.hidden), self.matrix("kv_a", row_width, self.hidden));
        self.product(&format!("{label}.q, kv_a"), x, &[(w_q, q, false), (w_row, row, false)]);
        self.norm(&format!("{label}.kv_norm"), row.inner(0, latent), row.inner(0, latent));
        let queries = self.buffer("latent queries", HEADS * row_width).split(HEADS);
        let heads = q.split(HEADS);
        self.rope(&format!("{label}.k_rope"), row.inner(latent, ROPE), row.inner(latent, ROPE));
        self.rope(&format!("{label}.q_rope"), heads.inner(NOPE, ROPE), queries.inner(latent, ROPE));
        // The weight of a head takes NOPE columns: too few for a block format.
        let weight = self.dense("k_b", HEADS * latent, NOPE);
        let (nope, absorbed) = (heads.inner(0, NOPE), queries.inner(0, latent));
        self.plan.add_step(&format!("{label}.k_b"), Op::HeadMatMul { x: nope, weight, out: absorbed });
        self.plan.add_step(&format!("{label}.write"), Op::CacheWrite { x: row, cache, start: 0 });
        let mixed = self.buffer("mixed", HEADS * latent).split(HEADS);
        let shape = AttentionShape {
            kv_heads: 1,
            k_start: 0,
            k_width: row_width,
            v_start: 0,
            v_width: latent,
            scale: 0.25,
            window: None,
        };
        self.plan.add_step(label, Op::Attention { q: queries, cache, shape, sinks: None, out: mixed });
        let values = self.buffer("values", HEADS * VALUE);
        let weight = self.matrix("v_b", HEADS * VALUE, latent);
        let out_heads = values.split(HEADS);
        self.plan.add_step(&format!("{label}.v_b"), Op::HeadMatMul { x: mixed, weight, out: out_heads });
        let weight = self.dense("o", self.hidden, HEADS * VALUE);
        self.product(&format!("{label}.o"), values, &[(weight, out, true)]);
    }

    fn feed_forward(&mut self, label: &str, x: View, out: View, intermediate: usize) {
        let (gate, up) = (self.buffer("gate", intermediate), self.buffer("up", intermediate));
        let w_gate = self.matrix("gate", intermediate, self.hidden);
        let w_up = self.matrix("up", intermediate, self.hidden);
        self.product(&format!("{label}.gate, up"), x, &[(w_gate, gate, false), (w_up, up, false)]);
        let activation = Activation::Silu;
        self.plan.add_step(&format!("{label}.gated"), Op::GatedMul { gate, up, activation, out: gate });
        let w_down = self.matrix("down", self.hidden, intermediate);
        self.product(&format!("{label}.down"), gate, &[(w_down, out, true)]);
    }

    /// Routed experts and a shared one onto the residual, and a layer added from a buffer of its own.
    fn experts(&mut self, label: &str, x: View, out: View, intermediate: usize) {
        let logits = self.buffer("router logits", EXPERTS);
        let router = self.dense("router", EXPERTS, self.hidden);
        self.product(&format!("{label}.router"), x, &[(router, logits, false)]);
        let experts = self.plan.add_buffer("experts", Rows::Tokens, TOP_K, Word::U32);
        let weights = self.buffer("expert weights", TOP_K);
        let values = [0.3, -0.2, 0.0, 0.1, -0.1];
        let bias = Some(self.add("router bias", "f32", 1, EXPERTS, &values));
        let routing = Routing {
            scoring: Scoring::Sigmoid,
            top_k: TOP_K,
            groups: 1,
            top_groups: 1,
            normalize: true,
            denominator_eps: 1e-20,
            scale: 1.8,
        };
        self.plan
            .add_step(&format!("{label}.route"), Op::MoeRoute { logits, bias, routing, experts, weights });
        let hidden = self.hidden;
        let mut bank: Vec<Expert> = (0..=EXPERTS)
            .map(|_| Expert {
                gate: self.matrix("expert gate", intermediate, hidden),
                up: self.matrix("expert up", intermediate, hidden),
                down: self.matrix("expert down", hidden, intermediate),
                bias: None,
            })
            .collect();
        let (shared, activation) = (bank.pop(), Activation::Silu);
        self.plan.add_step(
            label,
            Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation: None, out },
        );
        let shared = self.buffer("shared", hidden);
        let weight = self.matrix("shared", hidden, hidden);
        self.product(&format!("{label}.shared"), x, &[(weight, shared, false)]);
        // As layers do whose weights were rotated before they were quantized.
        let rotated = self.buffer("rotated", hidden);
        self.plan.add_step(&format!("{label}.rotate"), Op::Hadamard { x: shared, block: 2, out: rotated });
        // As layers do whose columns were sorted by group.
        let order = (0..hidden as u32).rev().collect();
        self.plan.add_step(&format!("{label}.order"), Op::Permute { x: rotated, order, out: shared });
        self.plan.add_step(&format!("{label}.add"), Op::Add { x: shared, out });
    }

    fn product(&mut self, label: &str, x: View, products: &[(WeightId, View, bool)]) {
        let product = |&(weight, out, accumulate)| Product { weight, bias: None, out, accumulate };
        self.plan.add_step(label, Op::MatMul { x, products: products.iter().map(product).collect() });
    }

    fn norm(&mut self, label: &str, x: View, out: View) {
        let values: Vec<f32> = (0..x.width).map(|_| 1.0 + 0.1 * self.random.normal()).collect();
        let weight = self.add(label, "f32", 1, x.width, &values);
        self.plan.add_step(label, Op::RmsNorm { x, weight, eps: 1e-5, out });
    }

    fn rope(&mut self, label: &str, x: View, out: View) {
        let radians: Vec<f32> = (0..ROPE / 2).map(|pair| 10f32.powi(-(pair as i32))).collect();
        let frequencies = self.add(label, "f32", 1, ROPE / 2, &radians);
        let style = RopeStyle::Interleaved;
        self.plan.add_step(label, Op::Rope { x, frequencies, style, scale: 1.0, out });
    }

    fn buffer(&mut self, label: &str, width: usize) -> View {
        self.plan.add_buffer(label, Rows::Tokens, width, Word::F32)
    }

    /// A random matrix in the model's format.
    fn matrix(&mut self, label: &str, rows: usize, cols: usize) -> WeightId {
        let weight = self.random.weight(self.format, rows, cols).expect("a random weight can be made");
        self.plan.add_weight(label, weight)
    }

    /// A random matrix in f32: tables, routers and what no block format can hold.
    fn dense(&mut self, label: &str, rows: usize, cols: usize) -> WeightId {
        let scale = 1.0 / (cols as f32).sqrt();
        let values: Vec<f32> = self.random.normals(rows * cols).iter().map(|value| scale * value).collect();
        self.add(label, "f32", rows, cols, &values)
    }

    fn add(&mut self, label: &str, format: &str, rows: usize, cols: usize, values: &[f32]) -> WeightId {
        let format = marlin_format::by_name(format).expect("a format of that name");
        let weight = Weight::encode(format, rows, cols, values, Default::default()).expect("finite values");
        self.plan.add_weight(label, weight)
    }
}
