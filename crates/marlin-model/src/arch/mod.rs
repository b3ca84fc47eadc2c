//! The architectures: one file each, one row each in [`ARCHITECTURES`].

mod decoder;
mod gemma3;
mod glm4_moe_lite;
mod gpt_oss;
mod llama;
mod qwen2;
mod qwen3;
mod qwen3_moe;
#[cfg(test)]
mod tests;

use marlin_kernel::plan::Plan;

use crate::{Builder, Config, Error, Source, transform::Transform};

/// Our names for a tensor with the way to each; `None` for a tensor used as it is, an empty list for
/// one that is not used.
pub(crate) type Derived = Option<Vec<(String, Transform)>>;

/// An architecture: its names and how it becomes a plan.
#[derive(Debug)]
pub struct Architecture {
    /// `model_type` of config.json; aliases first-class, as several names share one computation.
    pub model_types: &'static [&'static str],
    /// `general.architecture` of a GGUF; `None` where no GGUF is read.
    pub gguf: Option<&'static str>,
    /// One line for help texts.
    pub summary: &'static str,
    /// Adds all steps.
    pub(crate) build: fn(&Config, &mut Builder<'_>) -> Result<(), Error>,
    /// What becomes of a tensor of the checkpoint, by its name.
    pub(crate) derive: fn(&Config, &str) -> Result<Derived, Error>,
}

/// Every architecture there is.
pub static ARCHITECTURES: &[Architecture] = &[
    glm4_moe_lite::ARCHITECTURE,
    llama::ARCHITECTURE,
    qwen2::ARCHITECTURE,
    qwen3::ARCHITECTURE,
    qwen3_moe::ARCHITECTURE,
    gemma3::ARCHITECTURE,
    gpt_oss::ARCHITECTURE,
];

/// Finds an architecture by the `model_type` of its configuration.
///
/// # Errors
/// [`Error::Architecture`] lists what is supported.
pub fn by_model_type(model_type: &str) -> Result<&'static Architecture, Error> {
    let found = ARCHITECTURES.iter().find(|architecture| architecture.model_types.contains(&model_type));
    found.ok_or_else(|| Error::Architecture {
        found: model_type.to_owned(),
        supported: ARCHITECTURES
            .iter()
            .flat_map(|row| row.model_types)
            .copied()
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// A model ready to be played, and the facts about it that its users need.
#[derive(Clone, Debug)]
pub struct Model {
    /// The steps and weights.
    pub plan: Plan,
    /// The architecture's `model_type`.
    pub model_type: String,
    /// Rows of the logits.
    pub vocab_size: usize,
    /// Positions the model was made for.
    pub context_length: usize,
    /// Token ids that end a sequence.
    pub eos: Vec<u32>,
}

/// Turns an opened model into a plan.
///
/// # Errors
/// [`Error`] in all its variants: nothing in a file is trusted.
pub fn build(source: &Source) -> Result<Model, Error> {
    let config = source.config();
    let architecture = source.architecture();
    let mut builder = Builder::new(source, source.online_rotation()?);
    (architecture.build)(config, &mut builder)?;
    let plan = builder.finish()?;
    Ok(Model {
        vocab_size: plan.vocab_size(),
        plan,
        model_type: config.text_or("model_type", "")?.to_owned(),
        context_length: config.count_opt("max_position_embeddings")?.unwrap_or(2048),
        eos: source.eos()?,
    })
}

/// The rule of architectures that use the checkpoint's tensors as they are.
pub(crate) fn keep(_config: &Config, _name: &str) -> Result<Derived, Error> {
    Ok(None)
}
