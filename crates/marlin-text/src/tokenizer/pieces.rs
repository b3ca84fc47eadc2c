//! What every token id decodes to: one flat table of bytes, made once when a tokenizer is loaded.
//!
//! Concatenating the bytes of a sequence of ids gives the text's bytes; no token's bytes depend on its
//! neighbours (the one space that some vocabularies put before a text is the detokenizer's business).

use super::spm::token_byte;

/// How the texts of a vocabulary stand for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// GPT-2's alphabet: one printable character for each byte.
    ByteLevel,
    /// SentencePiece's: `▁` is a space; with `byte_fallback` the tokens `<0x00>` … `<0xFF>` are bytes.
    Spaced {
        /// Whether `<0xAB>` stands for a byte.
        byte_fallback: bool,
        /// Whether one space at the very start of a text is dropped in decoding.
        strip_leading: bool,
    },
}

impl Scheme {
    /// Whether one space at the very start of a text is dropped in decoding.
    pub(super) fn strips_leading_space(self) -> bool {
        matches!(self, Self::Spaced { strip_leading: true, .. })
    }

    /// The bytes of a token that is recognised in a text as it stands there.
    pub(super) fn added_bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => token.as_bytes().to_vec(),
            Self::Spaced { .. } => self.bytes(token),
        }
    }

    /// The bytes that a token's text stands for.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => {
                let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::Spaced { byte_fallback, .. } => match token_byte(token).filter(|_| byte_fallback) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
        }
    }
}

/// The byte a character of GPT-2's alphabet stands for: printable Latin-1 stands for itself, and the 68
/// other bytes, in order, for U+0100 onwards (github.com/openai/gpt-2, src/encoder.py `bytes_to_unicode`).
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Bytes and kind of every id.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// End of each id's bytes; it starts where the one before ends.
    ends: Vec<usize>,
    special: Vec<bool>,
}

impl Pieces {
    /// `entries` holds, for every id from 0, its bytes and whether it is special.
    pub(super) fn new(entries: impl Iterator<Item = (Vec<u8>, bool)>) -> Self {
        let mut pieces = Self { bytes: Vec::new(), ends: Vec::new(), special: Vec::new() };
        for (bytes, special) in entries {
            pieces.bytes.extend_from_slice(&bytes);
            pieces.ends.push(pieces.bytes.len());
            pieces.special.push(special);
        }
        pieces
    }

    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of an id; none for an id outside the vocabulary.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let index = id as usize;
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.bytes[start..end])
    }

    /// Whether an id is a control token, not text.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }
}
