//! `gpt_oss`: OpenAI's gpt-oss (transformers, `modeling_gpt_oss.py`). Attention with a learned sink a head,
//! every other layer in a window; experts with biases and a clamped SwiGLU, stored as stacks.

use marlin_kernel::plan::{Activation, Routing, Scoring};

use super::{
    Architecture, Derived,
    decoder::{self, FeedForward},
};
use crate::{
    Builder, Config, Error,
    blocks::Experts,
    transform::{Form, Fused, Transform},
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gpt_oss"],
    gguf: None,
    summary: "gpt-oss (experts in MXFP4 or dense)",
    build,
    derive,
};

/// The slope in the sigmoid of [`Activation::ClampedSwiglu`].
const ALPHA: f64 = 1.702;

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    if config.number_or("swiglu_alpha", ALPHA)? != ALPHA {
        return Err(config.unexpected("swiglu_alpha", config.get("swiglu_alpha"), "1.702"));
    }
    if config.get("rope_scaling").or(config.get("rope_parameters")).is_none() {
        return Err(config.unexpected("rope_scaling", None, "settings of type yarn"));
    }
    let bias = config.flag_or("attention_bias", true)?;
    let types = config.texts("layer_types")?;
    decoder::build(
        config,
        b,
        |layer, attention| {
            (attention.qkv_bias, attention.out_bias, attention.sinks) = (bias, bias, true);
            let slides = match &types {
                Some(types) => decoder::layer_type(config, types, layer)? == "sliding_attention",
                None => layer.is_multiple_of(2),
            };
            attention.window = if slides { config.count_opt("sliding_window")? } else { None };
            Ok(())
        },
        |_| Ok(FeedForward::Routed(experts(config)?)),
    )
}

/// The weights of the chosen experts are the softmax of their logits, which is that over all experts divided
/// by its sum over the chosen.
fn experts(config: &Config) -> Result<Experts, Error> {
    let routing = Routing {
        scoring: Scoring::Softmax,
        top_k: config.count("num_experts_per_tok")?,
        groups: 1,
        top_groups: 1,
        normalize: true,
        denominator_eps: 0.0,
        scale: 1.0,
    };
    Ok(Experts {
        router: "router",
        count: config.experts()?,
        intermediate: config.count("intermediate_size")?,
        routing,
        choice_bias: false,
        bias: true,
        activation: Activation::ClampedSwiglu { limit: config.number_or("swiglu_limit", 7.0)? as f32 },
        shared: 0,
    })
}

/// Stacks of experts become a matrix or bias of each: blocks of MXFP4 stand in rows, dense ones in columns.
fn derive(config: &Config, name: &str) -> Result<Derived, Error> {
    let Some((layer, stack)) = name.split_once(".experts.") else { return Ok(None) };
    let (stem, form) = match (stack.strip_suffix(".weight"), stack.strip_suffix("_bias")) {
        (Some(stem), _) => (stem, Form::Rows),
        (None, Some(stem)) => (stem, Form::Bias),
        (None, None) => (stack, Form::Columns),
    };
    let parts: &[(&str, Option<usize>)] = match stem {
        "gate_up_proj" => &[("gate_proj", Some(0)), ("up_proj", Some(1))],
        "down_proj" => &[("down_proj", None)],
        // A matrix of one expert, as we write them.
        _ => return Ok(None),
    };
    let (count, suffix) = (config.experts()?, if form == Form::Bias { "bias" } else { "weight" });
    let of_expert = |index: usize| {
        parts.iter().map(move |(part, half)| {
            let fused = Fused { index, count, form, half: *half };
            (format!("{layer}.experts.{index}.{part}.{suffix}"), Transform::Fused(fused))
        })
    };
    Ok(Some((0..count).flat_map(of_expert).collect()))
}
