//! A model under GGUF's names: the tables of this module read from right to left.
//!
//! What llama.cpp keeps in code must be what the configuration says; any other model is refused by the
//! key that differs. Expected shapes and keys: llama.cpp, `src/models/*.cpp`, `conversion/`.

use std::collections::BTreeMap;

use marlin_file::gguf::Value as GgufValue;
use serde_json::Value;

use super::{
    EXPERTS, GLOBAL, ROUTER_BIAS, layer_names,
    metadata::{SIGMOID, keys},
};
use crate::{
    Config, Error, Source,
    arch::{ARCHITECTURES, Architecture},
    blocks, rope,
    transform::Transform,
};

/// One tensor of a GGUF and what it is made of.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Its name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Where its values come from.
    pub from: Origin,
    /// Whether llama.cpp computes with it in f32 only: vectors and routers.
    pub single: bool,
    /// Whether llama.cpp multiplies by a factor in a tensor beside it, which ends in `.scale`.
    pub scaled: bool,
}

/// Where the values of a tensor come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Tensors of ours, one after the other, each changed alike.
    Tensors(Vec<String>, Transform),
    /// A vector that the configuration leads to.
    Values(Vec<f32>),
}

/// All tensors of a model's GGUF, in the order of their names here.
///
/// # Errors
/// [`Error::NoGgufName`], [`Error::Config`] or [`Error::Shape`].
pub fn export(source: &Source) -> Result<Vec<Exported>, Error> {
    let (config, architecture) = (source.config(), source.architecture());
    let prefix = prefix(architecture)?;
    let mut tensors: Vec<Exported> = Vec::new();
    // Stacks of experts, by their names.
    let mut stacks: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for ours in source.names() {
        if let Some((stack, expert)) = expert(ours) {
            stacks.entry(stack).or_default().push((expert, ours.to_owned()));
            continue;
        }
        let no_name = || Error::NoGgufName { name: ours.to_owned(), architecture: prefix };
        let name = theirs(architecture, ours).ok_or_else(no_name)?;
        let (rows, cols) = source.shape(ours)?;
        let heads = config.count("num_attention_heads")?;
        let shape = match () {
            () if rows == 1 => vec![cols],
            // The halves of `kv_b_proj` are stacks of heads.
            () if name.contains(".attn_k_b.") || name.contains(".attn_v_b.") => {
                vec![heads, rows / heads, cols]
            }
            () => vec![rows, cols],
        };
        let single = rows == 1 || name.contains(".ffn_gate_inp.");
        let from = Origin::Tensors(vec![ours.to_owned()], inverse(config, architecture, &name)?);
        let scaled = is_scaled(architecture, &name);
        tensors.push(Exported { name, shape, from, single, scaled });
    }
    for (name, mut experts) in stacks {
        experts.sort_unstable();
        let names: Vec<String> = experts.into_iter().map(|(_, name)| name).collect();
        let (rows, cols) = source.shape(&names[0])?;
        let shape = vec![names.len(), rows, cols];
        let (from, scaled) = (Origin::Tensors(names, Transform::Keep), is_scaled(architecture, &name));
        tensors.push(Exported { name, shape, from, single: false, scaled });
    }
    if let Some(factors) = rope_factors(config)? {
        let (name, shape) = ("rope_freqs.weight".to_owned(), vec![factors.len()]);
        tensors.push(Exported { name, shape, from: Origin::Values(factors), single: true, scaled: false });
    }
    Ok(tensors)
}

/// Whether llama.cpp's graph of the architecture multiplies by `X.scale`. It loads these tensors for all,
/// and forgets them silently where its code does not pass them on (as of llama-cpp-python 0.3.36).
fn is_scaled(architecture: &Architecture, name: &str) -> bool {
    const ATTENTION: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output", "output"];
    let more: &[&str] = match architecture.gguf.unwrap_or_default() {
        "llama" | "qwen3" => &["ffn_gate", "ffn_up", "ffn_down"],
        "qwen3moe" => &["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"],
        _ => &[],
    };
    let stem = name.strip_suffix(".weight").and_then(|stem| stem.rsplit('.').next());
    stem.is_some_and(|stem| ATTENTION.contains(&stem) || more.contains(&stem))
}

