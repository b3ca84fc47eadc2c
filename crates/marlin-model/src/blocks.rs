//! The blocks decoders are made of: attention with grouped heads, the gated feed-forward, experts.
//!
//! A block reads the normalised `h`, and either adds its result to the residual stream or leaves it in
//! `out`. An architecture file says which blocks, with which settings.

use marlin_kernel::plan::{
    Activation, AttentionShape, Expert, ExpertBias, Op, RopeStyle, Routing, View, WeightId,
};

use crate::{Builder, Config, Error};

/// Where a block leaves its result.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The view.
    pub view: View,
    /// Whether the result is added to it.
    pub accumulate: bool,
}

/// Attention with heads that share keys and values (arXiv 2305.13245).
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the output.
    pub out_bias: bool,
    /// RMS norm of each query and key head.
    pub head_norm: Option<HeadNorm>,
    /// Rotary frequencies and their scale.
    pub rope: (WeightId, f32),
    /// Multiplied into the scores.
    pub scale: f32,
    /// Sliding window.
    pub window: Option<usize>,
    /// A learned sink for each query head.
    pub sinks: bool,
}

/// The norm of query and key heads.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm {
    /// Epsilon.
    pub eps: f32,
    /// How the stored weight is read: as it is, or plus one (gemma).
    pub map: fn(f32) -> f32,
}

impl SelfAttention {
    /// The usual settings of llama-like configurations: no biases, no norms, scale `head_dim^-1/2`.
    ///
    /// # Errors
    /// [`Error::Config`] when the heads do not divide.
    pub fn from_config(config: &Config, rope: (WeightId, f32)) -> Result<SelfAttention, Error> {
        let (heads, kv_heads, head_dim) = heads(config)?;
        Ok(SelfAttention {
            heads,
            kv_heads,
            head_dim,
            qkv_bias: false,
            out_bias: false,
            head_norm: None,
            rope,
            scale: (head_dim as f32).powf(-0.5),
            window: None,
            sinks: false,
        })
    }

    /// Adds the block `name`, such as `model.layers.0.self_attn`.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn add(&self, b: &mut Builder<'_>, name: &str, h: View, out: Output) -> Result<(), Error> {
        let (heads, kv_heads, dim) = (self.heads, self.kv_heads, self.head_dim);
        let kv_width = kv_heads * dim;
        let q = b.buffer("q", heads * dim);
        let kv = b.buffer("kv", 2 * kv_width);
        let (k, v) = (View::columns(kv.buffer, 0, kv_width), View::columns(kv.buffer, kv_width, kv_width));
        let products = vec![
            b.product(&format!("{name}.q_proj"), h, q, self.qkv_bias)?,
            b.product(&format!("{name}.k_proj"), h, k, self.qkv_bias)?,
            b.product(&format!("{name}.v_proj"), h, v, self.qkv_bias)?,
        ];
        b.step(format!("{name}.qkv_proj"), Op::MatMul { x: h, products });

        let (q, k) = (q.split(heads), k.split(kv_heads));
        for (part, x) in [("q", q), ("k", k)] {
            if let Some(HeadNorm { eps, map }) = self.head_norm {
                let label = format!("{name}.{part}_norm");
                let weight = b.vector_with(&format!("{label}.weight"), dim, map)?;
                b.step(label, Op::RmsNorm { x, weight, eps, out: x });
            }
            let (frequencies, scale) = self.rope;
            let rope = Op::Rope { x, frequencies, style: RopeStyle::Half, scale, out: x };
            b.step(format!("{name}.{part}_rope"), rope);
        }

        let cache = b.plan().add_cache(name, 2 * kv_width);
        b.step(format!("{name}.cache"), Op::CacheWrite { x: kv, cache, start: 0 });
        let shape = AttentionShape {
            kv_heads,
            k_start: 0,
            k_width: dim,
            v_start: kv_width,
            v_width: dim,
            scale: self.scale,
            window: self.window,
        };
        let mixed = b.buffer("mixed", heads * dim);
        let sinks = if self.sinks { Some(b.vector(&format!("{name}.sinks"), heads)?) } else { None };
        b.step(name, Op::Attention { q, cache, shape, sinks, out: mixed.split(heads) });
        project(b, &format!("{name}.o_proj"), mixed, out, self.out_bias)
    }
}

/// Heads, key/value heads and head width of a configuration.
///
/// # Errors
/// [`Error::Config`] when the heads do not divide, or the width is odd.
pub fn heads(config: &Config) -> Result<(usize, usize, usize), Error> {
    let heads = config.count("num_attention_heads")?;
    let kv_heads = config.count_opt("num_key_value_heads")?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let found = config.get("num_key_value_heads");
        return Err(config.unexpected("num_key_value_heads", found, &format!("a divisor of {heads} heads")));
    }
    let head_dim = match config.count_opt("head_dim")? {
        Some(head_dim) => head_dim,
        None => config.count("hidden_size")? / heads,
    };
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        return Err(config.unexpected("head_dim", config.get("head_dim"), "an even number of at least 2"));
    }
    Ok((heads, kv_heads, head_dim))
}

