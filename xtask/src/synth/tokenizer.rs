//! A tokenizer with the vocabulary size and the special tokens of GLM-4.7-Flash, whose real one cannot
//! be shipped: every byte is a token, the ids between bytes and special tokens are names that no text
//! encodes to.

use serde_json::{Map, Value, json};

use super::shapes::Shapes;

/// Special tokens with their distance from the first, as in GLM's tokenizers.
const SPECIAL: &[(usize, &str)] = &[
    (0, "<|endoftext|>"),
    (1, "[MASK]"),
    (2, "[gMASK]"),
    (3, "[sMASK]"),
    (4, "<sop>"),
    (5, "<eop>"),
    (6, "<|system|>"),
    (7, "<|user|>"),
    (8, "<|assistant|>"),
    (9, "<|observation|>"),
    (21, "<think>"),
    (22, "</think>"),
    (23, "<tool_call>"),
    (24, "</tool_call>"),
    (25, "<tool_response>"),
    (26, "</tool_response>"),
    (27, "<arg_key>"),
    (28, "</arg_key>"),
    (29, "<arg_value>"),
    (30, "</arg_value>"),
];

/// The chat layout of the miniature, which is GLM's.
const CHAT_TEMPLATE: &str = include_str!("../../../assets/marlin-mini/chat_template.jinja");

/// Names and contents of the files that go with the tensors.
pub fn files(shapes: &Shapes) -> [(&'static str, String); 3] {
    let config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>" });
    [
        ("tokenizer.json", tokenizer(shapes).to_string()),
        ("tokenizer_config.json", format!("{config:#}\n")),
        ("chat_template.jinja", CHAT_TEMPLATE.to_owned()),
    ]
}

fn tokenizer(shapes: &Shapes) -> Value {
    let first = shapes.first_special();
    let mut vocab = Map::new();
    for (id, letter) in byte_letters().into_iter().enumerate() {
        vocab.insert(letter.to_string(), id.into());
    }
    for id in vocab.len()..shapes.vocab {
        let special = SPECIAL.iter().find(|(distance, _)| first + distance == id);
        let name = special.map_or_else(|| format!("<|unused_{id}|>"), |(_, name)| (*name).to_owned());
        vocab.insert(name, id.into());
    }
    let added = SPECIAL.iter().map(|(distance, name)| {
        json!({
            "id": first + distance, "content": name, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false
        })
    });
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": []
        }
    })
}

/// The letter that stands for each byte in a byte-level vocabulary: itself where it is printable, the
/// next one from U+0100 otherwise (GPT-2, `bytes_to_unicode`).
fn byte_letters() -> Vec<char> {
    let mut others = '\u{100}'..;
    let letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => Some(char::from(byte)),
        _ => others.next(),
    };
    (0..=u8::MAX).filter_map(letter).collect()
}
