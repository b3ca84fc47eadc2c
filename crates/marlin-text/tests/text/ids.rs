//! Token ids against llama.cpp's and Hugging Face's.
//!
//! Two small vocabularies are shipped, tried with every family of pre-tokenizers on odd texts. Real ones are
//! large and under their models' licences: tests/data/real.py makes goldens of any, and
//! `MARLIN_TEXT_GOLDENS` names their directory; without it that test says that it did nothing.

use marlin_text::{GgufVocab, Tokenizer};
use serde_json::Value;

use crate::golden::Golden;

#[test]
fn byte_level_ids_are_llama_cpps() {
    let golden = Golden::read(include_str!("../data/byte_level.json"));
    for name in golden.names() {
        let vocab = GgufVocab { pre: Some(name.to_owned()), add_bos: Some(true), ..golden.vocab() };
        let tokenizer = Tokenizer::from_gguf(&vocab).expect("vocabulary loads");
        assert!(golden.check(name, &tokenizer) > 1000);
        check_written(&golden, name, &tokenizer);
    }
}

#[test]
fn score_ids_are_llama_cpps() {
    let golden = Golden::read(include_str!("../data/scores.json"));
    for (name, prefix) in [("space prefix", true), ("no space prefix", false)] {
        let vocab = GgufVocab { add_space_prefix: Some(prefix), ..golden.vocab() };
        let tokenizer = Tokenizer::from_gguf(&vocab).expect("vocabulary loads");
        assert!(golden.check(name, &tokenizer) > 1000);
        check_written(&golden, name, &tokenizer);
    }
}

/// The tokenizer.json that a vocabulary becomes gives the same ids and texts.
fn check_written(golden: &Golden, name: &str, tokenizer: &Tokenizer) {
    let json = tokenizer.to_json().expect("writes");
    let written = Tokenizer::from_json(&json, None).expect("reads what it wrote");
    golden.check(name, &written);
    assert_eq!(written.vocab_size(), tokenizer.vocab_size());
    for id in 0..tokenizer.vocab_size() as u32 {
        let parts =
            |t: &Tokenizer| (t.token_text(id), t.token_bytes(id).map(<[u8]>::to_vec), t.is_special(id));
        assert_eq!(parts(&written), parts(tokenizer), "{name}, id {id}");
    }
    let ids = tokenizer.encode("Hello  world", false, false).expect("encodes");
    assert_eq!(written.decode(&ids, false), "Hello  world");
}

#[test]
fn ids_of_real_vocabularies() {
    let Some(directory) = std::env::var_os("MARLIN_TEXT_GOLDENS") else {
        eprintln!("skipped: MARLIN_TEXT_GOLDENS names no directory of goldens made by tests/data/real.py");
        return;
    };
    let mut files = 0;
    for entry in std::fs::read_dir(directory).expect("directory of goldens") {
        let path = entry.expect("directory entry").path();
        let json = std::fs::read_to_string(&path).expect("golden file");
        let golden = Golden::read(&json);
        let tokenizer = match serde_json::from_str::<Value>(&json).expect("JSON")["tokenizer_json"].as_str() {
            Some(file) => Tokenizer::from_json(&std::fs::read(file).expect("tokenizer.json"), None),
            None => Tokenizer::from_gguf(&golden.vocab()),
        };
        let tokenizer = tokenizer.expect("vocabulary loads");
        for name in golden.names() {
            let ids = golden.check(name, &tokenizer);
            eprintln!("{}: {ids} ids agree with {name}", path.display());
            check_written(&golden, name, &tokenizer);
        }
        files += 1;
    }
    assert!(files > 0, "the directory holds no golden");
}
