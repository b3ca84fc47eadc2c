//! `+sparse24`: two of each four columns in some format of 4 or 8 bits, the other two are 0.
//!
//! ```text
//!  codes      of the columns that are kept, as the format of half the columns has them, to a whole word
//!  positions  byte j  | b | a | b | a |    b, a: columns 8j + 4.. and 8j.., the second and the first kept of
//!             each four (2 bits each, a < b), to a whole word
//!  scales     of the format, its groups are of twice the columns
//! ```
//!
//! Kept are the two of largest importance times square, and of those without importance the largest, so that
//! a row which is 2:4 sparse already keeps its values. 4-bit codes take 2 bits a column and positions 1.
//! Codes with zero points have no sparse form: nothing but their zero point would be 0.

use crate::grouped::Grouped;
use crate::layout::{ROW, kept, position_bytes};
use crate::{
    Error, Flaw, Format, Layout, Levels, Rounding, Row, RowMut, Unpacked, fp4, fp8, int, int8, lookup,
};

/// Of `fp4`.
pub static FP4_SPARSE24: Sparse = Sparse {
    name: "fp4+sparse24",
    summary: "2 of 4 columns in 4-bit float (E2M1), an E4M3 scale per 16 columns",
    half: &Grouped { group: 8, ..fp4::FP4 },
};
/// Of `int4-sym`.
pub static INT4_SYM_SPARSE24: Sparse = Sparse {
    name: "int4-sym+sparse24",
    summary: "2 of 4 columns in 4-bit signed integer, f16 scale per 128 columns",
    half: &Grouped { group: 64, ..int::INT4_SYM },
};
/// Of `nf4`.
pub static NF4_SPARSE24: Sparse = Sparse {
    name: "nf4+sparse24",
    summary: "2 of 4 columns in 4-bit index (NF4), f16 scale per 64 columns",
    half: &lookup::NF4_G32,
};
/// Of `int8`.
pub static INT8_SPARSE24: Sparse = Sparse {
    name: "int8+sparse24",
    summary: "2 of 4 columns in 8-bit signed integer, f16 scale per 128 columns",
    half: &Grouped { group: 64, ..int8::INT8 },
};
/// Of `fp8-e4m3`.
pub static FP8_E4M3_SPARSE24: Sparse = Sparse {
    name: "fp8-e4m3+sparse24",
    summary: "2 of 4 columns in 8-bit float (E4M3), an f32 scale per row",
    half: &fp8::FP8_E4M3,
};

/// One sparse format.
#[derive(Debug)]
pub struct Sparse {
    name: &'static str,
    summary: &'static str,
    /// The format of the columns that are kept: half of them, in half as large groups.
    half: &'static dyn Format,
}

impl Sparse {
    /// The kept columns as a row of their own, and their positions.
    fn split<'a>(&self, row: Row<'a>) -> (Row<'a>, &'a [u8]) {
        let (codes, positions) = row.codes.split_at(row.codes.len() - position_bytes(row.cols));
        let cols = kept(row.cols);
        (Row { cols, codes: &codes[..self.half.layout().code_bytes(cols)], ..row }, positions)
    }
}

/// The two positions of each four columns.
fn pairs(positions: &[u8]) -> impl Iterator<Item = [usize; 2]> {
    let pair = |nibble: u8| [usize::from(nibble & 3), usize::from(nibble >> 2)];
    positions.iter().flat_map(move |&byte| [pair(byte & 15), pair(byte >> 4)])
}

/// Puts pairs of kept values where they belong, zeros elsewhere; what lies beyond the last column is cut off.
fn spread<T: Copy + Default>(kept: &[T], positions: &[u8], out: &mut [T]) {
    out.fill(T::default());
    for ((out, kept), places) in out.chunks_mut(4).zip(kept.as_chunks::<2>().0).zip(pairs(positions)) {
        for (place, value) in places.into_iter().zip(kept) {
            if let Some(out) = out.get_mut(place) {
                *out = *value;
            }
        }
    }
}

/// The positions to keep of up to four values, ascending.
fn choose(values: &[f32], importance: Option<&[f32]>) -> [usize; 2] {
    let rank = |at: usize| {
        let magnitude = values.get(at).map_or(0.0, |value| value.abs());
        let weight = importance.and_then(|weights| weights.get(at)).copied().unwrap_or(1.0);
        // Where squares vanish or are worth nothing, magnitudes still tell zeros from the rest; what lies
        // beyond the last column takes a place before a zero does, which not every code can be.
        (weight * magnitude * magnitude, magnitude, at >= values.len())
    };
    let mut order = [0, 1, 2, 3];
    order.sort_by(|&a, &b| {
        let (a, b) = (rank(a), rank(b));
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(b.2.cmp(&a.2))
    });
    [order[0].min(order[1]), order[0].max(order[1])]
}

