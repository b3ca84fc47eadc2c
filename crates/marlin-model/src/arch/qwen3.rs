//! `qwen3`: llama with RMS norms on query and key heads (transformers, `modeling_qwen3.py`).

use super::{Architecture, decoder, keep};
use crate::{
    Builder, Config, Error,
    blocks::{HeadNorm, SelfAttention},
};

pub(super) const ARCHITECTURE: Architecture =
    Architecture { model_types: &["qwen3"], gguf: Some("qwen3"), summary: "Qwen 3", build, derive: keep };

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    decoder::build(
        config,
        b,
        |layer, attention| settings(config, layer, attention),
        |_| decoder::dense(config),
    )
}

/// The attention settings that `qwen3_moe` shares.
///
/// # Errors
/// [`Error::Config`].
pub(super) fn settings(config: &Config, layer: usize, attention: &mut SelfAttention) -> Result<(), Error> {
    let bias = config.flag_or("attention_bias", false)?;
    (attention.qkv_bias, attention.out_bias) = (bias, bias);
    let eps = config.number_or("rms_norm_eps", 1e-6)? as f32;
    attention.head_norm = Some(HeadNorm { eps, map: |weight| weight });
    attention.window = decoder::optional_window(config, layer)?;
    Ok(())
}
