//! `qwen3_moe`: qwen3 with softmax-routed experts in most layers (transformers,
//! `modeling_qwen3_moe.py`).

use marlin_kernel::plan::{Activation, Routing, Scoring};

use super::{
    Architecture,
    decoder::{self, FeedForward},
    keep, qwen3,
};
use crate::{Builder, Config, Error, blocks::Experts};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["qwen3_moe"],
    gguf: Some("qwen3moe"),
    summary: "Qwen 3 with experts",
    build,
    derive: keep,
};

fn build(config: &Config, b: &mut Builder<'_>) -> Result<(), Error> {
    let dense_layers = config.indices("mlp_only_layers")?;
    let every = config.count_opt("decoder_sparse_step")?.unwrap_or(1);
    let feed_forward = |layer: usize| {
        if dense_layers.contains(&layer) || !(layer + 1).is_multiple_of(every) {
            return decoder::dense(config);
        }
        Ok(FeedForward::Routed(experts(config)?))
    };
    decoder::build(config, b, |layer, attention| qwen3::settings(config, layer, attention), feed_forward)
}

fn experts(config: &Config) -> Result<Experts, Error> {
    let count = config.experts()?;
    let routing = Routing {
        scoring: Scoring::Softmax,
        top_k: config.count("num_experts_per_tok")?,
        groups: 1,
        top_groups: 1,
        normalize: config.flag_or("norm_topk_prob", false)?,
        denominator_eps: 0.0,
        scale: 1.0,
    };
    let intermediate = config.count("moe_intermediate_size")?;
    Ok(Experts {
        router: "gate",
        count,
        intermediate,
        routing,
        choice_bias: false,
        bias: false,
        activation: Activation::Silu,
        shared: 0,
    })
}