/// The stack and the index of an expert's tensor.
fn expert(ours: &str) -> Option<(String, usize)> {
    let (layer, rest) = ours.strip_prefix("model.layers.")?.split_once(".mlp.experts.")?;
    let (index, projection) = rest.split_once('.')?;
    let (projection, suffix) = projection.rsplit_once('.')?;
    let (theirs, _) = EXPERTS.iter().find(|(_, ours)| *ours == projection)?;
    Some((format!("blk.{layer}.{theirs}.{suffix}"), index.parse().ok()?))
}

/// The name of a tensor of ours.
fn theirs(architecture: &Architecture, ours: &str) -> Option<String> {
    if let Some((theirs, _)) = GLOBAL.iter().find(|(_, name)| *name == ours) {
        return Some((*theirs).to_owned());
    }
    let (layer, rest) = ours.strip_prefix("model.layers.")?.split_once('.')?;
    if rest == ROUTER_BIAS.1 {
        return Some(format!("blk.{layer}.{}", ROUTER_BIAS.0));
    }
    let (stem, suffix) = rest.rsplit_once('.')?;
    let (theirs, _) = layer_names(architecture).find(|(_, ours)| *ours == stem)?;
    Some(format!("blk.{layer}.{theirs}.{suffix}"))
}

/// What undoes the transform by which the reader of this table gets our tensor.
fn inverse(config: &Config, architecture: &Architecture, name: &str) -> Result<Transform, Error> {
    let read = super::tensors(config, architecture, name)?;
    Ok(match read.into_iter().next() {
        Some((_, Transform::HalfRotation { heads })) => Transform::PairRotation { heads },
        Some((_, Transform::LessOne)) => Transform::PlusOne,
        _ => Transform::Keep,
    })
}

/// What each frequency is divided by under llama-3 scaling, which llama.cpp wants as a tensor.
fn rope_factors(config: &Config) -> Result<Option<Vec<f32>>, Error> {
    let settings = rope_settings(config)?;
    if settings.text_or("rope_type", settings.text_or("type", "default")?)? != "llama3" {
        return Ok(None);
    }
    let (_, _, dim) = blocks::heads(config)?;
    let scaled = rope::frequencies(config, dim, 10_000.0)?.radians;
    let plain = rope::plain(dim, rope_theta(config)?).radians;
    Ok(Some(plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect()))
}

/// The rotary settings in either spelling; empty without any.
fn rope_settings(config: &Config) -> Result<Config, Error> {
    let settings = match config.section("rope_parameters")? {
        Some(settings) => Some(settings),
        None => config.section("rope_scaling")?,
    };
    Ok(settings.unwrap_or_else(|| Config::from_values(Default::default())))
}

fn rope_theta(config: &Config) -> Result<f64, Error> {
    let default = if config.text_or("model_type", "")?.starts_with("gemma") { 1e6 } else { 1e4 };
    rope_settings(config)?.number_or("rope_theta", config.number_or("rope_theta", default)?)
}

/// The keys of a model's GGUF but for those of the tokenizer.
///
/// # Errors
/// [`Error::Config`] for a model that llama.cpp does not compute as its configuration says.
pub fn metadata(source: &Source) -> Result<Vec<(String, GgufValue)>, Error> {
    /// Keys whose values are floats, also where a configuration has an integer.
    const FLOATS: [&str; 3] = ["attention.layer_norm_rms_epsilon", "rope.freq_base", "expert_weights_scale"];
    let (config, architecture) = (source.config(), source.architecture());
    let prefix = prefix(architecture)?;
    supported(config, architecture)?;
    let mut values = derived(config, architecture)?;
    for (theirs, ours) in keys(architecture) {
        let value = match config.get(ours) {
            Some(Value::Bool(flag)) => GgufValue::Bool(*flag),
            Some(Value::Number(number)) if !FLOATS.contains(theirs) && number.is_u64() => {
                GgufValue::Integer(number.as_u64().unwrap_or_default().into())
            }
            Some(_) => GgufValue::Float(config.number(ours)?),
            None => continue,
        };
        // A derived value says more than the configuration's own.
        values.entry(theirs).or_insert(value);
    }
    let text = |text: &str| GgufValue::String(text.to_owned());
    let mut all = vec![
        ("general.architecture".to_owned(), text(prefix)),
        ("general.quantization_version".to_owned(), GgufValue::Integer(2)),
    ];
    all.extend(values.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)));
    Ok(all)
}

