//! `glm4_moe_lite`: GLM-4.7-Flash, multi-head latent attention and sigmoid-routed experts
//! (transformers, `modeling_glm4_moe_lite.py`; the attention is DeepSeek-V2's, arXiv 2405.04434).
//!
//! The cache holds one latent row per token, `[c | k_rope]`, and attention runs on it directly: the
//! key half of `kv_b_proj` is applied to the query and the value half to the result, so that nothing
//! is expanded per token.
//!
//! ```text
//!  h -> q_a -> norm -> q_b -> q_nope (per head) -> k_b -> | q~ (latent) | q_rope |   query
//!  h -> kv_a ----------------> norm(c), rope(k_rope) ---> |      c      | k_rope |   cache row
//!  sum of p * c (per head) -> v_b -> o_proj
//! ```

use marlin_kernel::plan::{
    Activation, AttentionShape, CacheId, Op, RopeStyle, Routing, Scoring, View, WeightId,
};

use super::{Architecture, Derived, decoder::Frame};
use crate::{
    Builder, Config, Error,
    blocks::{Experts, GatedMlp, Output, project},
    rope,
    transform::{Transform, UpProjection},
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["glm4_moe_lite"],
    gguf: Some("deepseek2"),
    summary: "GLM-4.7-Flash",
    build,
    derive,
};

/// The norms of the latents are made without an epsilon of the configuration's: transformers'
/// default holds.
const LATENT_EPS: f32 = 1e-6;

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    config.only("hidden_act", &["silu"])?;
    config.only("scoring_func", &["sigmoid"])?;
    config.only("topk_method", &["noaux_tc"])?;
    let frame = Frame::read(config, b)?;
    let attention = LatentAttention::read(config, b)?;
    let intermediate = config.count("intermediate_size")?;
    let dense = GatedMlp { intermediate, activation: Activation::Silu, bias: false };
    let experts = experts(config)?;
    let sparse = sparse_layers(config, frame.layers)?;

    let (x, h) = (frame.x, frame.h);
    let residual = Output { view: x, accumulate: true };
    frame.embed(b, 1.0);
    for (layer, is_sparse) in sparse.into_iter().enumerate() {
        let name = format!("model.layers.{layer}");
        b.rms_norm(&format!("{name}.input_layernorm"), x, frame.eps, h)?;
        attention.add(b, &format!("{name}.self_attn"), h, residual)?;
        b.rms_norm(&format!("{name}.post_attention_layernorm"), x, frame.eps, h)?;
        if is_sparse {
            experts.add(b, &format!("{name}.mlp"), h, x)?;
        } else {
            dense.add(b, &format!("{name}.mlp"), h, residual)?;
        }
    }
    let norm = b.vector("model.norm.weight", frame.hidden)?;
    frame.head(b, norm)
}

/// Which layers have experts, in either spelling: `mlp_layer_types`, or the number of dense layers.
fn sparse_layers(config: &Config, layers: usize) -> Result<Vec<bool>, Error> {
    if let Some(types) = config.texts("mlp_layer_types")? {
        let known = |kind: &&str| matches!(*kind, "dense" | "sparse");
        if types.len() < layers || !types.iter().all(known) {
            let found = config.get("mlp_layer_types");
            return Err(config.unexpected("mlp_layer_types", found, "dense or sparse for every layer"));
        }
        return Ok(types.iter().take(layers).map(|kind| *kind == "sparse").collect());
    }
    let dense = config.size_or("first_k_dense_replace", 1)?;
    Ok((0..layers).map(|layer| layer >= dense).collect())
}

fn experts(config: &Config) -> Result<Experts, Error> {
    let count = config.experts()?;
    let routing = Routing {
        scoring: Scoring::Sigmoid,
        top_k: config.count("num_experts_per_tok")?,
        groups: config.count_opt("n_group")?.unwrap_or(1),
        top_groups: config.count_opt("topk_group")?.unwrap_or(1),
        normalize: config.flag_or("norm_topk_prob", true)?,
        denominator_eps: 1e-20,
        scale: config.number_or("routed_scaling_factor", 1.0)? as f32,
    };
    let intermediate = config.count("moe_intermediate_size")?;
    let shared = intermediate * config.size_or("n_shared_experts", 1)?;
    Ok(Experts {
        router: "gate",
        count,
        intermediate,
        routing,
        choice_bias: true,
        bias: false,
        activation: Activation::Silu,
        shared,
    })
}

/// The sizes of multi-head latent attention.
#[derive(Clone, Copy, Debug)]
struct LatentSizes {
    heads: usize,
    q_latent: Option<usize>,
    latent: usize,
    nope: usize,
    rope: usize,
    v: usize,
}

impl LatentSizes {
    fn read(config: &Config) -> Result<LatentSizes, Error> {
        let sizes = LatentSizes {
            heads: config.count("num_attention_heads")?,
            q_latent: config.count_opt("q_lora_rank")?,
            latent: config.count("kv_lora_rank")?,
            nope: config.count("qk_nope_head_dim")?,
            rope: config.count("qk_rope_head_dim")?,
            v: config.count("v_head_dim")?,
        };
        if !sizes.rope.is_multiple_of(2) {
            return Err(config.unexpected(
                "qk_rope_head_dim",
                config.get("qk_rope_head_dim"),
                "an even number",
            ));
        }
        Ok(sizes)
    }
}

/// The settings of multi-head latent attention.
#[derive(Clone, Copy, Debug)]
struct LatentAttention {
    sizes: LatentSizes,
    bias: bool,
    frequencies: WeightId,
    style: RopeStyle,
    scale: f32,
}

