//! Incremental decoding: whole characters only, nothing lost, the same as decoding at once.

use marlin_text::{Detokenizer, GgufVocab, Tokenizer};
use proptest::prelude::*;

use crate::golden::Golden;

fn byte_level() -> Tokenizer {
    let golden = Golden::read(include_str!("../data/byte_level.json"));
    Tokenizer::from_gguf(&GgufVocab { pre: Some("qwen2".to_owned()), ..golden.vocab() })
        .expect("vocabulary loads")
}

fn scores() -> Tokenizer {
    Tokenizer::from_gguf(&Golden::read(include_str!("../data/scores.json")).vocab())
        .expect("vocabulary loads")
}

/// The token for a single byte.
fn byte_id(tokenizer: &Tokenizer, byte: u8) -> u32 {
    let is_byte = |&id: &u32| tokenizer.token_bytes(id) == Some(&[byte]);
    (0..tokenizer.vocab_size() as u32).find(is_byte).expect("a token for each byte")
}

#[test]
fn an_emoji_appears_with_its_last_byte() {
    for tokenizer in [byte_level(), scores()] {
        let mut detokenizer = Detokenizer::new(&tokenizer, true);
        let pieces: Vec<String> =
            "a🙂é".bytes().map(|byte| detokenizer.push(byte_id(&tokenizer, byte))).collect();
        assert_eq!(pieces, ["a", "", "", "", "🙂", "", "é"]);
        assert_eq!(detokenizer.finish(), "");
    }
}

#[test]
fn broken_bytes_become_replacement_characters() {
    let tokenizer = byte_level();
    let mut detokenizer = Detokenizer::new(&tokenizer, true);
    let mut push = |byte: u8| detokenizer.push(byte_id(&tokenizer, byte));
    assert_eq!(push(0xFF), "\u{FFFD}", "never the beginning of a character");
    assert_eq!(push(0xF0), "");
    assert_eq!(push(0x9F), "");
    assert_eq!(push(b'x'), "\u{FFFD}x", "an interrupted character is one replacement");
    assert_eq!(push(0x80), "\u{FFFD}", "a stray continuation");
    assert_eq!(push(0xE2), "");
    assert_eq!(push(0x82), "");
    assert_eq!(detokenizer.finish(), "\u{FFFD}");
    assert_eq!(detokenizer.finish(), "", "finishing twice adds nothing");
}

#[test]
fn special_tokens_and_unknown_ids_add_nothing() {
    let tokenizer = byte_level();
    let end = tokenizer.id("<|im_end|>").expect("there");
    let mut detokenizer = Detokenizer::new(&tokenizer, true);
    assert_eq!(detokenizer.push(byte_id(&tokenizer, 0xC3)), "");
    assert_eq!(detokenizer.push(end), "");
    assert_eq!(detokenizer.push(u32::MAX), "");
    assert_eq!(detokenizer.push(byte_id(&tokenizer, 0xA9)), "é", "a skipped token does not cut a character");
    let mut showing = Detokenizer::new(&tokenizer, false);
    assert_eq!(showing.push(end), "<|im_end|>");
}

#[test]
fn only_the_space_before_a_whole_text_is_dropped() {
    let tokenizer = scores();
    let ids = tokenizer.encode("the the", false, false).expect("encodes");
    assert_eq!(tokenizer.decode(&ids, false), "the the");
    let mut after_prompt = Detokenizer::new(&tokenizer, true);
    assert_eq!(after_prompt.push(ids[0]), " the");
    let mut from_start = Detokenizer::from_start(&tokenizer, true);
    assert_eq!(from_start.push(ids[0]), "the");
    assert_eq!(from_start.push(ids[0]), " the");
    let two = tokenizer.encode("  the", false, false).expect("encodes");
    assert_eq!(tokenizer.decode(&two, false), "  the");
}

proptest! {
    #[test]
    fn pieces_join_to_the_whole(ids in proptest::collection::vec(0u32..920, 0..60), skip in any::<bool>()) {
        thread_local! {
            static TOKENIZERS: [Tokenizer; 2] = [byte_level(), scores()];
        }
        TOKENIZERS.with(|tokenizers| for tokenizer in tokenizers {
            let mut detokenizer = Detokenizer::from_start(tokenizer, skip);
            let mut joined = String::new();
            for &id in &ids {
                let piece = detokenizer.push(id);
                let bytes = tokenizer.token_bytes(id).map_or(0, <[u8]>::len);
                // At most 3 bytes waited, and a byte becomes at most one replacement of 3 bytes.
                assert!(piece.len() <= 3 * (bytes + 3));
                joined.push_str(&piece);
            }
            joined.push_str(&detokenizer.finish());
            assert_eq!(joined, tokenizer.decode(&ids, skip));

            let kept = ids.iter().filter(|&&id| !(skip && tokenizer.is_special(id)));
            let bytes: Vec<&[u8]> = kept.filter_map(|&id| tokenizer.token_bytes(id)).collect();
            let bytes = bytes.concat();
            let whole = String::from_utf8_lossy(&bytes);
            let is_spaced = tokenizer.unk().is_some();
            let expected = whole.strip_prefix(' ').filter(|_| is_spaced).unwrap_or(&whole);
            assert_eq!(joined, expected);
        });
    }
}
