//! A GGUF's vocabulary and chat template, from its metadata to what marlin-text takes.

use marlin_file::Gguf;
use marlin_text::{ChatTemplate, GgufVocab, Tokenizer};
use serde_json::json;

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
