//! Token ids to text, one at a time.
//!
//! What is pushed comes out once and in order: the concatenation of everything emitted is the decoding of
//! all ids. Text is emitted only in whole characters; the bytes of an unfinished one (at most 3) wait for
//! the next token.

use crate::tokenizer::Tokenizer;

/// Decoder of one growing sequence.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// Whether a space that comes next is the one the vocabulary puts before every text.
    drop_space: bool,
    /// Bytes not emitted yet: empty, or the beginning of a character.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Decodes what follows a prompt: every space is text. `skip_special` leaves out control tokens.
    pub fn new(tokenizer: &Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer: tokenizer.clone(), skip_special, drop_space: false, pending: Vec::new() }
    }

    /// Decodes a whole text: where the vocabulary puts a space before every text, that space is dropped.
    pub fn from_start(tokenizer: &Tokenizer, skip_special: bool) -> Self {
        let drop_space = tokenizer.strips_leading_space();
        Self { drop_space, ..Self::new(tokenizer, skip_special) }
    }

    /// Takes the next id and returns the text it completes, often none or several characters.
    ///
    /// An id outside the vocabulary adds nothing.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        self.push_to(id, &mut text);
        text
    }

    /// Ends the text: an unfinished character becomes one U+FFFD. The detokenizer may go on after it.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.finish_to(&mut text);
        text
    }

    /// As [`Detokenizer::push`], appending to `text`.
    pub(crate) fn push_to(&mut self, id: u32, text: &mut String) {
        if self.skip_special && self.tokenizer.is_special(id) {
            return;
        }
        let Some(mut bytes) = self.tokenizer.token_bytes(id) else { return };
        if self.drop_space && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.drop_space = false;
        }
        self.pending.extend_from_slice(bytes);
        let complete = self.pending.len() - unfinished_len(&self.pending);
        text.push_str(&String::from_utf8_lossy(&self.pending[..complete]));
        self.pending.drain(..complete);
    }

    /// As [`Detokenizer::finish`], appending to `text`.
    pub(crate) fn finish_to(&mut self, text: &mut String) {
        text.push_str(&String::from_utf8_lossy(&self.pending));
        self.pending.clear();
    }
}

/// Number of bytes at the end that begin a character and may still become one.
fn unfinished_len(bytes: &[u8]) -> usize {
    let tail_start = bytes.len().saturating_sub(3);
    for start in (tail_start..bytes.len()).rev() {
        if bytes[start] & 0b1100_0000 == 0b1000_0000 {
            continue;
        }
        let unfinished = matches!(std::str::from_utf8(&bytes[start..]), Err(e) if e.error_len().is_none());
        return if unfinished { bytes.len() - start } else { 0 };
    }
    0
}
