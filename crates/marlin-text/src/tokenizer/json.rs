//! A tokenizer from Hugging Face's `tokenizer.json`, with the roles that `tokenizer_config.json` gives to
//! tokens.
//!
//! The `tokenizers` library encodes; decoding is read from the decoder section into a [`Scheme`], so that it
//! can run one token at a time.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Model;

use super::pieces::{Pieces, Scheme};
use super::{Encoder, MAX_IDS, Roles, Tokenizer};
use crate::error::{Error, Result};

const FILE: &str = "tokenizer.json";

/// The parts of the file that are needed beside the library's own reading.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    decoder: Value,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

pub(super) fn load(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Tokenizer> {
    let file: File = read(FILE, tokenizer)?;
    let mut encoder = Encoder::from_bytes(tokenizer).map_err(|error| Error::tokenizer(FILE, &error))?;
    encoder.with_truncation(None).map_err(|error| Error::tokenizer(FILE, &error))?;
    encoder.with_padding(None);
    for Added { id, content, .. } in &file.added_tokens {
        let found = encoder.token_to_id(content);
        if found != Some(*id) {
            return Err(Error::TokenId { token: content.clone(), found, expected: Some(*id) });
        }
    }
    let scheme = scheme(&file.decoder)?;
    let pieces = pieces(&encoder, &file.added_tokens, scheme)?;
    let roles = config.map_or(Ok(Roles::default()), |config| roles(&encoder, config))?;
    Ok(Tokenizer::assemble(encoder, pieces, scheme, roles))
}

fn read<'de, T: Deserialize<'de>>(file: &'static str, bytes: &'de [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { file, source })
}

fn pieces(encoder: &Encoder, added: &[Added], scheme: Scheme) -> Result<Pieces> {
    let mut entries: Vec<(Vec<u8>, bool)> = Vec::new();
    let mut set = |id: u32, token: &str, bytes: Vec<u8>, special: bool| {
        let index = id as usize;
        if index >= MAX_IDS {
            let (list, expected) = ("vocabulary", "an id below 16777216");
            return Err(Error::Entry { list, index, found: token.to_owned(), expected });
        }
        if index >= entries.len() {
            entries.resize(index + 1, (Vec::new(), false));
        }
        entries[index] = (bytes, special);
        Ok(())
    };
    for (token, id) in encoder.get_model().get_vocab() {
        set(id, &token, scheme.bytes(&token), false)?;
    }
    for Added { id, content, special } in added {
        set(*id, content, scheme.added_bytes(content), *special)?;
    }
    Ok(Pieces::new(entries.into_iter()))
}

fn scheme(decoder: &Value) -> Result<Scheme> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text(decoder, "type").unwrap_or_else(|| "null".to_owned());
    let steps = match kind.as_str() {
        "Sequence" => decoder["decoders"].as_array().map_or(&[][..], Vec::as_slice),
        _ => std::slice::from_ref(decoder),
    };
    let (mut spaced, mut byte_fallback, mut strip_leading) = (false, false, false);
    for step in steps {
        let kind = text(step, "type").unwrap_or_default();
        match kind.as_str() {
            "ByteLevel" => return Ok(Scheme::ByteLevel),
            "Metaspace" if text(step, "replacement").as_deref() == Some("▁") => {
                spaced = true;
                strip_leading = text(step, "prepend_scheme").as_deref() != Some("never");
            }
            "Replace" if step["pattern"]["String"] == "▁" && step["content"] == " " => spaced = true,
            "ByteFallback" => byte_fallback = true,
            "Strip" if step["content"] == " " && step["stop"] == 0 => strip_leading = step["start"] == 1,
            "Fuse" => {}
            _ => return Err(Error::Decoder { found: kind }),
        }
    }
    if spaced {
        Ok(Scheme::Spaced { byte_fallback, strip_leading })
    } else {
        Err(Error::Decoder { found: kind })
    }
}

fn roles(encoder: &Encoder, config: &[u8]) -> Result<Roles> {
    let config: Value = read("tokenizer_config.json", config)?;
    let id = |key: &str| {
        let Some(token) = token_content(&config[key]) else { return Ok(None) };
        let found = encoder.token_to_id(token);
        match found {
            Some(id) => Ok(Some(id)),
            None => Err(Error::TokenId { token: token.to_owned(), found, expected: None }),
        }
    };
    Ok(Roles { bos: id("bos_token")?, eos: id("eos_token")?, unk: id("unk_token")? })
}

/// The text of a token that a configuration gives as a string or as an object with `content`.
pub(crate) fn token_content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
