//! Streaming search for any of several strings in text that arrives in pieces.
//!
//! Text that cannot belong to a match is released at once; only the longest suffix that begins a string is
//! held back. The match reported is the one that ends first, and of those the longest, so that where a piece
//! ends plays no role.

/// Looks for a fixed set of strings.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    patterns: Vec<Pattern>,
    /// The text not released yet: a proper prefix of some pattern.
    held: String,
}

/// Outcome of feeding a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Text that belongs to no match, in order.
    pub(crate) text: String,
    /// The pattern found, by its index, and how many bytes of the piece were used up to its end. Nothing
    /// beyond was looked at; the next search starts afresh.
    pub(crate) hit: Option<(usize, usize)>,
}

/// One string and the state of its Knuth-Morris-Pratt automaton.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `borders[n]`: length of the longest proper prefix of the first n + 1 bytes that is also their suffix.
    borders: Vec<usize>,
    /// Length of the longest prefix that the text ends with.
    matched: usize,
}

impl Scanner {
    /// `patterns` must not be empty strings.
    pub(crate) fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Self {
        let patterns = patterns.into_iter().map(|pattern| Pattern::new(pattern.as_ref())).collect();
        Self { patterns, held: String::new() }
    }

    /// Feeds a piece up to its end or the end of the first match.
    pub(crate) fn push(&mut self, piece: &str) -> Scan {
        for (index, &byte) in piece.as_bytes().iter().enumerate() {
            for pattern in &mut self.patterns {
                pattern.step(byte);
            }
            let complete = self.patterns.iter().enumerate().filter(|(_, pattern)| pattern.is_complete());
            if let Some((found, pattern)) = complete.max_by_key(|(_, pattern)| pattern.bytes.len()) {
                let used = index + 1;
                let mut text = std::mem::take(&mut self.held);
                text.push_str(&piece[..used]);
                text.truncate(text.len() - pattern.bytes.len());
                self.patterns.iter_mut().for_each(|pattern| pattern.matched = 0);
                return Scan { text, hit: Some((found, used)) };
            }
        }
        self.held.push_str(piece);
        let hold = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - hold);
        Scan { text: std::mem::replace(&mut self.held, held), hit: None }
    }

    /// Ends the text and returns what was held back.
    pub(crate) fn finish(&mut self) -> String {
        self.patterns.iter_mut().for_each(|pattern| pattern.matched = 0);
        std::mem::take(&mut self.held)
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        debug_assert!(!text.is_empty(), "an empty pattern matches everywhere");
        let bytes = text.as_bytes().to_vec();
        let mut borders = vec![0; bytes.len()];
        let mut border = 0;
        for end in 1..bytes.len() {
            while border > 0 && bytes[border] != bytes[end] {
                border = borders[border - 1];
            }
            border += usize::from(bytes[border] == bytes[end]);
            borders[end] = border;
        }
        Self { bytes, borders, matched: 0 }
    }

    fn step(&mut self, byte: u8) {
        if self.is_complete() {
            self.matched = self.borders[self.matched - 1];
        }
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.borders[self.matched - 1];
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
    }

    fn is_complete(&self) -> bool {
        self.matched == self.bytes.len()
    }
}
