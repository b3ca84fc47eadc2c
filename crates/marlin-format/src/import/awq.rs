//! AWQ's `qweight` (version gemm) to rows: 4-bit codes packed along the outputs, interleaved.
//!
//! ```text
//!  disk    word [k, c]   outputs 8c..8c+8 of input k
//!          bit 31    28 27    24 23    20 19    16 15    12 11     8 7      4 3      0
//!              | n=7   |  n=5   |  n=3   |  n=1   |  n=6   |  n=4   |  n=2   |  n=0   |
//!
//!  memory  row 8c+n, word k/8: input k in bits 4(k%8)..4(k%8)+4
//! ```
//!
//! (AutoAWQ, `awq/utils/packing_utils.py`.)

/// Shift of output `n % 8` in a word on disk.
const SHIFTS: [u32; 8] = [0, 16, 4, 20, 8, 24, 12, 28];

/// `[inputs, outputs / 8]` words of AWQ as `outputs` rows of codes, each padded with zeros to whole
/// words. Panics if the length is another: that is a bug of the caller.
pub fn awq_to_rows(words: &[u8], inputs: usize, outputs: usize) -> Vec<u8> {
    let (from, _) = words.as_chunks::<4>();
    let (across, row) = (outputs / 8, inputs.div_ceil(8));
    assert_eq!((from.len(), outputs % 8), (inputs * across, 0), "[{inputs}, {outputs}] codes");
    let mut out = vec![0; outputs * row * 4];
    let (to, _) = out.as_chunks_mut::<4>();
    for first in (0..inputs).step_by(8) {
        for c in 0..across {
            let mut rows = [0u32; 8];
            for k in first..inputs.min(first + 8) {
                let word = u32::from_le_bytes(from[k * across + c]);
                for (row, shift) in rows.iter_mut().zip(SHIFTS) {
                    *row |= (word >> shift & 15) << (4 * (k - first));
                }
            }
            for (n, word) in rows.into_iter().enumerate() {
                to[(8 * c + n) * row + first / 8] = word.to_le_bytes();
            }
        }
    }
    out
}

/// The inverse of [`awq_to_rows`].
pub fn awq_from_rows(rows: &[u8], inputs: usize, outputs: usize) -> Vec<u8> {
    let (from, _) = rows.as_chunks::<4>();
    let row = inputs.div_ceil(8);
    let word = |at: usize| {
        let (k, c) = (at / (outputs / 8), at % (outputs / 8));
        let code = |n: usize| u32::from_le_bytes(from[(8 * c + n) * row + k / 8]) >> (4 * (k % 8)) & 15;
        (0..8).fold(0, |word, n| word | code(n) << SHIFTS[n])
    };
    (0..inputs * (outputs / 8)).flat_map(|at| word(at).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight outputs 0..8 of one input are the word that AutoAWQ's packing gives.
    #[test]
    fn the_interleave_is_autoawqs() {
        let rows = awq_to_rows(&0x7531_6420u32.to_le_bytes(), 1, 8);
        let codes: Vec<u8> = rows.as_chunks::<4>().0.iter().map(|row| row[0]).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn rows_go_back_to_the_words_they_came_from() {
        for (inputs, outputs) in [(1, 8), (9, 16), (33, 40), (64, 8)] {
            let words: Vec<u8> = (0..inputs * outputs / 2).map(|at| (at * 73 + 19) as u8).collect();
            let rows = awq_to_rows(&words, inputs, outputs);
            assert_eq!(awq_from_rows(&rows, inputs, outputs), words, "[{inputs}, {outputs}]");
        }
    }
}
