//! The calibration text as batches: windows of tokens side by side, each from an empty cache.

use marlin_kernel::{Batch, SequenceRows};

/// Rows of a batch at most, unless one window alone is longer: what players multiply well, and the
/// activations of a wide layer still fit in memory.
pub(super) const ROWS: usize = 2048;

/// No player needs more than this many tokens of its cache to end a window inside a page.
const MOST_PAGE: usize = 256;

/// Windows of equal length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// A whole number of windows.
    pub tokens: &'a [u32],
    /// Tokens of a window.
    pub window: usize,
}

impl<'a> Text<'a> {
    /// The whole windows of `tokens`.
    pub fn new(tokens: &'a [u32], window: usize) -> Text<'a> {
        Text { tokens: &tokens[..tokens.len() / window * window], window }
    }

    /// Windows that are played side by side.
    pub fn group(&self) -> usize {
        (ROWS / self.window).clamp(1, (self.tokens.len() / self.window).max(1))
    }

    /// Tokens that caches must hold for a batch.
    pub fn context(&self) -> usize {
        self.group() * self.window.next_multiple_of(MOST_PAGE)
    }

    /// All batches in order, for caches with pages of `page_size`; every row is an output.
    pub fn batches(&self, page_size: usize) -> impl Iterator<Item = Batch> {
        let pages = self.window.div_ceil(page_size) as u32;
        let window = self.window;
        self.tokens.chunks(self.group() * window).map(move |tokens| {
            let rows = tokens.len() as u32;
            let sequence = |slot: usize| {
                let first = slot as u32 * pages;
                let pages = (first..first + pages).collect();
                SequenceRows { rows: slot * window..(slot + 1) * window, pages }
            };
            Batch {
                tokens: tokens.to_vec(),
                positions: (0..rows).map(|row| row % window as u32).collect(),
                sequences: (0..tokens.len() / window).map(sequence).collect(),
                outputs: (0..rows).collect(),
                choices: Vec::new(),
            }
        })
    }
}

/// `count` rows that belong to no text: for plans without embedding and attention.
pub(super) fn rows_only(count: usize) -> Batch {
    Batch {
        tokens: vec![0; count],
        positions: (0..count as u32).collect(),
        sequences: vec![SequenceRows { rows: 0..count, pages: Vec::new() }],
        ..Batch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_of_a_whole_window_is_played_once() {
        let tokens: Vec<u32> = (0..2503).collect();
        let text = Text::new(&tokens, 500);
        let batches: Vec<Batch> = text.batches(32).collect();
        assert_eq!((text.group(), batches.len()), (4, 2));
        let played: Vec<u32> = batches.iter().flat_map(|batch| batch.tokens.clone()).collect();
        assert_eq!(played, tokens[..2500]);
        assert_eq!((batches[0].sequences.len(), batches[1].sequences.len()), (4, 1));
        assert_eq!((batches[0].positions[499], batches[0].positions[500]), (499, 0));
        assert_eq!(batches[0].sequences[1].pages[0], 16);
    }
}
