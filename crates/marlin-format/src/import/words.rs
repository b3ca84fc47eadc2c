//! GPTQ's `qweight` to rows: a transposition of 32-bit words, whatever the width of a code.
//!
//! Words are packed down the columns, `bits` words for 32 codes, each column a stream of its own:
//!
//! ```text
//!  disk, word [i, n]             memory, row n
//!         n=0   n=1   n=2
//!  i=0  | a0  | b0  | c0 |       | a0 | a1 | a2 | ...       input 0 in the lowest bits of a0
//!  i=1  | a1  | b1  | c1 |       | b0 | b1 | b2 | ...
//!  i=2  | a2  | b2  | c2 |       | c0 | c1 | c2 | ...
//! ```

/// Words on a side of the squares that are turned one at a time, so that both sides stay in the cache.
const SIDE: usize = 16;

/// `words`, `[rows, cols]` of 32 bits, as `[cols, rows]`; its own inverse with the sizes exchanged.
/// Panics if the length is another: that is a bug of the caller.
pub fn transpose_words(words: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let (from, _) = words.as_chunks::<4>();
    assert_eq!((from.len(), words.len() % 4), (rows * cols, 0), "[{rows}, {cols}] words");
    let mut out = vec![0; words.len()];
    let (to, _) = out.as_chunks_mut::<4>();
    for top in (0..rows).step_by(SIDE) {
        for left in (0..cols).step_by(SIDE) {
            for col in left..cols.min(left + SIDE) {
                for row in top..rows.min(top + SIDE) {
                    to[col * rows + row] = from[row * cols + col];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_lands_in_its_row_and_comes_back() {
        for (rows, cols) in [(1, 1), (3, 5), (16, 16), (17, 33), (40, 7)] {
            let words: Vec<u8> = (0..(rows * cols) as u32).flat_map(u32::to_le_bytes).collect();
            let turned = transpose_words(&words, rows, cols);
            for (at, word) in turned.as_chunks::<4>().0.iter().enumerate() {
                let (col, row) = (at / rows, at % rows);
                assert_eq!(u32::from_le_bytes(*word) as usize, row * cols + col, "[{rows}, {cols}]");
            }
            assert_eq!(transpose_words(&turned, cols, rows), words);
        }
    }
}
