//! The inner loops of every product: a few weight rows times a few activation rows in registers.
//!
//! Each result of a tile has one accumulator of eight lanes that walks the columns in order, so it has
//! the same bits whatever tile it was computed in.

#![expect(clippy::needless_range_loop, reason = "tiles are indexed by row and column, as they are drawn")]

use super::{Activation, Simd, activation::padded};

/// Tiles of four rows between the one computed and the one asked for. Rows are too short for the
/// machine's own prefetcher to get going.
const AHEAD: usize = 3;

/// Weight rows in a form a tile can read.
pub(crate) trait Rows: Copy {
    /// How many.
    fn len(self) -> usize;
    /// Asks for the memory of the four rows from `row`, if it comes from afar; there may be fewer.
    fn prefetch<S: Simd>(self, s: S, row: usize);
    /// Products of the R rows from `row` with X activation rows.
    fn tile<S: Simd, const R: usize, const X: usize>(
        self,
        s: S,
        row: usize,
        x: [&Activation; X],
    ) -> [[f32; X]; R];
}

/// Products of all rows with the activation rows `picks` of `x`, four weight rows side by side:
///
/// ```text
///  out  | x0: w0 w1 w2 w3 | x1: w0 w1 w2 w3 | ... | x0: w4 w5 w6 w7 | ... | x0: w8 w9 | x1: w8 w9 | ...
///       |<---- all picks, rows 0-3 -------------->|<- rows 4-7 ---------->|<- the last 1-3 rows ----->
/// ```
#[inline(always)]
pub(crate) fn multiply<S: Simd>(s: S, rows: impl Rows, x: &[Activation], picks: &[u32], out: &mut [f32]) {
    let mut start = 0;
    if S::WIDE {
        while start + 4 <= picks.len() {
            columns::<S, 4>(s, rows, x, picks, start, out);
            start += 4;
        }
    }
    while start + 2 <= picks.len() {
        columns::<S, 2>(s, rows, x, picks, start, out);
        start += 2;
    }
    if start < picks.len() {
        columns::<S, 1>(s, rows, x, picks, start, out);
    }
}

/// The part of [`multiply`] for the X activation rows from `picks[start]`.
#[inline(always)]
fn columns<S: Simd, const X: usize>(
    s: S,
    rows: impl Rows,
    x: &[Activation],
    picks: &[u32],
    start: usize,
    out: &mut [f32],
) {
    let x = array(|i| &x[picks[start + i] as usize]);
    let (fours, rest) = (rows.len() / 4, rows.len() % 4);
    for four in 0..fours {
        rows.prefetch(s, 4 * (four + AHEAD));
        let tile = rows.tile::<S, 4, X>(s, 4 * four, x);
        let out = &mut out[4 * (four * picks.len() + start)..][..4 * X];
        for i in 0..X {
            for r in 0..4 {
                out[4 * i + r] = tile[r][i];
            }
        }
    }
    for r in 0..rest {
        let [tile] = rows.tile::<S, 1, X>(s, 4 * fours + r, x);
        for (i, value) in tile.iter().enumerate() {
            out[4 * fours * picks.len() + (start + i) * rest + r] = *value;
        }
    }
}

/// Codes of rows, 32 at a time.
pub(crate) trait Codes: Copy {
    /// Blocks of all rows.
    fn len(self) -> usize;

    /// The bytes of `count` blocks from `start` on, or of as many as there are.
    fn bytes(&self, start: usize, count: usize) -> &[u8];

    /// A block as weights of [`Simd::dot`]; its zero point, if it has one, is number `zero`.
    ///
    /// # Safety
    /// `at` is less than `len()`.
    unsafe fn block<S: Simd>(self, simd: S, at: usize, zero: usize) -> S::Bytes;
}

/// Codes of one byte each; XORed with `flip` they are weights of [`Simd::dot`].
#[derive(Clone, Copy)]
pub(crate) struct ByteCodes<'a> {
    /// Rows back to back.
    pub blocks: &'a [[u8; 32]],
    /// The mask.
    pub flip: u8,
}

/// Codes of four bits each; looked up in `table`, less a zero point if `ZERO`, they are weights of
/// [`Simd::dot`].
#[derive(Clone, Copy)]
pub(crate) struct NibbleCodes<'a, const ZERO: bool> {
    /// Rows back to back.
    pub blocks: &'a [[u8; 16]],
    /// Weight of each nibble.
    pub table: &'a [u8; 16],
    /// A zero point for each block, laid out like scales.
    pub zeros: &'a [u8],
}

