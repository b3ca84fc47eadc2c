//! GGUF under Hugging Face's names: metadata as a configuration, tensor names by one table.
//!
//! Names as in llama.cpp, `gguf-py/gguf/constants.py` and `tensor_mapping.py`.

mod export;
mod metadata;

pub use export::{Exported, Origin, export, metadata};
pub use metadata::{architecture, config};

use crate::{Config, Error, arch::Architecture, blocks, transform::Transform};

/// Tensors outside the layers.
const GLOBAL: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
    ("rope_freqs.weight", "rope_freqs.weight"),
];

/// Tensors of layer L: `blk.L.{left}` is `model.layers.L.{right}`.
const LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_a_norm", "self_attn.q_a_layernorm"),
    ("attn_q_b", "self_attn.q_b_proj"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    ("attn_kv_b", "self_attn.kv_b_proj"),
    ("attn_k_b", "self_attn.k_b_proj"),
    ("attn_v_b", "self_attn.v_b_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

/// Stacks of experts: `blk.L.{left}.weight` is `model.layers.L.mlp.experts.E.{right}.weight`.
const EXPERTS: &[(&str, &str)] =
    &[("ffn_gate_exps", "gate_proj"), ("ffn_up_exps", "up_proj"), ("ffn_down_exps", "down_proj")];

/// The bias of the router, by which experts are chosen.
const ROUTER_BIAS: (&str, &str) = ("exp_probs_b.bias", "mlp.gate.e_score_correction_bias");

/// The names in a layer of an architecture. The norm before the feed-forward is the second of two, or in
/// gemma the third of four.
fn layer_names(architecture: &Architecture) -> impl Iterator<Item = (&'static str, &'static str)> {
    let norm = match architecture.gguf {
        Some("gemma3") => "pre_feedforward_layernorm",
        _ => "post_attention_layernorm",
    };
    [("ffn_norm", norm)].into_iter().chain(LAYER.iter().copied())
}

/// Our names for a GGUF's tensor, with the way to each; none for a tensor that no architecture uses.
///
/// # Errors
/// [`Error::Config`] when the sizes a name depends on are missing.
pub fn tensors(
    config: &Config,
    architecture: &Architecture,
    name: &str,
) -> Result<Vec<(String, Transform)>, Error> {
    if let Some((_, ours)) = GLOBAL.iter().find(|(theirs, _)| *theirs == name) {
        return Ok(vec![((*ours).to_owned(), norm_transform(architecture, ours))]);
    }
    let Some((layer, rest)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
        return Ok(Vec::new());
    };
    let prefix = format!("model.layers.{layer}");
    let Some((stem, suffix)) = rest.rsplit_once('.') else { return Ok(Vec::new()) };
    if rest == ROUTER_BIAS.0 {
        return Ok(vec![(format!("{prefix}.{}", ROUTER_BIAS.1), Transform::Keep)]);
    }
    if let Some((_, ours)) = EXPERTS.iter().find(|(theirs, _)| *theirs == stem) {
        let count = config.experts()?;
        let part = |index| {
            (format!("{prefix}.mlp.experts.{index}.{ours}.{suffix}"), Transform::Part { index, count })
        };
        return Ok((0..count).map(part).collect());
    }
    let Some((_, ours)) = layer_names(architecture).find(|(theirs, _)| *theirs == stem) else {
        return Ok(Vec::new());
    };
    let transform = match stem {
        "attn_q" | "attn_k" if architecture.gguf == Some("llama") => {
            let (heads, kv_heads, _) = blocks::heads(config)?;
            Transform::HalfRotation { heads: if stem == "attn_q" { heads } else { kv_heads } }
        }
        _ => norm_transform(architecture, ours),
    };
    Ok(vec![(format!("{prefix}.{ours}.{suffix}"), transform)])
}

fn norm_transform(architecture: &Architecture, ours: &str) -> Transform {
    let is_norm = ours.ends_with("norm") || ours.ends_with("norm.weight");
    if architecture.gguf == Some("gemma3") && is_norm { Transform::LessOne } else { Transform::Keep }
}
