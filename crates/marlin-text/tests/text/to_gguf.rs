//! A tokenizer.json as a GGUF's vocabulary: the same ids from both, or a refusal that names the part.

use crate::golden::Golden;
use crate::tokenizer::{byte_level_vocab, from_json, tokenizer_json};
use marlin_text::{GgufVocab, Tokenizer};
use serde_json::{Value, json};

/// The vocabulary made of a tokenizer.json that `change` has changed.
fn exported(change: impl FnOnce(&mut Value)) -> Result<GgufVocab, String> {
    let mut json = tokenizer_json();
    change(&mut json);
    let roles = json!({"bos_token": "<|begin|>"});
    let tokenizer = from_json(&json, Some(roles)).expect("tokenizer.json loads");
    tokenizer.to_gguf().map_err(|error| error.to_string())
}

#[test]
fn the_vocabulary_splits_as_the_tokenizer_did() {
    let vocab = exported(|_| {}).expect("a byte-level tokenizer");
    let original = byte_level_vocab();
    assert_eq!((vocab.pre.as_deref(), vocab.add_bos), (Some("smollm"), Some(true)));
    assert_eq!((&vocab.tokens, &vocab.types), (&original.tokens, &original.types));
    assert_eq!((&vocab.merges, vocab.bos), (&original.merges, original.bos));
    let golden = Golden::read(include_str!("../data/byte_level.json"));
    assert!(golden.check("smollm", &Tokenizer::from_gguf(&vocab).expect("it loads")) > 1000);
}

#[test]
fn other_spellings_of_a_family_are_known() {
    let split = |regex: &str| {
        let pattern = json!({"Regex": regex});
        json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
    };
    let bytes = |own: bool| {
        let mut step = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false});
        step["use_regex"] = own.into();
        step
    };
    let name = |steps: Value, ignore_merges: bool| {
        let vocab = exported(|json| {
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps});
            json["model"]["ignore_merges"] = ignore_merges.into();
        });
        vocab.map(|vocab| vocab.pre.unwrap_or_default())
    };
    let digits = json!({"type": "Digits", "individual_digits": true});
    assert_eq!(name(json!([digits, bytes(true)]), false).as_deref(), Ok("smollm"));
    assert_eq!(name(json!([bytes(true)]), false).as_deref(), Ok("gpt-2"));
    let gpt4 = concat!(
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    // BOS before every text tells llama 3 from GLM.
    assert_eq!(name(json!([split(gpt4), bytes(false)]), true).as_deref(), Ok("llama-bpe"));
}

#[test]
fn what_a_gguf_cannot_say_is_refused() {
    let refused = |change: fn(&mut Value)| exported(change).expect_err("this must be refused");
    let words =
        refused(|json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[0-9]".into());
    assert!(words.starts_with("tokenizer.json: pre_tokenizer: found {"), "{words}");
    let lower = refused(|json| json["normalizer"] = json!({"type": "Lowercase"}));
    assert!(lower.contains(r#"after normalizer {"type":"Lowercase"}"#), "{lower}");
    let around = refused(|json| {
        let begin = json["post_processor"]["single"][0].clone();
        json["post_processor"]["single"] = json!([begin, begin, {"Sequence": {"id": "A", "type_id": 0}}]);
    });
    assert!(around.contains("post_processor: found tokens"), "{around}");
}

#[test]
fn rows_without_a_token_are_filled_up() {
    let mut vocab = byte_level_vocab();
    let size = vocab.tokens.len();
    vocab.pad(size + 2);
    assert_eq!(vocab.tokens.len(), vocab.types.len());
    assert_eq!(vocab.tokens[size + 1], format!("[PAD{}]", size + 1));
    assert_eq!(vocab.types[size..], [5, 5]);
    vocab.pad(size);
    assert_eq!(vocab.tokens.len(), size + 2);
}