impl Codes for ByteCodes<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.blocks.len()
    }

    #[inline(always)]
    fn bytes(&self, start: usize, count: usize) -> &[u8] {
        let start = start.min(self.blocks.len());
        self.blocks[start..(start + count).min(self.blocks.len())].as_flattened()
    }

    #[inline(always)]
    unsafe fn block<S: Simd>(self, simd: S, at: usize, _zero: usize) -> S::Bytes {
        // SAFETY: the caller keeps `at` in bounds.
        simd.bytes(unsafe { self.blocks.get_unchecked(at) }, self.flip)
    }
}

impl<const ZERO: bool> Codes for NibbleCodes<'_, ZERO> {
    #[inline(always)]
    fn len(self) -> usize {
        self.blocks.len()
    }

    #[inline(always)]
    fn bytes(&self, start: usize, count: usize) -> &[u8] {
        let start = start.min(self.blocks.len());
        self.blocks[start..(start + count).min(self.blocks.len())].as_flattened()
    }

    #[inline(always)]
    unsafe fn block<S: Simd>(self, simd: S, at: usize, zero: usize) -> S::Bytes {
        // SAFETY: the caller keeps `at` in bounds.
        let codes = simd.nibbles(unsafe { self.blocks.get_unchecked(at) }, self.table);
        if ZERO { simd.sub_bytes(codes, simd.splat_bytes(self.zeros[zero])) } else { codes }
    }
}

/// Weight rows as integer codes, and what turns their products into values.
///
/// ```text
///  scales | b0: r0 r1 r2 r3 | b1: r0 r1 r2 r3 | ... | b0: r4 r5 r6 r7 | ...     one scale per block
///         | b0: r0 r1 r2 r3   r0 r1 r2 r3 | b1: ...                             two, one for each half
///         |<----------------- rows 0-3 ------------>|<- rows 4-7 ------
/// ```
#[derive(Clone, Copy)]
pub(crate) struct IntegerRows<'a, C> {
    /// How many.
    pub rows: usize,
    /// Blocks of 32 columns in a row.
    pub blocks: usize,
    /// The codes, of these rows or of more.
    pub codes: C,
    /// Whether the codes come from main memory.
    pub from_afar: bool,
    /// Whether a block has two scales.
    pub halves: bool,
    /// The scales of four rows at a time, side by side; rows missing from the last four have places.
    pub scales: &'a [f32],
    /// An offset for each scale, each row filled with zeros to a multiple of 8; empty if all are 0.
    pub offsets: &'a [[f32; 8]],
}

