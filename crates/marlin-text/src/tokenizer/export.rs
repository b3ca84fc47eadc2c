//! A byte-level tokenizer as the vocabulary of a GGUF: `gguf.rs` read from right to left.
//!
//! llama.cpp has no expressions in its files: it knows families of them by name. A tokenizer has a GGUF
//! only if one of [`PRE_TOKENIZERS`] cuts text as it does.

use serde_json::Value;

use super::pieces::Scheme;
use super::pre::{CONTRACTIONS, GPT2, PreTokenizer};
use super::{GgufVocab, Tokenizer};
use crate::error::{Error, Result};

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

pub(super) fn vocab(tokenizer: &Tokenizer) -> Result<GgufVocab> {
    if tokenizer.inner.scheme != Scheme::ByteLevel {
        return Err(refused("decoder", "SentencePiece's spaces", "byte-level BPE"));
    }
    let json: Value = serde_json::from_slice(&tokenizer.to_json()?)
        .map_err(|source| Error::Json { file: "tokenizer.json", source })?;
    let model = &json["model"];
    if model["type"] != "BPE" || model["byte_fallback"] == true {
        return Err(refused("model", &model["type"].to_string(), "byte-level BPE"));
    }
    let (bos, eos) = (tokenizer.bos(), tokenizer.eos());
    let (add_bos, add_eos) = around(tokenizer, bos, eos)?;
    let mut types = vec![UNUSED; tokenizer.vocab_size()];
    for id in model["vocab"].as_object().into_iter().flat_map(|vocab| vocab.values()) {
        types[id.as_u64().unwrap_or_default() as usize] = NORMAL;
    }
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let id = token["id"].as_u64().unwrap_or_default() as usize;
        types[id] = if token["special"] == true { CONTROL } else { USER_DEFINED };
    }
    // Ids that no token has still have a row of the embedding.
    let text = |id: usize| tokenizer.token_text(id as u32).unwrap_or_else(|| unused(id));
    Ok(GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some(pre_tokenizer(&json, add_bos)?.name().to_owned()),
        tokens: (0..types.len()).map(text).collect(),
        types,
        scores: Vec::new(),
        merges: model["merges"].as_array().into_iter().flatten().map(merge).collect::<Result<_>>()?,
        bos,
        eos,
        unk: tokenizer.unk(),
        add_bos: Some(add_bos),
        add_eos: Some(add_eos),
        add_space_prefix: None,
    })
}

impl GgufVocab {
    /// Adds unused tokens up to `size`: llama.cpp wants one for each row of the embedding.
    pub fn pad(&mut self, size: usize) {
        self.types.resize(self.tokens.len(), NORMAL);
        for id in self.tokens.len()..size {
            self.tokens.push(unused(id));
            self.types.push(UNUSED);
            if !self.scores.is_empty() {
                self.scores.push(0.0);
            }
        }
    }
}

fn unused(id: usize) -> String {
    format!("[PAD{id}]")
}

fn refused(part: &'static str, found: &str, expected: &'static str) -> Error {
    Error::NoGguf { part, found: found.to_owned(), expected }
}

/// Whether BOS is put before a text and EOS after it; nothing else can be said in a GGUF.
fn around(tokenizer: &Tokenizer, bos: Option<u32>, eos: Option<u32>) -> Result<(bool, bool)> {
    let ids = tokenizer.encode("", true, false)?;
    let is = |id: &u32, role: Option<u32>| role == Some(*id);
    match ids.as_slice() {
        [] => Ok((false, false)),
        [id] if is(id, bos) => Ok((true, false)),
        [id] if is(id, eos) => Ok((false, true)),
        [first, last] if is(first, bos) && is(last, eos) => Ok((true, true)),
        ids => Err(refused("post_processor", &format!("tokens {ids:?} around a text"), "BOS, EOS or none")),
    }
}

/// A merge as two tokens with a space between; in a tokenizer.json also as a list.
fn merge(value: &Value) -> Result<String> {
    match (value.as_str(), value.as_array().map(Vec::as_slice)) {
        (Some(text), _) => Ok(text.to_owned()),
        (_, Some([Value::String(left), Value::String(right)])) => Ok(format!("{left} {right}")),
        _ => Err(refused("merges", &value.to_string(), "two tokens")),
    }
}

/// The family that cuts text as the file says.
fn pre_tokenizer(json: &Value, add_bos: bool) -> Result<&'static PreTokenizer> {
    let mut splits = Vec::new();
    let mut all_known = flatten(&json["pre_tokenizer"], &mut splits);
    let nfc = json["normalizer"]["type"] == "NFC";
    all_known &= nfc || json["normalizer"].is_null();
    let ignore_merges = json["model"]["ignore_merges"] == true;
    let family = PreTokenizer::matching(&splits, ignore_merges, nfc, add_bos).filter(|_| all_known);
    family.ok_or_else(|| {
        let found = format!("{} after normalizer {}", json["pre_tokenizer"], json["normalizer"]);
        refused("pre_tokenizer", &found, "one that llama.cpp has a name for")
    })
}

/// The expressions of a pre-tokenizer, in order; false for a step that is none.
fn flatten(step: &Value, splits: &mut Vec<String>) -> bool {
    match step["type"].as_str() {
        Some("Sequence") => {
            let steps = step["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice);
            steps.iter().all(|step| flatten(step, splits))
        }
        // Matches and gaps are pieces alike, so to keep the matches only is the same where all is matched.
        Some("Split") if step["behavior"] == "Isolated" || step["invert"] == true => {
            let Some(regex) = step["pattern"]["Regex"].as_str() else { return false };
            splits.push(regex.replace(CONTRACTIONS.0, CONTRACTIONS.1));
            true
        }
        Some("Digits") if step["individual_digits"] == true => {
            splits.push(r"\p{N}".to_owned());
            true
        }
        Some("ByteLevel") if step["add_prefix_space"] != true => {
            if step["use_regex"] == true {
                splits.push(GPT2.to_owned());
            }
            true
        }
        _ => false,
    }
}
