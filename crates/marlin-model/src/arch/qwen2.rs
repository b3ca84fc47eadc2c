//! `qwen2`: llama with biases on q, k and v (transformers, `modeling_qwen2.py`).

use super::{Architecture, decoder, keep};
use crate::{Builder, Config, Error};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["qwen2"],
    gguf: Some("qwen2"),
    summary: "Qwen 2 and 2.5",
    build,
    derive: keep,
};

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    decoder::build(
        config,
        b,
        |layer, attention| {
            attention.qkv_bias = true;
            attention.window = decoder::optional_window(config, layer)?;
            Ok(())
        },
        |_| decoder::dense(config),
    )
}