impl LatentAttention {
    fn read(config: &Config, b: &mut Builder<'_>) -> Result<LatentAttention, Error> {
        let sizes = LatentSizes::read(config)?;
        // YaRN would also change the score's scale here; no published configuration asks for it.
        for key in ["rope_scaling", "rope_parameters"] {
            if let Some(settings) = config.section(key)? {
                settings.only("rope_type", &["default"])?;
                settings.only("type", &["default"])?;
            }
        }
        let (frequencies, _) = b.frequencies(&rope::frequencies(config, sizes.rope, 10_000.0)?)?;
        let interleaved = config.flag_or("rope_interleave", true)?;
        Ok(LatentAttention {
            sizes,
            bias: config.flag_or("attention_bias", false)?,
            frequencies,
            style: if interleaved { RopeStyle::Interleaved } else { RopeStyle::Half },
            scale: ((sizes.nope + sizes.rope) as f32).powf(-0.5),
        })
    }

    fn add(&self, b: &mut Builder<'_>, name: &str, h: View, out: Output) -> Result<(), Error> {
        let LatentSizes { heads, latent, nope, rope, v, .. } = self.sizes;
        let row = b.buffer("latent", latent + rope);
        let q = self.queries(b, name, h, row)?.split(heads);
        let (c, k_rope) = (row.inner(0, latent), row.inner(latent, rope));
        b.rms_norm(&format!("{name}.kv_a_layernorm"), c, LATENT_EPS, c)?;

        let query = b.buffer("latent_query", heads * (latent + rope)).split(heads);
        let weight = b.matrix(&format!("{name}.k_b_proj.weight"), heads * latent, nope)?;
        let absorb = Op::HeadMatMul { x: q.inner(0, nope), weight, out: query.inner(0, latent) };
        b.step(format!("{name}.k_b_proj"), absorb);
        self.rotate(b, &format!("{name}.q_rope"), q.inner(nope, rope), query.inner(latent, rope));
        self.rotate(b, &format!("{name}.k_rope"), k_rope, k_rope);

        let cache = b.plan().add_cache(name, latent + rope);
        b.step(format!("{name}.cache"), Op::CacheWrite { x: row, cache, start: 0 });
        let mixed_latent = self.attend(b, name, query, cache);
        let mixed = b.buffer("mixed", heads * v);
        let weight = b.matrix(&format!("{name}.v_b_proj.weight"), heads * v, latent)?;
        let expand = Op::HeadMatMul { x: mixed_latent, weight, out: mixed.split(heads) };
        b.step(format!("{name}.v_b_proj"), expand);
        project(b, &format!("{name}.o_proj"), mixed, out, self.bias)
    }

    /// Adds the projections of `h`: the cache row and the queries, through their latent if there is one.
    fn queries(&self, b: &mut Builder<'_>, name: &str, h: View, row: View) -> Result<View, Error> {
        let LatentSizes { heads, q_latent, nope, rope, .. } = self.sizes;
        let q = b.buffer("q", heads * (nope + rope));
        let kv_a = b.product(&format!("{name}.kv_a_proj_with_mqa"), h, row, self.bias)?;
        let Some(q_latent) = q_latent else {
            let direct = b.product(&format!("{name}.q_proj"), h, q, false)?;
            b.step(format!("{name}.q_kv_a_proj"), Op::MatMul { x: h, products: vec![direct, kv_a] });
            return Ok(q);
        };
        let q_a = b.buffer("q_a", q_latent);
        let product = b.product(&format!("{name}.q_a_proj"), h, q_a, self.bias)?;
        b.step(format!("{name}.q_kv_a_proj"), Op::MatMul { x: h, products: vec![product, kv_a] });
        b.rms_norm(&format!("{name}.q_a_layernorm"), q_a, LATENT_EPS, q_a)?;
        project(b, &format!("{name}.q_b_proj"), q_a, Output { view: q, accumulate: false }, false)?;
        Ok(q)
    }

    fn rotate(&self, b: &mut Builder<'_>, label: &str, x: View, out: View) {
        let (frequencies, style) = (self.frequencies, self.style);
        b.step(label, Op::Rope { x, frequencies, style, scale: 1.0, out });
    }

    fn attend(&self, b: &mut Builder<'_>, name: &str, q: View, cache: CacheId) -> View {
        let LatentSizes { heads, latent, rope, .. } = self.sizes;
        let shape = AttentionShape {
            kv_heads: 1,
            k_start: 0,
            k_width: latent + rope,
            v_start: 0,
            v_width: latent,
            scale: self.scale,
            window: None,
        };
        let out = b.buffer("mixed_latent", heads * latent).split(heads);
        b.step(name, Op::Attention { q, cache, shape, sinks: None, out });
        out
    }
}

/// Splits `kv_b_proj` before anything is quantized, since its key half is used transposed, and leaves
/// out the layers after the last: multi-token prediction, with copies of embedding and head.
fn derive(config: &Config, name: &str) -> Result<Derived, Error> {
    let layers = config.count("num_hidden_layers")?;
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
    if layer.is_some_and(|layer: usize| layer >= layers) {
        return Ok(Some(Vec::new()));
    }
    let Some(prefix) = name.strip_suffix(".kv_b_proj.weight") else { return Ok(None) };
    let LatentSizes { heads, nope, v, .. } = LatentSizes::read(config)?;
    let split = UpProjection { heads, k: nope, v };
    Ok(Some(vec![
        (format!("{prefix}.k_b_proj.weight"), Transform::KeyHalf(split)),
        (format!("{prefix}.v_b_proj.weight"), Transform::ValueHalf(split)),
    ]))
}
