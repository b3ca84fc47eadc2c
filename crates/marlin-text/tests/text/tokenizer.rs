//! Tokenizers on two small vocabularies: round trips, special tokens, roles, and files that must be refused.

use crate::golden::Golden;
use marlin_text::{Error, GgufVocab, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

pub fn byte_level_vocab() -> GgufVocab {
    let golden = Golden::read(include_str!("../data/byte_level.json"));
    GgufVocab { pre: Some("smollm".to_owned()), ..golden.vocab() }
}

fn scores_vocab() -> GgufVocab {
    Golden::read(include_str!("../data/scores.json")).vocab()
}

fn load(vocab: &GgufVocab) -> Tokenizer {
    Tokenizer::from_gguf(vocab).expect("vocabulary loads")
}

/// The byte-level vocabulary as a tokenizer.json.
pub fn tokenizer_json() -> Value {
    let vocab = byte_level_vocab();
    let normal = vocab.types.iter().filter(|&&kind| kind == 1).count();
    let ids: serde_json::Map<String, Value> = vocab.tokens[..normal]
        .iter()
        .zip(0..)
        .map(|(token, id): (_, u32)| (token.clone(), json!(id)))
        .collect();
    let added: Vec<Value> = (normal..vocab.tokens.len())
        .map(|id| {
            json!({"id": id, "content": vocab.tokens[id], "special": vocab.types[id] == 3,
                   "normalized": false, "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    let split = |regex: &str| {
        let pattern = json!({"Regex": regex});
        json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
    };
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    json!({
        "version": "1.0", "padding": null,
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r"\p{N}"), split(gpt2), byte_level]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "bos", "type_id": 0}}, sequence("A")],
            "pair": [sequence("A"), sequence("B")],
            "special_tokens": {"bos": {"id": "bos", "ids": [vocab.bos], "tokens": ["<|begin|>"]}}},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": ids, "merges": vocab.merges},
    })
}

pub fn from_json(json: &Value, config: Option<Value>) -> Result<Tokenizer, Error> {
    let config = config.map(|config| config.to_string());
    Tokenizer::from_json(json.to_string().as_bytes(), config.as_ref().map(String::as_bytes))
}

#[test]
fn json_and_gguf_forms_give_the_same_ids() {
    let golden = Golden::read(include_str!("../data/byte_level.json"));
    let tokenizer = from_json(&tokenizer_json(), None).expect("tokenizer.json loads");
    assert!(golden.check("smollm", &tokenizer) > 1000, "truncation in the file must not apply");
}

#[test]
fn byte_tokens_and_their_bytes() {
    let tokenizer = load(&byte_level_vocab());
    let id = tokenizer.id("Ġthe").expect("a common word");
    assert_eq!(tokenizer.token_bytes(id), Some(" the".as_bytes()));
    assert_eq!(tokenizer.token_text(id).as_deref(), Some("Ġthe"));
    assert_eq!(tokenizer.token_bytes(tokenizer.vocab_size() as u32), None);
    let every_byte: Vec<u8> = (0..=255).collect();
    let single: Vec<&[u8]> = (0..256).filter_map(|id| tokenizer.token_bytes(id)).collect();
    let mut bytes = single.concat();
    bytes.sort_unstable();
    assert_eq!(bytes, every_byte, "the alphabet stands for each byte once");

    let tokenizer = load(&scores_vocab());
    assert_eq!(tokenizer.token_bytes(tokenizer.id("▁the").expect("a word")), Some(" the".as_bytes()));
    assert_eq!(tokenizer.token_bytes(tokenizer.id("<0xE2>").expect("a byte")), Some(&[0xE2][..]));
}

