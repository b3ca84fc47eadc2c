//! Products of a weight's rows with activation rows: the loop that a player's threads run.
//!
//! Few activation rows: four weight rows at a time, codes read where they lie, so that a weight byte is
//! touched once. Many: a block of weight rows is unpacked into the second-level cache and meets all
//! activation rows there. Both use the same tiles, so a result has the same bits either way.

use std::ops::Range;

use marlin_format::Weight;

use crate::simd::{Activation, Forms, Isa, Scratch, Simd, Task, rows::Grouped, tile::multiply};

/// Up to as many activation rows, codes are read in place.
const FEW: usize = 4;
/// Bytes of unpacked weight rows that stay in a core's second-level cache.
const CACHED: usize = 96 << 10;

/// Rows of a weight times rows of activations.
#[derive(Clone, Debug)]
pub struct Product<'a> {
    /// The weight, `[rows, cols]`.
    pub weight: &'a Weight,
    /// Which of its rows.
    pub rows: Range<usize>,
    /// Activations of `cols` columns, loaded in the form [`Product::forms`] says.
    pub x: &'a [Activation],
    /// Which of the activations.
    pub picks: &'a [u32],
    /// Whether quantized weights meet int8 activations.
    pub int8: bool,
}

impl Product<'_> {
    /// The form in which a product with `weight` reads its activations: f32 unless its codes are integers.
    pub fn forms(weight: &Weight, int8: bool) -> Forms {
        let int8 = int8 && weight.layout().has_integers();
        Forms { f32: !int8, int8 }
    }

    /// Writes `rows.len() * picks.len()` products: for each four weight rows (and for the 1 to 3 left at
    /// the end) the results of `picks[0]`, then of `picks[1]` and so on. [`for_pick`] reads them back.
    pub fn compute(&self, isa: Isa, scratch: &mut Scratch, out: &mut [f32]) {
        assert_eq!(out.len(), self.rows.len() * self.picks.len(), "length of a product's output");
        isa.run(Compute { product: self, scratch, out });
    }
}

/// Calls `each` with the results of one pick in pieces: where the piece starts among the weight rows,
/// and its values. `out` holds `rows * picks` results of [`Product::compute`].
pub fn for_pick(out: &[f32], rows: usize, picks: usize, pick: usize, mut each: impl FnMut(usize, &[f32])) {
    let (whole, rest) = (rows / 4 * 4, rows % 4);
    for row in (0..whole).step_by(4) {
        each(row, &out[row * picks + 4 * pick..][..4]);
    }
    if rest > 0 {
        each(whole, &out[whole * picks + rest * pick..][..rest]);
    }
}

struct Compute<'a> {
    product: &'a Product<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl Task for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Compute { product: &Product { weight, ref rows, x, picks, int8 }, scratch, out } = self;
        let integer = Product::forms(weight, int8).int8;
        let in_place = Grouped::of(weight).filter(|_| integer && picks.len() <= FEW);
        let row_bytes = weight.cols().next_multiple_of(32) * if integer { 1 } else { 4 };
        let step = match in_place {
            Some(_) => 16,
            None => (CACHED / row_bytes.max(1)).clamp(4, 32) / 4 * 4,
        };
        for start in rows.clone().step_by(step) {
            let count = step.min(rows.end - start);
            let out = &mut out[(start - rows.start) * picks.len()..][..count * picks.len()];
            match in_place {
                Some(grouped) => scratch.multiply_in_place(s, grouped, (start, count), (x, picks), out),
                None if integer => multiply(s, scratch.unpack(s, weight, (start, count)), x, picks, out),
                None => multiply(s, scratch.decode(weight, (start, count)), x, picks, out),
            }
        }
    }
}
