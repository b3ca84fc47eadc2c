//! `gemma3`: the text part of Gemma 3 (transformers, `modeling_gemma3.py`). Norms before and after
//! each block with weights stored less one, local and global layers with frequencies of their own.

use marlin_kernel::plan::{Activation, Op, View};

use super::{Architecture, Derived, decoder, decoder::Frame};
use crate::{
    Builder, Config, Error,
    blocks::{GatedMlp, HeadNorm, Output, SelfAttention},
    rope,
    transform::Transform,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gemma3_text", "gemma3"],
    gguf: Some("gemma3"),
    summary: "Gemma 3 (text)",
    build,
    derive,
};

/// The weight of a norm is stored less one.
const PLUS_ONE: fn(f32) -> f32 = |weight| 1.0 + weight;

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    let text = text_config(config)?;
    text.only("hidden_activation", &["gelu_pytorch_tanh"])?;
    for unsupported in ["attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"] {
        text.without(unsupported)?;
    }
    let frame = Frame::read(&text, b)?;
    let layers = Layers::read(&text, &frame, b)?;
    frame.embed(b, (frame.hidden as f32).sqrt());
    for layer in 0..frame.layers {
        layers.add(b, layer, &frame)?;
    }
    let norm = b.vector_with("model.norm.weight", frame.hidden, PLUS_ONE)?;
    frame.head(b, norm)
}

/// The settings of all layers.
struct Layers {
    global: SelfAttention,
    local: SelfAttention,
    is_local: Vec<bool>,
    mlp: GatedMlp,
}

impl Layers {
    fn read(text: &Config, frame: &Frame, b: &mut Builder<'_>) -> Result<Layers, Error> {
        let head_dim = text.count_opt("head_dim")?.unwrap_or(256);
        let settings = |key: &str| match text.section("rope_parameters")? {
            Some(parameters) => parameters.section(key),
            None => Ok(None),
        };
        let global = match (settings("full_attention")?, text.section("rope_scaling")?) {
            (Some(settings), _) => {
                rope::scaled(text, &settings, head_dim, settings.number_or("rope_theta", 1e6)?)?
            }
            (None, Some(scaling)) => {
                rope::scaled(text, &scaling, head_dim, text.number_or("rope_theta", 1e6)?)?
            }
            (None, None) => rope::plain(head_dim, text.number_or("rope_theta", 1e6)?),
        };
        let local = match settings("sliding_attention")? {
            Some(settings) => {
                rope::scaled(text, &settings, head_dim, settings.number_or("rope_theta", 1e4)?)?
            }
            None => rope::plain(head_dim, text.number_or("rope_local_base_freq", 1e4)?),
        };
        let mut attention = SelfAttention::from_config(text, b.frequencies(&global)?)?;
        attention.head_norm = Some(HeadNorm { eps: frame.eps, map: PLUS_ONE });
        attention.scale = text.number_or("query_pre_attn_scalar", 256.0)?.powf(-0.5) as f32;
        let rope = b.frequencies(&local)?;
        let window = Some(text.count_opt("sliding_window")?.unwrap_or(4096));
        Ok(Layers {
            local: SelfAttention { rope, window, ..attention.clone() },
            global: attention,
            is_local: local_layers(text, frame.layers)?,
            mlp: GatedMlp {
                intermediate: text.count("intermediate_size")?,
                activation: Activation::GeluTanh,
                bias: false,
            },
        })
    }

    fn add(&self, b: &mut Builder<'_>, layer: usize, frame: &Frame) -> Result<(), Error> {
        let (x, h) = (frame.x, frame.h);
        let name = format!("model.layers.{layer}");
        let attention = if self.is_local[layer] { &self.local } else { &self.global };
        // The block's result passes a norm before it joins the residual stream.
        let result = b.buffer("result", frame.hidden);
        let out = Output { view: result, accumulate: false };
        norm(b, &format!("{name}.input_layernorm"), frame.eps, x, h)?;
        attention.add(b, &format!("{name}.self_attn"), h, out)?;
        norm(b, &format!("{name}.post_attention_layernorm"), frame.eps, result, result)?;
        b.step(format!("{name}.self_attn.add"), Op::Add { x: result, out: x });
        norm(b, &format!("{name}.pre_feedforward_layernorm"), frame.eps, x, h)?;
        self.mlp.add(b, &format!("{name}.mlp"), h, out)?;
        norm(b, &format!("{name}.post_feedforward_layernorm"), frame.eps, result, result)?;
        b.step(format!("{name}.mlp.add"), Op::Add { x: result, out: x });
        Ok(())
    }
}

fn norm(b: &mut Builder<'_>, name: &str, eps: f32, x: View, out: View) -> Result<(), Error> {
    let weight = b.vector_with(&format!("{name}.weight"), x.width, PLUS_ONE)?;
    b.step(name, Op::RmsNorm { x, weight, eps, out });
    Ok(())
}

fn local_layers(text: &Config, layers: usize) -> Result<Vec<bool>, Error> {
    if let Some(types) = text.texts("layer_types")? {
        let is_local = |layer| Ok(decoder::layer_type(text, &types, layer)? == "sliding_attention");
        return (0..layers).map(is_local).collect();
    }
    let pattern = text.count_opt("sliding_window_pattern")?.unwrap_or(6);
    Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(pattern)).collect())
}

/// The text settings: nested in a multimodal configuration, the whole file otherwise. Gemma ties its
/// embeddings unless told otherwise.
fn text_config(config: &Config) -> Result<Config, Error> {
    let text = config.section("text_config")?.unwrap_or_else(|| config.clone());
    let mut values = text.values().clone();
    values.entry("tie_word_embeddings").or_insert(true.into());
    for (key, default) in [("vocab_size", 262_208), ("num_attention_heads", 8), ("num_key_value_heads", 4)] {
        values.entry(key).or_insert(default.into());
    }
    values.entry("head_dim").or_insert(256.into());
    Ok(Config::from_values(values))
}

/// A multimodal checkpoint keeps the text model under a prefix, and an image part we leave out.
fn derive(_config: &Config, name: &str) -> Result<Derived, Error> {
    let text = match name.strip_prefix("language_model.").or(name.strip_prefix("model.language_model.")) {
        Some(rest) if rest.starts_with("model.") || rest.starts_with("lm_head.") => rest.to_owned(),
        Some(rest) => format!("model.{rest}"),
        None => {
            let image = ["vision_tower.", "multi_modal_projector.", "model.vision_tower."];
            let image = image.iter().any(|prefix| name.starts_with(prefix))
                || name.starts_with("model.multi_modal_projector.");
            return Ok(image.then(Vec::new));
        }
    };
    Ok(Some(vec![(text, Transform::Keep)]))
}