impl<C: Codes> Rows for IntegerRows<'_, C> {
    #[inline(always)]
    fn len(self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn prefetch<S: Simd>(self, s: S, row: usize) {
        if self.from_afar {
            s.prefetch(self.codes.bytes(row * self.blocks, 4 * self.blocks));
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const X: usize>(
        self,
        s: S,
        row: usize,
        x: [&Activation; X],
    ) -> [[f32; X]; R] {
        let blocks = self.blocks;
        assert!((row + R) * blocks <= self.codes.len() && row % 4 + R <= 4);
        assert!(x.iter().all(|x| x.blocks.len() == blocks));
        let mut sums = [[s.splat(0.0); X]; R];
        let first = row / 4 * 4 * blocks;
        if self.halves {
            let scales = &self.scales.as_chunks::<8>().0[first / 4..][..blocks];
            for (b, scales) in scales.iter().enumerate() {
                // SAFETY: b < blocks; row and x were checked above.
                unsafe { self.block(s, (row, b), s.load(scales), x, &mut sums) };
            }
        } else {
            let scales = &self.scales.as_chunks::<4>().0[first / 4..][..blocks];
            for (b, scales) in scales.iter().enumerate() {
                // SAFETY: b < blocks; row and x were checked above.
                unsafe { self.block(s, (row, b), s.load_twice(scales), x, &mut sums) };
            }
        }
        if !self.offsets.is_empty() {
            self.add_offsets(s, row, x, &mut sums);
        }
        totals(s, &sums)
    }
}

impl<C: Codes> IntegerRows<'_, C> {
    /// Adds the products of block `b`, each times both scales.
    ///
    /// # Safety
    /// `b < self.blocks`, `row + R` rows of codes exist, and every x has `self.blocks` blocks.
    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const X: usize>(
        self,
        s: S,
        (row, b): (usize, usize),
        scales: S::F32,
        x: [&Activation; X],
        sums: &mut [[S::F32; X]; R],
    ) {
        let mut factors = [scales; X];
        for i in 0..X {
            // SAFETY: the caller keeps b in bounds.
            let x = unsafe { x[i].blocks.get_unchecked(b) };
            factors[i] = s.mul(scales, s.splat(x.scale));
        }
        for r in 0..R {
            // Rows of a whole tile start at a multiple of 4; saying so makes the lane a constant.
            let lane = if R == 4 { r } else { row % 4 };
            let zero = (row - row % 4) * self.blocks + 4 * b + lane;
            // SAFETY: the caller keeps row and b in bounds.
            let weights = unsafe { self.codes.block(s, (row + r) * self.blocks + b, zero) };
            for i in 0..X {
                // SAFETY: as above.
                let x = unsafe { x[i].blocks.get_unchecked(b) };
                let product = s.dot(weights, s.bytes(&x.codes, 0), &x.bias);
                sums[r][i] = s.mul_add(product, s.spread(factors[i], lane), sums[r][i]);
            }
        }
    }

    /// Adds offset times sum of activations for all blocks.
    #[inline(always)]
    fn add_offsets<S: Simd, const R: usize, const X: usize>(
        self,
        s: S,
        row: usize,
        x: [&Activation; X],
        sums: &mut [[S::F32; X]; R],
    ) {
        let chunks = self.offsets.len() / self.rows;
        for r in 0..R {
            let offsets = &self.offsets[(row + r) * chunks..][..chunks];
            for i in 0..X {
                let x = if self.halves { &x[i].half_sums } else { &x[i].sums };
                for (offset, x) in offsets.iter().zip(x) {
                    sums[r][i] = s.mul_add(s.load(offset), s.load(x), sums[r][i]);
                }
            }
        }
    }
}

/// Weight rows as f32, `chunks` times eight columns each.
#[derive(Clone, Copy)]
pub(crate) struct FloatRows<'a> {
    /// How many.
    pub rows: usize,
    /// Chunks of eight columns in a row.
    pub chunks: usize,
    /// The values, rows back to back, filled with zeros.
    pub values: &'a [[f32; 8]],
}

impl Rows for FloatRows<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn prefetch<S: Simd>(self, _s: S, _row: usize) {}

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const X: usize>(
        self,
        s: S,
        row: usize,
        x: [&Activation; X],
    ) -> [[f32; X]; R] {
        let w = array(|r| self.values[(row + r) * self.chunks..][..self.chunks].as_flattened());
        float_tile(s, w, array(|i| x[i].values.as_flattened()))
    }
}

/// Products of R rows with X rows of the same length.
#[inline(always)]
pub(crate) fn float_tile<S: Simd, const R: usize, const X: usize>(
    s: S,
    w: [&[f32]; R],
    x: [&[f32]; X],
) -> [[f32; X]; R] {
    let len = w[0].len();
    assert!(w.iter().chain(&x).all(|row| row.len() == len));
    let mut sums = [[s.splat(0.0); X]; R];
    let n = len / 8;
    for k in 0..n {
        for r in 0..R {
            for i in 0..X {
                // SAFETY: every row has n chunks of 8 values, as was checked above.
                let (w, x) =
                    unsafe { (w[r].as_chunks().0.get_unchecked(k), x[i].as_chunks().0.get_unchecked(k)) };
                sums[r][i] = s.mul_add(s.load(w), s.load(x), sums[r][i]);
            }
        }
    }
    if len > 8 * n {
        for r in 0..R {
            for i in 0..X {
                let (w, x) = (padded(&w[r][8 * n..]), padded(&x[i][8 * n..]));
                sums[r][i] = s.mul_add(s.load(&w), s.load(&x), sums[r][i]);
            }
        }
    }
    totals(s, &sums)
}

/// The sum of the lanes of each accumulator.
#[inline(always)]
fn totals<S: Simd, const R: usize, const X: usize>(s: S, sums: &[[S::F32; X]; R]) -> [[f32; X]; R] {
    let mut totals = [[0.0; X]; R];
    for (totals, sums) in totals.iter_mut().zip(sums) {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = s.sum(*sum);
        }
    }
    totals
}

/// `std::array::from_fn`, which is not always inlined.
#[inline(always)]
pub(crate) fn array<T: Copy, const N: usize>(value: impl Fn(usize) -> T) -> [T; N] {
    let mut values = [value(0); N];
    for (i, slot) in values.iter_mut().enumerate().skip(1) {
        *slot = value(i);
    }
    values
}
