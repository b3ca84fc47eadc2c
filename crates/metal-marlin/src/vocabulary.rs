//! A GGUF's vocabulary and chat template, from its metadata to what marlin-text takes, and back.

use anyhow::Context;
use marlin_file::{
    Checkpoint, Gguf,
    gguf::{Array, Value},
};
use marlin_text::{ChatTemplate, GgufVocab, Tokenizer};
use serde_json::json;

use crate::open;

/// The vocabulary.
///
/// # Errors
/// When the file has none, or its parts have other types than they should.
pub fn of_gguf(file: &Gguf) -> anyhow::Result<GgufVocab> {
    let metadata = file.metadata();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let has = |name: &str| metadata.get(&key(name)).is_some();
    let id = |name: &str| has(name).then(|| metadata.u32(&key(name))).transpose();
    let flag = |name: &str| has(name).then(|| metadata.bool(&key(name))).transpose();
    let strings = |name: &str| -> anyhow::Result<Vec<String>> {
        Ok(metadata.strings(&key(name))?.iter().map(str::to_owned).collect())
    };
    Ok(GgufVocab {
        model: metadata.str(&key("model"))?.to_owned(),
        pre: has("pre").then(|| metadata.str(&key("pre")).map(str::to_owned)).transpose()?,
        tokens: strings("tokens")?,
        types: match has("token_type") {
            true => metadata.integers(&key("token_type"))?.into_iter().map(|kind| kind as i32).collect(),
            false => Vec::new(),
        },
        scores: if has("scores") { metadata.floats(&key("scores"))? } else { Vec::new() },
        merges: if has("merges") { strings("merges")? } else { Vec::new() },
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: id("unknown_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
    })
}

/// The chat template with the special tokens it may name, if the file has one.
///
/// # Errors
/// When it is no template.
pub fn template_of_gguf(file: &Gguf, tokenizer: &Tokenizer) -> anyhow::Result<Option<ChatTemplate>> {
    const KEY: &str = "tokenizer.chat_template";
    if file.metadata().get(KEY).is_none() {
        return Ok(None);
    }
    Ok(Some(ChatTemplate::new(file.metadata().str(KEY)?)?.with_tokenizer(tokenizer)))
}

/// The files that tell others the same: tokenizer.json, and tokenizer_config.json with the template.
///
/// # Errors
/// As [`of_gguf`].
pub fn side_files_of_gguf(file: &Gguf) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let tokenizer = Tokenizer::from_gguf(&of_gguf(file)?)?;
    let template = file.metadata().str("tokenizer.chat_template").ok();
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(tokenizer.bos()),
        "eos_token": token(tokenizer.eos()),
        "unk_token": token(tokenizer.unk()),
        "clean_up_tokenization_spaces": false,
        "chat_template": template,
    });
    Ok(vec![
        ("tokenizer.json", tokenizer.to_json()?),
        ("tokenizer_config.json", serde_json::to_vec_pretty(&config)?),
    ])
}

/// The keys of a GGUF that say a model's vocabulary of `size` tokens, and its chat template.
///
/// # Errors
/// When the tokenizer is none that llama.cpp has a name for.
pub fn keys_of_gguf(checkpoint: &Checkpoint, size: usize) -> anyhow::Result<Vec<(String, Value)>> {
    let mut vocab = match checkpoint.gguf() {
        Some(file) => of_gguf(file)?,
        None => open::tokenizer(checkpoint)?.to_gguf()?,
    };
    vocab.pad(size);
    let mut keys = Vec::new();
    let mut add = |name: &str, value: Option<Value>| {
        keys.extend(value.map(|value| (format!("tokenizer.{name}"), value)));
    };
    let strings = |list: Vec<String>| Value::Array(Array::Strings(list.into_iter().collect()));
    let id = |id: Option<u32>| id.map(|id| Value::Integer(id.into()));
    let flag = |flag: Option<bool>| flag.map(Value::Bool);
    add("ggml.model", Some(Value::String(vocab.model)));
    add("ggml.pre", vocab.pre.map(Value::String));
    add("ggml.tokens", Some(strings(vocab.tokens)));
    add("ggml.token_type", Some(Value::Array(Array::I32(vocab.types))));
    add("ggml.scores", (!vocab.scores.is_empty()).then_some(Value::Array(Array::F32(vocab.scores))));
    add("ggml.merges", (!vocab.merges.is_empty()).then(|| strings(vocab.merges)));
    add("ggml.bos_token_id", id(vocab.bos));
    add("ggml.eos_token_id", id(vocab.eos));
    add("ggml.unknown_token_id", id(vocab.unk));
    add("ggml.add_bos_token", flag(vocab.add_bos));
    add("ggml.add_eos_token", flag(vocab.add_eos));
    add("ggml.add_space_prefix", flag(vocab.add_space_prefix));
    add("chat_template", template(checkpoint)?.map(Value::String));
    Ok(keys)
}

/// The text of a model's chat template, if it has one.
fn template(checkpoint: &Checkpoint) -> anyhow::Result<Option<String>> {
    if let Some(file) = checkpoint.gguf() {
        return Ok(file.metadata().str("tokenizer.chat_template").ok().map(str::to_owned));
    }
    if let Some(file) = checkpoint.read("chat_template.jinja")? {
        return Ok(Some(String::from_utf8(file).context("chat_template.jinja")?));
    }
    let Some(config) = checkpoint.read("tokenizer_config.json")? else { return Ok(None) };
    let config: serde_json::Value = serde_json::from_slice(&config).context("tokenizer_config.json")?;
    Ok(config["chat_template"].as_str().map(str::to_owned))
}
