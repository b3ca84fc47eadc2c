//! SentencePiece BPE as GGUF stores it: a score for every token and no list of merges.
//!
//! Text starts as single characters; the adjacent pair whose concatenation is the token of highest score is
//! joined, the leftmost first among equals, until no pair is a token. A character that is no token becomes
//! its UTF-8 bytes (`<0x00>` … `<0xFF>`), or the unknown token where the vocabulary has no bytes. Sennrich
//! et al. 2016 (arXiv:1508.07909) with the priority of Kudo and Richardson 2018 (arXiv:1808.06226).

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use serde::ser::{Serialize, SerializeStruct, Serializer};
use tokenizers::Token;

/// A vocabulary with scores.
pub(super) struct ScoreMerge {
    ids: HashMap<String, u32>,
    tokens: Vec<String>,
    scores: Vec<f32>,
    /// Tokens that text can be merged into: neither control, unknown nor byte tokens.
    mergeable: Vec<bool>,
    bytes: Option<Box<[u32; 256]>>,
    unk: Option<u32>,
}

/// A stretch of text that is one token so far, in a doubly linked list.
struct Symbol {
    start: usize,
    /// Length in bytes; 0 once joined to its left neighbour.
    len: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could be joined.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    /// Byte length of the joined text: differs from the symbols' own once either has grown.
    len: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl ScoreMerge {
    /// `tokens`, `scores` and `mergeable` are parallel; of equal tokens the last one is found by its text.
    pub(super) fn new(tokens: Vec<String>, scores: Vec<f32>, mergeable: Vec<bool>, unk: Option<u32>) -> Self {
        let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let bytes: Option<Vec<u32>> = (0..=255u8).map(|byte| ids.get(&byte_token(byte)).copied()).collect();
        let bytes = bytes.and_then(|ids| ids.into_boxed_slice().try_into().ok());
        Self { ids, tokens, scores, mergeable, bytes, unk }
    }

    /// True if every text can be encoded: there is a token for each byte, or one for the unknown.
    pub(super) fn is_total(&self) -> bool {
        self.bytes.is_some() || self.unk.is_some()
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    pub(super) fn vocab(&self) -> HashMap<String, u32> {
        self.ids.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Splits `text` into tokens; offsets are bytes of `text`.
    pub(super) fn tokenize(&self, text: &str) -> Vec<Token> {
        let mut symbols = characters(text);
        let mut heap = BinaryHeap::new();
        for left in 1..symbols.len() {
            heap.extend(self.candidate(text, &symbols, left - 1, left));
        }
        while let Some(pair) = heap.pop() {
            let (left, right) = (&symbols[pair.left], &symbols[pair.right]);
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            let next = right.next;
            symbols[pair.right].len = 0;
            symbols[pair.left].len = pair.len;
            symbols[pair.left].next = next;
            if let Some(next) = next {
                symbols[next].prev = Some(pair.left);
                heap.extend(self.candidate(text, &symbols, pair.left, next));
            }
            if let Some(prev) = symbols[pair.left].prev {
                heap.extend(self.candidate(text, &symbols, prev, pair.left));
            }
        }
        let mut tokens = Vec::new();
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            self.emit(text, symbol.start..symbol.start + symbol.len, &mut tokens);
        }
        tokens
    }

    /// Every way to join two tokens into one, the joins done first in front.
    ///
    /// As a list of merges this cuts text like the scores do, but for runs of one character in which two
    /// ways to the same token overlap.
    fn merges(&self) -> Vec<(&str, &str)> {
        let mut merges = Vec::new();
        for (token, score) in self.tokens.iter().zip(&self.scores) {
            if self.mergeable_id(token).is_none() {
                continue;
            }
            for (at, _) in token.char_indices().rev().filter(|&(at, _)| at > 0) {
                let (left, right) = token.split_at(at);
                if self.mergeable_id(left).is_some() && self.mergeable_id(right).is_some() {
                    merges.push((score, left, right));
                }
            }
        }
        merges.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        merges.into_iter().map(|(_, left, right)| (left, right)).collect()
    }

    fn mergeable_id(&self, text: &str) -> Option<u32> {
        self.id(text).filter(|&id| self.mergeable[id as usize])
    }

    fn candidate(&self, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Candidate> {
        let len = symbols[left].len + symbols[right].len;
        let start = symbols[left].start;
        let id = self.mergeable_id(&text[start..start + len])?;
        Some(Candidate { score: self.scores[id as usize], left, right, len })
    }

    fn emit(&self, text: &str, span: std::ops::Range<usize>, tokens: &mut Vec<Token>) {
        let offsets = (span.start, span.end);
        let piece = &text[span];
        let mut push = |id: u32| tokens.push(Token::new(id, self.tokens[id as usize].clone(), offsets));
        if let Some(id) = self.mergeable_id(piece) {
            push(id);
        } else if let Some(bytes) = &self.bytes {
            piece.bytes().for_each(|byte| push(bytes[byte as usize]));
        } else if let Some(unk) = self.unk {
            push(unk);
        }
    }
}

/// As the `BPE` model of a tokenizer.json.
impl Serialize for ScoreMerge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut model = serializer.serialize_struct("BPE", 6)?;
        model.serialize_field("type", "BPE")?;
        model.serialize_field("unk_token", &self.unk.and_then(|id| self.token(id)))?;
        model.serialize_field("fuse_unk", &false)?;
        model.serialize_field("byte_fallback", &self.bytes.is_some())?;
        model.serialize_field("vocab", &self.ids)?;
        model.serialize_field("merges", &self.merges())?;
        model.end()
    }
}

/// The text of the token for one byte.
pub(super) fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The byte that a token text of the form `<0xAB>` stands for.
pub(super) fn token_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

fn characters(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(index, (start, c))| Symbol {
            start,
            len: c.len_utf8(),
            prev: index.checked_sub(1),
            next: Some(index + 1),
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = None;
    }
    symbols
}