#[test]
fn roles_and_turn_ends() {
    let tokenizer = load(&byte_level_vocab());
    let id = |text: &str| tokenizer.id(text).expect("in the vocabulary");
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.unk()),
        (Some(id("<|begin|>")), Some(id("<|im_end|>")), None)
    );
    assert_eq!(tokenizer.turn_ends(), [id("<|im_end|>")]);
    assert!(
        tokenizer.is_special(id("<|im_start|>"))
            && !tokenizer.is_special(id("<think>"))
            && !tokenizer.is_special(0)
    );

    let begin = json!({"content": "<|begin|>", "lstrip": false});
    let config = json!({"bos_token": begin, "eos_token": "<think>", "unk_token": null});
    let tokenizer = from_json(&tokenizer_json(), Some(config)).expect("loads");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(id("<|begin|>")), Some(id("<think>"))));
    assert_eq!(tokenizer.turn_ends(), [id("<|im_end|>"), id("<think>")]);
    let absent = json!({"eos_token": "<absent>"});
    let error = from_json(&tokenizer_json(), Some(absent)).expect_err("names a token that is not there");
    assert!(matches!(error, Error::TokenId { ref token, found: None, .. } if token == "<absent>"), "{error}");
}

/// GLM ends no turn with a token of its own: the next speaker's tag does.
#[test]
fn glm_turns_end_at_the_next_speaker() {
    let mut vocab = byte_level_vocab();
    for token in ["[gMASK]", "<|user|>", "<|observation|>", "<|endoftext|>"] {
        vocab.tokens.push(token.to_owned());
        vocab.types.push(3);
    }
    vocab.eos = Some(vocab.tokens.len() as u32 - 1);
    let tokenizer = load(&vocab);
    for token in ["<|user|>", "<|observation|>", "<|endoftext|>"] {
        assert!(tokenizer.turn_ends().contains(&tokenizer.id(token).expect("added")), "{token}");
    }
}

#[test]
fn a_turn_end_marked_as_normal_text_is_a_control_token() {
    let mut vocab = byte_level_vocab();
    let id = vocab.tokens.iter().position(|token| token == "<|im_end|>").expect("in the vocabulary");
    vocab.types[id] = 1;
    assert_eq!(load(&vocab).encode("<|im_end|>", false, true).expect("encodes"), [id as u32]);
}

#[test]
fn spelled_out_control_tokens_are_text_unless_parsed() {
    for vocab in [byte_level_vocab(), scores_vocab()] {
        let tokenizer = load(&vocab);
        let text = "a <|im_end|> b <think>";
        let parsed = tokenizer.encode(text, false, true).expect("encodes");
        let plain = tokenizer.encode(text, false, false).expect("encodes");
        let (end, think) =
            (tokenizer.id("<|im_end|>").expect("there"), tokenizer.id("<think>").expect("there"));
        assert!(parsed.contains(&end) && !plain.contains(&end));
        assert!(
            parsed.contains(&think) && plain.contains(&think),
            "user-defined tokens are always recognised"
        );
        assert_eq!(tokenizer.decode(&plain, true), text);
        assert!(!tokenizer.decode(&parsed, true).contains("<|im_end|>"));
        assert!(tokenizer.decode(&parsed, false).contains("<|im_end|>"));
    }
}

#[test]
fn byte_token_text_is_not_a_byte() {
    let tokenizer = load(&scores_vocab());
    let ids = tokenizer.encode("<0x41>", false, true).expect("encodes");
    assert!(ids.len() > 1, "text must not forge a byte token: {ids:?}");
    assert_eq!(tokenizer.decode(&ids, false), "<0x41>");
}

#[test]
fn long_runs_are_split_like_short_ones() {
    let tokenizer = load(&GgufVocab { pre: Some("llama-bpe".to_owned()), ..byte_level_vocab() });
    let tail = tokenizer.encode("    x", false, false).expect("encodes");
    for run in [" ", "\n", "a", "1", "é"] {
        let text = run.repeat(100_000) + "    x";
        let ids = tokenizer.encode(&text, false, false).expect("encodes");
        assert_eq!(ids.last(), tail.last(), "after many {run:?}");
        assert_eq!(tokenizer.decode(&ids, false), text);
    }
}

