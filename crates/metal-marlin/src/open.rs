//! Opens a model with all that goes with it: weights, tokenizer, chat template.

use anyhow::Context;
use marlin_file::Checkpoint;
use marlin_model::{Model, Source};
use marlin_text::{ChatTemplate, Tokenizer};

use crate::{hub, output::Output, vocabulary};

/// A model ready to be played.
pub struct Opened {
    /// The plan and its facts.
    pub model: Model,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How a conversation is written; `None` for a base model.
    pub template: Option<ChatTemplate>,
    /// Keeps a temporary directory alive while its files are mapped.
    _guard: Option<tempfile::TempDir>,
}

/// Opens what the user calls `model`.
///
/// # Errors
/// When there is no such model or its files do not fit together.
pub fn open(model: &str, output: Output) -> anyhow::Result<Opened> {
    let resolved = hub::resolve(model, output)?;
    let source = Source::open(&resolved.path)?;
    let built = marlin_model::build(&source)?;
    let tokenizer = tokenizer(source.checkpoint())?;
    tokenizer.check_vocab(built.vocab_size)?;
    let template = template(source.checkpoint(), &tokenizer).context("chat template")?;
    Ok(Opened { model: built, tokenizer, template, _guard: resolved.guard })
}

/// The tokenizer of a model.
///
/// # Errors
/// When there is none, or it is not one we read.
pub fn tokenizer(checkpoint: &Checkpoint) -> anyhow::Result<Tokenizer> {
    if let Some(gguf) = checkpoint.gguf() {
        return Ok(Tokenizer::from_gguf(&vocabulary::of_gguf(gguf)?)?);
    }
    let bytes = checkpoint.read("tokenizer.json")?.context("tokenizer.json: not found beside the model")?;
    let config = checkpoint.read("tokenizer_config.json")?;
    Ok(Tokenizer::from_json(&bytes, config.as_deref())?)
}

fn template(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> anyhow::Result<Option<ChatTemplate>> {
    if let Some(gguf) = checkpoint.gguf() {
        return vocabulary::template_of_gguf(gguf, tokenizer);
    }
    let config = checkpoint.read("tokenizer_config.json")?;
    let Some(file) = checkpoint.read("chat_template.jinja")? else {
        return Ok(config.map(|config| ChatTemplate::from_config(&config)).transpose()?.flatten());
    };
    let template = ChatTemplate::new(&String::from_utf8(file).context("chat_template.jinja")?)?;
    Ok(Some(match config {
        Some(config) => template.with_config(&config)?,
        None => template,
    }))
}
