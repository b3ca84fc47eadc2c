//! A GGUF's metadata as the configuration Hugging Face would have written.
//!
//! Keys as in llama.cpp, `gguf-py/gguf/constants.py`.

use marlin_file::Gguf;
use serde_json::{Map, Value, json};

use crate::{
    Config, Error,
    arch::{ARCHITECTURES, Architecture},
};

/// Keys that every architecture has under its own prefix, and their names in config.json.
const COMMON: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("context_length", "max_position_embeddings"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
];

/// Keys of attention with grouped heads.
const GROUPED: &[(&str, &str)] =
    &[("attention.head_count_kv", "num_key_value_heads"), ("attention.key_length", "head_dim")];

/// Keys of `gemma3`.
const GEMMA3: &[(&str, &str)] = &[("attention.sliding_window", "sliding_window")];

/// Keys of `qwen3moe`.
const QWEN3_MOE: &[(&str, &str)] = &[
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
];

/// Keys of `deepseek2` as GLM-4.7-Flash uses them.
const LATENT: &[(&str, &str)] = &[
    ("attention.q_lora_rank", "q_lora_rank"),
    ("attention.kv_lora_rank", "kv_lora_rank"),
    ("attention.value_length_mla", "v_head_dim"),
    ("rope.dimension_count", "qk_rope_head_dim"),
    ("leading_dense_block_count", "first_k_dense_replace"),
    ("expert_count", "n_routed_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_shared_count", "n_shared_experts"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_group_count", "n_group"),
    ("expert_group_used_count", "topk_group"),
    ("expert_weights_scale", "routed_scaling_factor"),
    ("expert_weights_norm", "norm_topk_prob"),
];

/// The keys of an architecture, under its own prefix, and their names in config.json.
pub(super) fn keys(
    architecture: &Architecture,
) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let own: &[&[(&str, &str)]] = match architecture.gguf.unwrap_or_default() {
        "deepseek2" => &[COMMON, LATENT],
        "gemma3" => &[COMMON, GROUPED, GEMMA3],
        "qwen3moe" => &[COMMON, GROUPED, QWEN3_MOE],
        _ => &[COMMON, GROUPED],
    };
    own.iter().copied().flatten()
}

/// `expert_gating_func` of a router with sigmoid scores.
pub(super) const SIGMOID: u64 = 2;

/// Finds the architecture of a GGUF.
///
/// # Errors
/// [`Error::Architecture`] lists what is supported.
pub fn architecture(file: &Gguf) -> Result<&'static Architecture, Error> {
    let found = text(file, "general.architecture").unwrap_or_default();
    ARCHITECTURES.iter().find(|architecture| architecture.gguf == Some(&found)).ok_or_else(|| {
        Error::Architecture {
            found: format!("{found} (general.architecture)"),
            supported: ARCHITECTURES
                .iter()
                .filter_map(|architecture| architecture.gguf)
                .collect::<Vec<_>>()
                .join(", "),
        }
    })
}

/// The configuration of a GGUF.
///
/// # Errors
/// [`Error::Config`] when it is a model of this family that we cannot tell apart or do not support.
pub fn config(file: &Gguf, architecture: &Architecture) -> Result<Config, Error> {
    let mut values = Map::new();
    values.insert("model_type".into(), architecture.model_types[0].into());
    let prefix = architecture.gguf.unwrap_or_default();
    for (theirs, ours) in keys(architecture) {
        if let Some(value) = json_value(file, &format!("{prefix}.{theirs}")) {
            values.insert((*ours).into(), value);
        }
    }
    let table = file.tensors().get("token_embd.weight")?;
    values.insert("vocab_size".into(), table.shape[0].into());
    let tied = file.tensors().find("output.weight").is_none();
    values.insert("tie_word_embeddings".into(), tied.into());
    for key in ["eos_token_id", "bos_token_id"] {
        if let Some(value) = json_value(file, &format!("tokenizer.ggml.{key}")) {
            values.insert(key.into(), value);
        }
    }
    if let Some(scaling) = rope_scaling(file, prefix) {
        values.insert("rope_scaling".into(), scaling);
    }
    match prefix {
        "deepseek2" => latent(file, &mut values)?,
        // llama.cpp always renormalises the weights of qwen3moe (src/models/qwen3moe.cpp).
        "qwen3moe" => drop(values.insert("norm_topk_prob".into(), true.into())),
        "gemma3" => gemma3(file, &mut values),
        _ => {}
    }
    Ok(Config::from_values(values))
}

