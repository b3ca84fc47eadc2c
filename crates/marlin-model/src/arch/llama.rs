//! `llama`: also `mistral`, and SmolLM, which calls itself llama (transformers, `modeling_llama.py`).

use super::{Architecture, decoder, keep};
use crate::{Builder, Config, Error};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["llama", "mistral"],
    gguf: Some("llama"),
    summary: "Llama 2 and 3, Mistral, SmolLM",
    build,
    derive: keep,
};

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    let bias = config.flag_or("attention_bias", false)?;
    // A llama configuration never slides; a mistral one does whenever it names a window.
    let slides = config.text_or("model_type", "")? == "mistral";
    let window = if slides { config.count_opt("sliding_window")? } else { None };
    decoder::build(
        config,
        b,
        |_, attention| {
            (attention.qkv_bias, attention.out_bias, attention.window) = (bias, bias, window);
            Ok(())
        },
        |_| decoder::dense(config),
    )
}