impl Format for Sparse {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn layout(&self) -> Layout {
        match self.half.layout() {
            Layout::Grouped { code, group, scale, zero, tensor_scale, .. } => {
                let group = if group == ROW { ROW } else { 2 * group };
                Layout::Grouped { code, group, scale, zero, tensor_scale, sparse: true }
            }
            other => unreachable!("{other:?} has no half"),
        }
    }

    fn codebook(&self) -> &'static [f32] {
        self.half.codebook()
    }

    fn decode(&self, row: Row<'_>, out: &mut [f32]) {
        let (half, positions) = self.split(row);
        let mut values = vec![0.0; half.cols];
        self.half.decode(half, &mut values);
        spread(&values, positions, out);
    }

    fn unpack(&self, row: Row<'_>, out: Unpacked<'_>) -> bool {
        let (half, positions) = self.split(row);
        let mut codes = vec![0; half.cols];
        let Unpacked { codes: all, scales, offsets } = out;
        let integers = self.half.unpack(half, Unpacked { codes: &mut codes, scales, offsets });
        if integers {
            spread(&codes, positions, all);
        }
        integers
    }

    fn first_flaw(&self, row: Row<'_>) -> Option<Flaw> {
        let (half, positions) = self.split(row);
        if let Some(flaw) = self.half.first_flaw(half) {
            return Some(flaw);
        }
        let mut fours = pairs(positions).take(row.cols.div_ceil(4)).enumerate();
        let (four, [first, second]) = fours.find(|(_, [first, second])| first >= second)?;
        let group = 4 * four / self.layout().group();
        Some(Flaw { group, field: "positions", value: (first | second << 2) as f32 })
    }

    fn tensor_scale(&self, absmax: f32) -> f32 {
        self.half.tensor_scale(absmax)
    }

    fn fit(&self, values: &[f32], how: Rounding<'_>, row: RowMut<'_>) -> Result<(), Error> {
        let kept = Kept::of(values, how.importance);
        let importance = Some(&kept.importance[..]);
        let half = RowMut { cols: kept.values.len(), codes: &mut [], ..row };
        self.half
            .fit(&kept.values, Rounding { importance, ..how }, half)
            .map_err(|error| self.named(&kept, error))
    }

    /// Keeps the largest two of each four.
    fn assign(&self, values: &[f32], row: RowMut<'_>) -> Result<(), Error> {
        self.put(&Kept::of(values, None), row)
    }

    fn encode(&self, values: &[f32], how: Rounding<'_>, mut row: RowMut<'_>) -> Result<(), Error> {
        self.fit(values, how, row.reborrow())?;
        self.put(&Kept::of(values, how.importance), row)
    }

    fn levels<'a>(&self, row: Row<'a>, group: usize) -> Option<Levels<'a>> {
        self.half.levels(self.split(row).0, group)
    }
}

/// The columns of a row that are kept.
struct Kept {
    values: Vec<f32>,
    /// 0 beyond the last column, where any code will do.
    importance: Vec<f32>,
    /// Two of each four columns.
    places: Vec<[usize; 2]>,
}

impl Kept {
    fn of(values: &[f32], importance: Option<&[f32]>) -> Kept {
        let count = kept(values.len());
        let mut kept = Kept { values: Vec::with_capacity(count), importance: Vec::new(), places: Vec::new() };
        for (four, values) in values.chunks(4).enumerate() {
            let importance = importance.map(|weights| &weights[4 * four..][..values.len()]);
            let places = choose(values, importance);
            for place in places {
                // Beyond the last column the value before, so that no scale has to hold another one.
                let before = kept.values.last().copied().unwrap_or(0.0);
                kept.values.push(values.get(place).copied().unwrap_or(before));
                let weight = importance.map_or(1.0, |weights| weights.get(place).copied().unwrap_or(0.0));
                kept.importance.push(if place < values.len() { weight } else { 0.0 });
            }
            kept.places.push(places);
        }
        kept
    }
}

impl Sparse {
    /// Writes codes and positions.
    fn put(&self, kept: &Kept, row: RowMut<'_>) -> Result<(), Error> {
        let cols = kept.values.len();
        let (codes, positions) = row.codes.split_at_mut(row.codes.len() - position_bytes(row.cols));
        for (four, [first, second]) in kept.places.iter().enumerate() {
            positions[four / 2] |= ((first | second << 2) << (4 * (four % 2))) as u8;
        }
        let codes = &mut codes[..self.half.layout().code_bytes(cols)];
        self.half.assign(&kept.values, RowMut { cols, codes, ..row })
    }

    /// An error of the kept columns as one of the row.
    fn named(&self, kept: &Kept, error: Error) -> Error {
        match error {
            Error::Overflow { row, col, value, limit, .. } => {
                let place = kept.places.get(col / 2).map_or(0, |places| places[col % 2]);
                Error::Overflow { format: self.name, row, col: col / 2 * 4 + place, value, limit }
            }
            other => other,
        }
    }
}
