//! The frame that pre-norm decoders share: embedding, layers of attention and feed-forward, head.

use marlin_kernel::plan::{Activation, Op, View, WeightId};

use crate::{
    Builder, Config, Error,
    blocks::{Experts, GatedMlp, Output, SelfAttention},
    builder::Head,
    rope,
};

/// The feed-forward part of a layer.
#[derive(Clone, Copy, Debug)]
pub enum FeedForward {
    /// One gated feed-forward.
    Dense(GatedMlp),
    /// Routed experts.
    Routed(Experts),
}

/// Builds a decoder whose layers are `x += attention(norm(x)); x += feed_forward(norm(x))`.
///
/// `settings` turns the usual settings into the architecture's; `feed_forward` says what layer i has.
pub fn build(
    config: &Config,
    b: &mut Builder<'_>,
    settings: impl Fn(usize, &mut SelfAttention) -> Result<(), Error>,
    feed_forward: impl Fn(usize) -> Result<FeedForward, Error>,
) -> Result<(), Error> {
    config.only("hidden_act", &["silu"])?;
    let frame = Frame::read(config, b)?;
    let rope = rope::frequencies(config, crate::blocks::heads(config)?.2, 10_000.0)?;
    let rope = b.frequencies(&rope)?;
    let (x, h) = (frame.x, frame.h);
    frame.embed(b, 1.0);
    for layer in 0..frame.layers {
        let name = format!("model.layers.{layer}");
        let residual = Output { view: x, accumulate: true };
        let mut attention = SelfAttention::from_config(config, rope)?;
        settings(layer, &mut attention)?;
        b.rms_norm(&format!("{name}.input_layernorm"), x, frame.eps, h)?;
        attention.add(b, &format!("{name}.self_attn"), h, residual)?;
        b.rms_norm(&format!("{name}.post_attention_layernorm"), x, frame.eps, h)?;
        match feed_forward(layer)? {
            FeedForward::Dense(mlp) => mlp.add(b, &format!("{name}.mlp"), h, residual)?,
            FeedForward::Routed(experts) => experts.add(b, &format!("{name}.mlp"), h, x)?,
        }
    }
    let norm = b.vector("model.norm.weight", frame.hidden)?;
    frame.head(b, norm)
}

/// A dense feed-forward with the configuration's `intermediate_size`.
///
/// # Errors
/// [`Error::Config`].
pub fn dense(config: &Config) -> Result<FeedForward, Error> {
    let intermediate = config.count("intermediate_size")?;
    let bias = config.flag_or("mlp_bias", false)?;
    Ok(FeedForward::Dense(GatedMlp { intermediate, activation: Activation::Silu, bias }))
}

/// The window of layer `layer` where a configuration may switch sliding windows on (qwen).
///
/// # Errors
/// [`Error::Config`].
pub fn optional_window(config: &Config, layer: usize) -> Result<Option<usize>, Error> {
    if !config.flag_or("use_sliding_window", false)? {
        return Ok(None);
    }
    let slides = match config.texts("layer_types")? {
        Some(types) => layer_type(config, &types, layer)? == "sliding_attention",
        None => layer >= config.size_or("max_window_layers", 0)?,
    };
    if slides { config.count_opt("sliding_window") } else { Ok(None) }
}

/// Entry `layer` of `layer_types`.
///
/// # Errors
/// [`Error::Config`] when the list is shorter than the layers.
pub fn layer_type<'a>(config: &Config, types: &[&'a str], layer: usize) -> Result<&'a str, Error> {
    types.get(layer).copied().ok_or_else(|| {
        config.unexpected("layer_types", config.get("layer_types"), "one entry for every layer")
    })
}

/// What surrounds the layers.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Epsilon of the norms.
    pub eps: f32,
    /// The residual stream.
    pub x: View,
    /// The normalised input of a block.
    pub h: View,
    vocab_size: usize,
    table: WeightId,
    tied: bool,
}

impl Frame {
    /// Reads the sizes and makes the embedding table and the two buffers all layers use.
    ///
    /// # Errors
    /// [`Error::Config`], or as [`Builder::matrix`].
    pub fn read(config: &Config, b: &mut Builder<'_>) -> Result<Frame, Error> {
        let hidden = config.count("hidden_size")?;
        let vocab_size = config.count("vocab_size")?;
        Ok(Frame {
            hidden,
            layers: config.count("num_hidden_layers")?,
            eps: config.number_or("rms_norm_eps", 1e-6)? as f32,
            x: b.buffer("x", hidden),
            h: b.buffer("h", hidden),
            vocab_size,
            table: b.matrix("model.embed_tokens.weight", vocab_size, hidden)?,
            tied: config.flag_or("tie_word_embeddings", false)?,
        })
    }

    /// The first step.
    pub fn embed(&self, b: &mut Builder<'_>, scale: f32) {
        b.step("model.embed_tokens", Op::Embed { table: self.table, scale, out: self.x });
    }

    /// The last steps, given the final norm's weight.
    ///
    /// # Errors
    /// As [`Builder::matrix`].
    pub fn head(&self, b: &mut Builder<'_>, norm_weight: WeightId) -> Result<(), Error> {
        let tied = self.tied.then_some(self.table);
        let head = Head { norm: "model.norm", norm_weight, eps: self.eps, vocab_size: self.vocab_size, tied };
        b.head(head, self.x)
    }
}