#[test]
fn a_smaller_model_vocabulary_is_refused_with_both_numbers() {
    let tokenizer = load(&byte_level_vocab());
    let size = tokenizer.vocab_size();
    assert_eq!(size, byte_level_vocab().tokens.len());
    tokenizer.check_vocab(size).expect("exact");
    tokenizer.check_vocab(size + 59).expect("padded");
    let error = tokenizer.check_vocab(size - 1).expect_err("too small").to_string();
    assert_eq!(
        error,
        format!("tokenizer has token ids up to {}, the model's vocabulary has {} rows", size - 1, size - 1)
    );
}

#[test]
fn unusable_gguf_vocabularies_say_why() {
    let message = |vocab: &GgufVocab| Tokenizer::from_gguf(vocab).expect_err("must be refused").to_string();
    let good = byte_level_vocab();

    let unknown = message(&GgufVocab { pre: Some("martian".to_owned()), ..good.clone() });
    assert!(
        unknown.starts_with("pre-tokenizer 'martian' is unknown") && unknown.contains("llama-bpe, llama3"),
        "{unknown}"
    );
    let unknown = message(&GgufVocab { model: "bert".to_owned(), ..good.clone() });
    assert_eq!(unknown, "tokenizer model 'bert' is unknown, expected one of: gpt2, llama");

    let size = good.tokens.len();
    let short = message(&GgufVocab { types: vec![1; 7], ..good.clone() });
    assert_eq!(short, format!("tokenizer token_type: 7 entries, expected {size}, one a token"));
    let outside = message(&GgufVocab { bos: Some(size as u32), ..good.clone() });
    assert_eq!(outside, format!("tokenizer bos id {size}: the vocabulary has {size} tokens"));
    let kind = message(&GgufVocab { types: vec![9; size], ..good.clone() });
    assert_eq!(kind, "tokenizer token_type[0]: found \"9\", expected 1 to 6");
    let merge = message(&GgufVocab { merges: vec!["nospace".to_owned()], ..good.clone() });
    assert_eq!(merge, "tokenizer merges[0]: found \"nospace\", expected two tokens with a space between");
    for merge in ["", " ", "é", "not there", "Ġ \u{1F600}"] {
        message(&GgufVocab { merges: vec![merge.to_owned()], ..good.clone() });
    }

    let good = scores_vocab();
    let size = good.tokens.len();
    let none = message(&GgufVocab { scores: Vec::new(), ..good.clone() });
    assert_eq!(none, format!("tokenizer scores: 0 entries, expected {size}, one a token"));
    let nan = message(&GgufVocab { scores: vec![f32::NAN; size], ..good.clone() });
    assert_eq!(nan, "tokenizer scores[0]: found \"NaN\", expected a number");
    let tokens = vec!["a".to_owned(); 2];
    let partial = GgufVocab {
        tokens,
        types: vec![1; 2],
        scores: vec![0.0; 2],
        bos: None,
        eos: None,
        unk: None,
        ..good
    };
    assert!(message(&partial).contains("<0x00> to <0xFF>"));
}

#[test]
fn unusable_tokenizer_json_says_why() {
    let refuse = |change: fn(&mut Value)| {
        let mut json = tokenizer_json();
        change(&mut json);
        from_json(&json, None).expect_err("must be refused").to_string()
    };
    let word_piece =
        |json: &mut Value| json["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    assert!(refuse(word_piece).contains("decoder 'WordPiece' is unknown"));
    assert!(refuse(|json| json["decoder"] = Value::Null).contains("is unknown"));
    assert!(refuse(|json| json["added_tokens"][0]["id"] = json!(5)).contains("expected Some(5)"));
    assert!(refuse(|json| json["model"] = json!({"type": "BPE"})).starts_with("tokenizer.json: "));
    assert!(refuse(|json| json["model"]["merges"] = json!(["q \u{1F600}"])).starts_with("tokenizer.json: "));
    assert!(
        refuse(|json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("("))
            .contains("tokenizer.json")
    );
    assert!(
        refuse(|json| json["model"]["vocab"]["Ġthe"] = json!(4_000_000_000u32))
            .contains("an id below 16777216")
    );
    let bytes = tokenizer_json().to_string();
    for len in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
        Tokenizer::from_json(&bytes.as_bytes()[..len], None).expect_err("truncated");
    }
}