/// What llama.cpp calls an architecture.
///
/// # Errors
/// [`Error::Architecture`] for one that is not written as a GGUF.
fn prefix(architecture: &Architecture) -> Result<&'static str, Error> {
    architecture.gguf.ok_or_else(|| Error::Architecture {
        found: format!("{}, to be written as a GGUF", architecture.model_types[0]),
        supported: ARCHITECTURES.iter().filter_map(|known| known.gguf).collect::<Vec<_>>().join(", "),
    })
}

/// The keys that no key of the configuration is.
fn derived(config: &Config, architecture: &Architecture) -> Result<BTreeMap<&'static str, GgufValue>, Error> {
    let number = |number: usize| GgufValue::Integer(number as i128);
    let mut values = BTreeMap::from([
        ("vocab_size", number(config.count("vocab_size")?)),
        ("rope.freq_base", GgufValue::Float(rope_theta(config)?)),
    ]);
    if architecture.gguf == Some("deepseek2") {
        let (latent, rope) = (config.count("kv_lora_rank")?, config.count("qk_rope_head_dim")?);
        values.extend([
            ("attention.head_count_kv", number(1)),
            ("attention.key_length", number(latent + rope)),
            ("attention.value_length", number(latent)),
            ("attention.key_length_mla", number(config.count("qk_nope_head_dim")? + rope)),
            ("expert_gating_func", GgufValue::Integer(SIGMOID.into())),
        ]);
        if let Some(types) = config.texts("mlp_layer_types")? {
            let dense = types.iter().take_while(|kind| **kind == "dense").count();
            values.insert("leading_dense_block_count", number(dense));
        }
        return Ok(values);
    }
    let (_, kv_heads, dim) = blocks::heads(config)?;
    values.extend([
        ("attention.head_count_kv", number(kv_heads)),
        ("attention.key_length", number(dim)),
        ("attention.value_length", number(dim)),
        ("rope.dimension_count", number(dim)),
    ]);
    let settings = rope_settings(config)?;
    if settings.text_or("rope_type", settings.text_or("type", "default")?)? == "linear" {
        values.insert("rope.scaling.type", GgufValue::String("linear".to_owned()));
        values.insert("rope.scaling.factor", GgufValue::Float(settings.number("factor")?));
    }
    Ok(values)
}

/// Fails for a model that llama.cpp would compute otherwise.
fn supported(config: &Config, architecture: &Architecture) -> Result<(), Error> {
    let expect = |key: &str, holds: bool, expected: &str| match holds {
        true => Ok(()),
        false => Err(config.unexpected(key, config.get(key), &format!("{expected} (llama.cpp's code)"))),
    };
    let settings = rope_settings(config)?;
    settings.only("rope_type", &["default", "linear", "llama3"])?;
    settings.only("type", &["default", "linear", "llama3"])?;
    match prefix(architecture)? {
        "llama" => {
            let slides = config.text_or("model_type", "")? == "mistral";
            expect("sliding_window", !slides || config.get("sliding_window").is_none(), "null")
        }
        "qwen3moe" => {
            expect("norm_topk_prob", config.flag_or("norm_topk_prob", false)?, "true")?;
            expect("decoder_sparse_step", config.count_opt("decoder_sparse_step")?.unwrap_or(1) == 1, "1")?;
            expect("mlp_only_layers", config.indices("mlp_only_layers")?.is_empty(), "an empty list")
        }
        "deepseek2" => {
            expect("q_lora_rank", config.get("q_lora_rank").is_some(), "a rank")?;
            expect("rope_interleave", config.flag_or("rope_interleave", true)?, "true")
        }
        "gemma3" => {
            let pattern = config.count_opt("sliding_window_pattern")?.unwrap_or(6);
            let types = config.texts("layer_types")?.unwrap_or_default();
            let sixth = |(layer, kind): (usize, &&str)| (*kind == "full_attention") == (layer % 6 == 5);
            let local = config.number_or("rope_local_base_freq", 1e4)?;
            expect("text_config", config.get("text_config").is_none(), "a text model without it")?;
            expect("rope_parameters", config.get("rope_parameters").is_none(), "rope_theta")?;
            expect("rope_local_base_freq", local == 1e4, "10000")?;
            expect("sliding_window_pattern", pattern == 6, "6")?;
            expect("layer_types", types.iter().enumerate().all(sixth), "every sixth layer global")
        }
        _ => expect("use_sliding_window", !config.flag_or("use_sliding_window", false)?, "false"),
    }
}