/// The head sizes of latent attention, the router's function, and the layers without prediction.
fn latent(file: &Gguf, values: &mut Map<String, Value>) -> Result<(), Error> {
    let number = |key: &str| json_value(file, &format!("deepseek2.{key}")).and_then(|value| value.as_u64());
    let key = number("attention.key_length_mla").or(number("attention.key_length")).unwrap_or(0);
    let rope = number("rope.dimension_count").unwrap_or(0);
    values.insert("qk_nope_head_dim".into(), key.saturating_sub(rope).into());

    let layers = number("block_count").unwrap_or(0);
    let extra = number("nextn_predict_layers").unwrap_or(0);
    values.insert("num_hidden_layers".into(), layers.saturating_sub(extra).into());
    values.insert("num_nextn_predict_layers".into(), 0.into());

    // Early files of GLM-4.7-Flash lack the function; llama.cpp tells them by layers and vocabulary
    // (ggml-org/llama.cpp#18980). Any other file without it is DeepSeek-V2 with softmax.
    let flash = matches!(layers, 47 | 48) && values["vocab_size"] == json!(154_880);
    match number("expert_gating_func") {
        Some(SIGMOID) => Ok(()),
        None if flash => Ok(()),
        found => Err(Error::Config {
            key: "deepseek2.expert_gating_func".into(),
            found: found.map_or("nothing".into(), |found| found.to_string()),
            expected: "2 (sigmoid)".into(),
        }),
    }
}

/// What llama.cpp keeps in code (src/models/gemma3.cpp): scores are scaled by the head width, except
/// in the 27B model, and every sixth layer is global.
fn gemma3(file: &Gguf, values: &mut Map<String, Value>) {
    const LAYERS_27B: u64 = 62;
    let number = |key: &str| json_value(file, &format!("gemma3.{key}")).and_then(|value| value.as_u64());
    let scalar = match (number("block_count"), number("embedding_length"), number("attention.head_count")) {
        (Some(LAYERS_27B), Some(hidden), Some(heads)) if heads > 0 => hidden / heads,
        _ => number("attention.key_length").unwrap_or(256),
    };
    values.insert("query_pre_attn_scalar".into(), scalar.into());
    values.entry("sliding_window_pattern").or_insert(6.into());
    values.entry("rope_theta").or_insert(json!(1e6));
}

fn rope_scaling(file: &Gguf, prefix: &str) -> Option<Value> {
    let get = |key: &str| json_value(file, &format!("{prefix}.rope.scaling.{key}"));
    let kind = get("type").and_then(|value| value.as_str().map(str::to_owned));
    match kind.as_deref() {
        None | Some("none") => None,
        Some(kind) => Some(json!({
            "rope_type": kind,
            "factor": get("factor"),
            "original_max_position_embeddings": get("original_context_length"),
            "attention_factor": get("attn_factor"),
        })),
    }
}

/// A number, truth value or text; nothing else is asked for here.
fn json_value(file: &Gguf, key: &str) -> Option<Value> {
    match file.metadata().get(key)? {
        marlin_file::gguf::Value::Integer(number) => i64::try_from(*number).ok().map(Value::from),
        marlin_file::gguf::Value::Float(number) => Some(json!(number)),
        marlin_file::gguf::Value::Bool(flag) => Some((*flag).into()),
        marlin_file::gguf::Value::String(text) => Some(text.as_str().into()),
        marlin_file::gguf::Value::Array(_) => None,
    }
}

fn text(file: &Gguf, key: &str) -> Option<String> {
    file.metadata().str(key).ok().map(str::to_owned)
}