#[test]
fn decoders_of_spaced_vocabularies() {
    let space = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let (fallback, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let decoders = [
        (json!({"type": "Sequence", "decoders": [space, fallback, fuse, strip]}), "a b", true),
        (json!({"type": "Sequence", "decoders": [space, fallback, fuse]}), " a b", true),
        (
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            "a b",
            false,
        ),
        (
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true}),
            " a b",
            false,
        ),
    ];
    for (decoder, text, has_bytes) in decoders {
        let mut json = tokenizer_json();
        json["decoder"] = decoder.clone();
        let vocab = json!({"▁a": 0, "▁b": 1, "<0x41>": 2, "▁": 3, "a": 4, "b": 5});
        json["model"] = json!({"type": "BPE", "vocab": vocab, "merges": []});
        json["added_tokens"] = json!([]);
        json["post_processor"] = Value::Null;
        let tokenizer = from_json(&json, None).expect("loads");
        assert_eq!(tokenizer.decode(&[0, 1], false), text, "{decoder}");
        let byte = if has_bytes { &b"A"[..] } else { b"<0x41>" };
        assert_eq!(tokenizer.token_bytes(2), Some(byte), "{decoder}");
    }
}

fn odd_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        ".{0,8}",
        Just("<|im_end|>".to_owned()),
        Just("<think>".to_owned()),
        Just("\r\n".to_owned()),
        Just("  ".to_owned()),
        Just("👩‍👩‍👧".to_owned()),
        "[a-z]{1,6}",
        "[0-9]{1,5}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A token that is spelled like a byte of the alphabet but recognised in text is its own text.
#[test]
fn an_added_token_is_its_own_text() {
    let mut vocab = byte_level_vocab();
    vocab.tokens.push("õõ".to_owned());
    vocab.types.push(4);
    let tokenizer = load(&vocab);
    let written = Tokenizer::from_json(&tokenizer.to_json().expect("writes"), None).expect("reads");
    for tokenizer in [tokenizer, written] {
        let ids = tokenizer.encode("aõõ", false, false).expect("encodes");
        assert_eq!(ids.last(), tokenizer.id("õõ").as_ref());
        assert_eq!(tokenizer.decode(&ids, false), "aõõ");
    }
}

proptest! {
    #[test]
    fn text_survives_a_round_trip(text in odd_text(), parse in any::<bool>(), add in any::<bool>()) {
        thread_local! {
            static TOKENIZERS: [Tokenizer; 2] = [load(&byte_level_vocab()), load(&scores_vocab())];
        }
        let text = text.replace('▁', "");
        TOKENIZERS.with(|tokenizers| for tokenizer in tokenizers {
            let ids = tokenizer.encode(&text, add, parse).expect("every text can be encoded");
            let text_ids = &ids[usize::from(ids.first() == tokenizer.bos().as_ref())..];
            // A space is put before every stretch between special tokens; only the first is taken off again.
            let has_stretches = text.contains("<think>") || (parse && text.contains("<|im_end|>"));
            if !(tokenizer.unk().is_some() && has_stretches) {
                assert_eq!(tokenizer.decode(text_ids, false), text);
            }
            if !parse {
                let special = text_ids.iter().filter(|&&id| tokenizer.is_special(id)).count();
                assert_eq!(special, 0, "no text forges a control token");
            }
        });
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn damaged_tokenizer_json_never_panics(at in 0usize..20_000, byte in any::<u8>(), len in 0usize..40) {
        let mut bytes = tokenizer_json().to_string().into_bytes();
        let at = at % bytes.len();
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, [byte]);
        if let Ok(tokenizer) = Tokenizer::from_json(&bytes, None) {
            let ids = tokenizer.encode("Hello <think> 12\n", true, true);
            ids.map(|ids| tokenizer.decode(&ids, false)).ok();
        }
    }
}
