//! How often each code of a tensor is used.

use marlin_format::{Layout, Weight};
use rayon::prelude::*;

/// Widest codes that are counted; 256 bars say no more than 16.
const MOST_BITS: usize = 4;

/// Uses of each code `0..2^bits` in `weight`, zero points and codebooks not applied; empty for dense
/// values, blocks of others, and codes of more than 4 bits.
pub(crate) fn code_counts(weight: &Weight) -> Vec<u64> {
    let Layout::Grouped { code, .. } = weight.layout() else { return Vec::new() };
    let bits = code.bits();
    if bits > MOST_BITS {
        return Vec::new();
    }
    let len = 1 << bits;
    let count = |row: usize| {
        let bytes = weight.row(row).codes;
        let mut counts = vec![0u64; len];
        for col in 0..weight.cols() {
            // Least significant bits first, as marlin-format draws them; a 3-bit code may straddle bytes.
            let at = col * bits;
            let low = u16::from(bytes[at / 8]);
            let high = bytes.get(at / 8 + 1).map_or(0, |byte| u16::from(*byte) << 8);
            counts[usize::from((low | high) >> (at % 8)) % len] += 1;
        }
        counts
    };
    let add = |mut sum: Vec<u64>, other: Vec<u64>| {
        sum.iter_mut().zip(other).for_each(|(sum, count)| *sum += count);
        sum
    };
    (0..weight.rows()).into_par_iter().map(count).reduce(|| vec![0; len], add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use marlin_format::{Rounding, Unpacked};

    #[test]
    fn counts_are_those_of_the_unpacked_codes() {
        let values: Vec<f32> = (0..3 * 77).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
        for name in ["int4-sym", "int4", "int3", "int2"] {
            let format = marlin_format::by_name(name).unwrap();
            let weight = Weight::encode(format, 3, 77, &values, Rounding::default()).unwrap();
            let groups = weight.layout().groups(77);
            let group = weight.layout().group();
            let counts = code_counts(&weight);
            let mut expected = vec![0u64; counts.len()];
            for row in 0..3 {
                let (mut codes, mut scales, mut offsets) = ([0i8; 77], vec![0.0; groups], vec![0.0; groups]);
                let out = Unpacked { codes: &mut codes, scales: &mut scales, offsets: &mut offsets };
                assert!(weight.unpack_row(row, out), "{name}");
                let zeros = weight.row(row).zeros;
                for (col, code) in codes.iter().enumerate() {
                    // What unpacking took off: the group's zero point, or 8 of a signed code.
                    let zero = zeros.get(col / group).map_or(8, |zero| *zero as i8);
                    expected[(code + zero) as usize] += 1;
                }
            }
            assert_eq!(counts, expected, "{name}");
            assert_eq!(counts.iter().sum::<u64>(), 3 * 77);
        }
    }
}
