//! Rows of codes as streams of bits: element i in bits `i * bits ..`, lowest first, each row padded
//! with zeros to whole 32-bit words.
//!
//! ```text
//!  3 bits   byte 0 | 2: 1 0 | 1: 2 1 0 | 0: 2 1 0 |     element 2 goes on in byte 1
//!  4 bits   byte 0 | 1: 3 2 1 0 | 0: 3 2 1 0 |
//! ```

/// Bytes of a row of `cols` codes.
pub const fn row_bytes(bits: usize, cols: usize) -> usize {
    (cols * bits).div_ceil(32) * 4
}

/// Reads `out.len()` codes of `bits` (at most 8) bits.
pub fn read_stream(bits: usize, row: &[u8], out: &mut [u8]) {
    let (mut held, mut count, mut bytes) = (0u32, 0, row.iter());
    for code in out {
        if count < bits {
            held |= u32::from(bytes.next().copied().unwrap_or(0)) << count;
            count += 8;
        }
        *code = (held & ((1 << bits) - 1)) as u8;
        held >>= bits;
        count -= bits;
    }
}

/// Writes codes of `bits` (at most 8) bits to `row`, as long as [`row_bytes`] says.
pub fn write_stream(bits: usize, codes: &[u8], row: &mut [u8]) {
    row.fill(0);
    for (k, &code) in codes.iter().enumerate() {
        let (byte, shift) = (k * bits / 8, k * bits % 8);
        let spread = u16::from(code) << shift;
        row[byte] |= spread as u8;
        if shift + bits > 8 {
            row[byte + 1] |= (spread >> 8) as u8;
        }
    }
}

/// Rows of codes with their columns in another order: column `j` of the result is column `order[j]`.
pub fn reorder(bits: usize, rows: &[u8], order: &[u32]) -> Vec<u8> {
    each_row((bits, bits), rows, order.len(), |codes| {
        order.iter().map(|&from| codes[from as usize]).collect()
    })
}

/// Rows of codes of `from` bits as codes of `to` bits, each with `add` added.
pub fn widen(from: usize, to: usize, add: u8, rows: &[u8], cols: usize) -> Vec<u8> {
    each_row((from, to), rows, cols, |codes| codes.iter().map(|code| code.wrapping_add(add)).collect())
}

/// Rows of words that hold as many whole codes as fit, the rest of the bits unused, as streams.
pub fn squeeze(bits: usize, rows: &[u8], cols: usize) -> Vec<u8> {
    let per = 32 / bits;
    let (old, new) = (cols.div_ceil(per) * 4, row_bytes(bits, cols));
    let mut out = vec![0; rows.len() / old * new];
    let mut codes = vec![0; cols];
    for (row, out) in rows.chunks_exact(old).zip(out.chunks_exact_mut(new)) {
        for (word, codes) in row.chunks_exact(4).zip(codes.chunks_mut(per)) {
            read_stream(bits, word, codes);
        }
        write_stream(bits, &codes, out);
    }
    out
}

fn each_row(
    (from, to): (usize, usize),
    rows: &[u8],
    cols: usize,
    change: impl Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let (old, new) = (row_bytes(from, cols), row_bytes(to, cols));
    let mut out = vec![0; rows.len() / old * new];
    let mut codes = vec![0; cols];
    for (row, out) in rows.chunks_exact(old).zip(out.chunks_exact_mut(new)) {
        read_stream(from, row, &mut codes);
        write_stream(to, &change(&codes), out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_width_come_back() {
        for bits in 1..=8 {
            for cols in [1, 3, 31, 32, 33, 65] {
                let codes: Vec<u8> = (0..cols).map(|k| ((k * 37 + 11) & ((1 << bits) - 1)) as u8).collect();
                let mut row = vec![0xff; row_bytes(bits, cols)];
                write_stream(bits, &codes, &mut row);
                let mut found = vec![0; cols];
                read_stream(bits, &row, &mut found);
                assert_eq!(found, codes, "{bits} bits");
            }
        }
    }

    /// GPTQ's kernels splice elements 10 and 21 of 3-bit codes from two words: that is this stream.
    #[test]
    fn three_bits_straddle_words() {
        let mut codes = [0u8; 32];
        (codes[10], codes[21]) = (0b101, 0b110);
        let mut row = [0; 12];
        write_stream(3, &codes, &mut row);
        let words = row.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        assert_eq!(words.collect::<Vec<_>>(), [0b01 << 30, 0b1, 0b11]);
    }

    #[test]
    fn columns_move_and_widths_grow() {
        let mut row = [0; 4];
        write_stream(3, &[1, 2, 3, 4], &mut row);
        let mut found = [0; 4];
        read_stream(3, &reorder(3, &row, &[3, 0, 2, 1]), &mut found);
        assert_eq!(found, [4, 1, 3, 2]);
        assert_eq!(
            squeeze(3, &[0b10_001_000, 0, 0, 0, 0b111, 0, 0, 0], 11)[..],
            [0x88, 0, 0, 0xc0, 1, 0, 0, 0]
        );
        assert_eq!(widen(3, 8, 128, &row, 4), [129, 130, 131, 132]);
    }
}
