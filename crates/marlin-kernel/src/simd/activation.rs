//! One row of activations in the forms products read: padded f32, and blocks of 32 in int8.
//!
//! ```text
//!  column     0 ..................... 31 | 32 .................... 63 | ...   zeros to a multiple of 32
//!  codes      q = round(x / scale)       | ...                                -127..=127
//!  bias       -128 (q0+q1+q2+q3) | ...                                        8 per block
//!  scale      absmax / 127               | ...                                1 per block
//!  sums       scale * (q0 + ... + q31)   | ...                                1 per block
//!  half_sums  scale * (q0+...+q15) | scale * (q16+...+q31) | ...              2 per block
//! ```

use super::{Isa, Simd, Task};

/// Columns that share an activation scale.
pub(crate) const BLOCK: usize = 32;

/// Which forms of a row are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// Padded f32, for dense weights and exact products.
    pub f32: bool,
    /// Blocks of int8, for integer products.
    pub int8: bool,
}

/// 32 activations as integers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(crate) struct Block {
    /// i8 as bytes.
    pub codes: [u8; BLOCK],
    /// -128 times the sum of four codes.
    pub bias: [i32; 8],
    /// The value of a code of 1.
    pub scale: f32,
}

/// A row of activations, ready for products with any weight of as many columns.
#[derive(Clone, Debug, Default)]
pub struct Activation {
    pub(crate) values: Vec<[f32; 8]>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) sums: Vec<[f32; 8]>,
    pub(crate) half_sums: Vec<[f32; 8]>,
}

impl Activation {
    /// Takes the row `x` in the forms asked for; memory is kept from row to row.
    pub fn load(&mut self, isa: Isa, x: &[f32], forms: Forms) {
        if forms.f32 {
            self.values.clear();
            let (chunks, tail) = x.as_chunks::<8>();
            self.values.extend_from_slice(chunks);
            if !tail.is_empty() {
                self.values.push(padded(tail));
            }
        }
        if forms.int8 {
            let blocks = x.len().div_ceil(BLOCK);
            self.blocks.resize(blocks, Block::default());
            self.sums.clear();
            self.sums.resize(blocks.div_ceil(8), [0.0; 8]);
            self.half_sums.clear();
            self.half_sums.resize((2 * blocks).div_ceil(8), [0.0; 8]);
            isa.run(Quantize { x, out: self });
        }
    }
}

/// `tail` followed by zeros.
#[inline(always)]
pub(crate) fn padded<const N: usize>(tail: &[f32]) -> [f32; N] {
    let mut whole = [0.0; N];
    whole[..tail.len()].copy_from_slice(tail);
    whole
}

struct Quantize<'a> {
    x: &'a [f32],
    out: &'a mut Activation,
}

impl Task for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Activation { blocks, sums, half_sums, .. } = self.out;
        let (sums, half_sums) = (sums.as_flattened_mut(), half_sums.as_flattened_mut());
        let (whole, tail) = self.x.as_chunks::<BLOCK>();
        let tail = (!tail.is_empty()).then(|| padded::<BLOCK>(tail));
        for (b, (x, block)) in whole.iter().chain(&tail).zip(blocks).enumerate() {
            let halves = quantize(x, block);
            sums[b] = block.scale * (halves[0] + halves[1]) as f32;
            half_sums[2 * b] = block.scale * halves[0] as f32;
            half_sums[2 * b + 1] = block.scale * halves[1] as f32;
        }
    }
}

/// Fills a block; returns the sums of the codes of its halves.
#[inline(always)]
fn quantize(x: &[f32; BLOCK], block: &mut Block) -> [i32; 2] {
    // Magnitudes order like their bits, and integers have a vector maximum.
    let mut absmax = 0;
    for value in x {
        absmax = absmax.max(value.to_bits() & 0x7fff_ffff);
    }
    let absmax = f32::from_bits(absmax);
    let inverse = if absmax > 0.0 { 127.0 / absmax } else { 0.0 };
    let mut rounded = [0i32; BLOCK];
    for (rounded, value) in rounded.iter_mut().zip(x) {
        // Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits.
        *rounded = ((value * inverse + 12_582_912.0).to_bits() as i32) - 0x4b40_0000;
    }
    for (code, rounded) in block.codes.iter_mut().zip(&rounded) {
        *code = *rounded as u8;
    }
    let mut halves = [0; 2];
    for (i, quad) in rounded.as_chunks::<4>().0.iter().enumerate() {
        let sum = (quad[0] + quad[1]) + (quad[2] + quad[3]);
        block.bias[i] = -128 * sum;
        halves[i / 4] += sum;
    }
    block.scale = absmax / 127.0;
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_reproduce_the_row_within_half_a_step() {
        let x: Vec<f32> = (0..77).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.03).collect();
        for isa in Isa::available() {
            let mut row = Activation::default();
            row.load(isa, &x, Forms { f32: true, int8: true });
            assert_eq!(row.values.len(), 10);
            assert_eq!(row.values.as_flattened()[..77], x);
            assert_eq!(row.values.as_flattened()[77..], [0.0; 3]);
            assert_eq!(row.blocks.len(), 3);
            let codes: Vec<i32> =
                row.blocks.iter().flat_map(|block| block.codes.map(|code| i32::from(code as i8))).collect();
            for (k, code) in codes.iter().enumerate() {
                let (value, scale) = (x.get(k).copied().unwrap_or(0.0), row.blocks[k / BLOCK].scale);
                assert!((*code as f32 * scale - value).abs() <= 0.5001 * scale, "{isa} {k}");
            }
            for (i, bias) in row.blocks.iter().flat_map(|block| block.bias).enumerate() {
                assert_eq!(bias, -128 * codes[4 * i..4 * i + 4].iter().sum::<i32>());
            }
            for (i, sum) in row.half_sums.as_flattened()[..6].iter().enumerate() {
                assert_eq!(
                    *sum,
                    row.blocks[i / 2].scale * codes[16 * i..16 * i + 16].iter().sum::<i32>() as f32
                );
            }
            for (i, sum) in row.sums.as_flattened()[..3].iter().enumerate() {
                assert_eq!(*sum, row.blocks[i].scale * codes[32 * i..32 * i + 32].iter().sum::<i32>() as f32);
            }
        }
    }

    #[test]
    fn a_row_of_zeros_has_no_codes() {
        let mut row = Activation::default();
        row.load(Isa::best(), &[0.0; 40], Forms { f32: false, int8: true });
        assert!(row.blocks.iter().all(|block| block.scale == 0.0 && block.codes == [0; BLOCK]));
    }
}
