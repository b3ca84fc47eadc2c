//! Vocabularies and expected ids as tests/data/generate.py writes them.

use marlin_text::{GgufVocab, Tokenizer};
use serde_json::Value;

/// A vocabulary and the texts it is tried on.
pub struct Golden {
    file: Value,
}

impl Golden {
    /// Reads a file of tests/data.
    pub fn read(json: &str) -> Self {
        Self { file: serde_json::from_str(json).expect("golden file is JSON") }
    }

    /// The vocabulary, to be completed by `pre` or the like.
    pub fn vocab(&self) -> GgufVocab {
        let vocab = &self.file["vocab"];
        let texts = |key: &str| {
            let list = vocab[key].as_array().map_or(&[][..], Vec::as_slice);
            list.iter().map(|v| v.as_str().expect("a text").to_owned()).collect()
        };
        let numbers = |key: &str| vocab[key].as_array().map_or(&[][..], Vec::as_slice);
        let id = |key: &str| vocab[key].as_u64().map(|id| id as u32);
        GgufVocab {
            model: vocab["model"].as_str().expect("a model").to_owned(),
            pre: vocab["pre"].as_str().map(str::to_owned),
            tokens: texts("tokens"),
            types: numbers("types").iter().map(|v| v.as_i64().expect("a type") as i32).collect(),
            scores: numbers("scores").iter().map(|v| v.as_f64().expect("a score") as f32).collect(),
            merges: texts("merges"),
            bos: id("bos"),
            eos: id("eos"),
            unk: id("unk"),
            add_bos: vocab["add_bos"].as_bool(),
            add_eos: vocab["add_eos"].as_bool(),
            add_space_prefix: vocab["add_space_prefix"].as_bool(),
        }
    }

    /// The names of the id lists.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file["ids"].as_object().expect("id lists").keys().map(String::as_str)
    }

    /// Checks every text of one id list; returns how many ids were compared.
    pub fn check(&self, name: &str, tokenizer: &Tokenizer) -> usize {
        let texts = self.file["texts"].as_array().expect("texts");
        let rows = self.file["ids"][name].as_array().expect("an id list");
        assert_eq!(texts.len(), rows.len(), "{name}: one row a text");
        let mut compared = 0;
        for (text, row) in texts.iter().zip(rows) {
            let text = text.as_str().expect("a text");
            for (column, on) in [true, false].into_iter().enumerate() {
                let expected: Vec<u32> = serde_json::from_value(row[column].clone()).expect("ids");
                let found = tokenizer.encode(text, on, on).expect("text encodes");
                let tokens = |ids: &[u32]| {
                    ids.iter().map(|&id| tokenizer.token_text(id).unwrap_or_default()).collect::<Vec<_>>()
                };
                assert_eq!(
                    found,
                    expected,
                    "{name}, special {on}, text {text:?}:\n found    {:?}\n expected {:?}",
                    tokens(&found),
                    tokens(&expected)
                );
                compared += expected.len();
            }
        }
        compared
    }
}