/// `out = W x`, or `out += W x`.
///
/// # Errors
/// As [`Builder::matrix`].
pub fn project(b: &mut Builder<'_>, name: &str, x: View, out: Output, bias: bool) -> Result<(), Error> {
    let mut product = b.product(name, x, out.view, bias)?;
    product.accumulate = out.accumulate;
    b.step(name, Op::MatMul { x, products: vec![product] });
    Ok(())
}

/// The gated feed-forward `down(act(gate h) * (up h))` (arXiv 2002.05202), what `down` multiplies rotated if
/// the builder says so.
#[derive(Clone, Copy, Debug)]
pub struct GatedMlp {
    /// Columns between.
    pub intermediate: usize,
    /// The gate's function.
    pub activation: Activation,
    /// Biases on all three.
    pub bias: bool,
}

impl GatedMlp {
    /// Adds the block `name`, such as `model.layers.0.mlp`.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn add(&self, b: &mut Builder<'_>, name: &str, h: View, out: Output) -> Result<(), Error> {
        let gate = b.buffer("gate", self.intermediate);
        let up = b.buffer("up", self.intermediate);
        let products = vec![
            b.product(&format!("{name}.gate_proj"), h, gate, self.bias)?,
            b.product(&format!("{name}.up_proj"), h, up, self.bias)?,
        ];
        b.step(format!("{name}.gate_up_proj"), Op::MatMul { x: h, products });
        b.step(format!("{name}.act"), Op::GatedMul { gate, up, activation: self.activation, out: gate });
        let hidden = match b.rotation() {
            Some(block) => {
                b.step(format!("{name}.rotate"), Op::Hadamard { x: gate, block, out: up });
                up
            }
            None => gate,
        };
        project(b, &format!("{name}.down_proj"), hidden, out, self.bias)
    }
}

/// A router, its experts and those that every token uses; the result is added to the output.
#[derive(Clone, Copy, Debug)]
pub struct Experts {
    /// What the router is called: `gate` or `router`.
    pub router: &'static str,
    /// Experts there are.
    pub count: usize,
    /// Columns between, in each.
    pub intermediate: usize,
    /// How they are chosen.
    pub routing: Routing,
    /// Whether the router has a bias for the choice.
    pub choice_bias: bool,
    /// Biases on the router and on all products of an expert.
    pub bias: bool,
    /// How gate and up become one.
    pub activation: Activation,
    /// Columns between of the shared experts, all together; 0 for none.
    pub shared: usize,
}

impl Experts {
    /// Adds the block `name`, such as `model.layers.1.mlp`.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn add(&self, b: &mut Builder<'_>, name: &str, h: View, out: View) -> Result<(), Error> {
        let logits = b.buffer("router", self.count);
        let router = format!("{name}.{}", self.router);
        let product = b.product(&router, h, logits, self.bias)?;
        b.step(&router, Op::MatMul { x: h, products: vec![product] });

        let bias = if self.choice_bias {
            Some(b.vector(&format!("{router}.e_score_correction_bias"), self.count)?)
        } else {
            None
        };
        let experts = b.index_buffer("experts", self.routing.top_k);
        let weights = b.buffer("expert_weights", self.routing.top_k);
        b.step(
            format!("{name}.route"),
            Op::MoeRoute { logits, bias, routing: self.routing, experts, weights },
        );

        let bank = (0..self.count).map(|index| self.expert(b, &format!("{name}.experts.{index}"), h, out));
        let bank = bank.collect::<Result<Vec<Expert>, Error>>()?;
        // An expert as wide as the others is one more of them; another width is a step of its own.
        let alike = self.shared == self.intermediate;
        let shared_name = format!("{name}.shared_experts");
        let shared = if alike { Some(self.expert(b, &shared_name, h, out)?) } else { None };
        let (activation, rotation) = (self.activation, b.rotation());
        b.step(
            format!("{name}.experts"),
            Op::MoeExperts { x: h, experts, weights, bank, shared, activation, rotation, out },
        );
        if alike || self.shared == 0 {
            return Ok(());
        }
        let mlp = GatedMlp { intermediate: self.shared, activation, bias: self.bias };
        mlp.add(b, &shared_name, h, Output { view: out, accumulate: true })
    }

    fn expert(&self, b: &mut Builder<'_>, name: &str, h: View, out: View) -> Result<Expert, Error> {
        let bias = if self.bias {
            Some(ExpertBias {
                gate: b.vector(&format!("{name}.gate_proj.bias"), self.intermediate)?,
                up: b.vector(&format!("{name}.up_proj.bias"), self.intermediate)?,
                down: b.vector(&format!("{name}.down_proj.bias"), out.len())?,
            })
        } else {
            None
        };
        Ok(Expert {
            gate: b.matrix(&format!("{name}.gate_proj.weight"), self.intermediate, h.len())?,
            up: b.matrix(&format!("{name}.up_proj.weight"), self.intermediate, h.len())?,
            down: b.matrix(&format!("{name}.down_proj.weight"), out.len(), self.intermediate)?,
            bias,
        })
    }
}
