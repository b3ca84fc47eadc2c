//! Weight rows taken apart into what the tiles read: codes, scales per block, or f32 values.
//!
//! The hot formats are read in place; every other format goes through [`Weight::unpack_row`] or
//! [`Weight::decode_row`] into scratch memory, which one thread keeps from call to call.

use marlin_format::{Code, Layout, ScaleType, Unpacked, Weight};

use super::{
    Activation, Simd,
    activation::BLOCK,
    math::{e4m3_to_f32, e8m0_to_f32, f16_to_f32},
    tile::{ByteCodes, Codes, FloatRows, IntegerRows, NibbleCodes, multiply},
};

/// One thread's memory for weight rows.
#[derive(Debug, Default)]
pub struct Scratch {
    codes: Vec<[u8; BLOCK]>,
    scales: Vec<f32>,
    zeros: Vec<u8>,
    offsets: Vec<[f32; 8]>,
    group_scales: Vec<f32>,
    group_offsets: Vec<f32>,
    values: Vec<[f32; 8]>,
}

/// Where the tiles want the scales of a row: one per block of 32 columns, or per half block.
#[derive(Clone, Copy)]
struct Units {
    /// Blocks in a row.
    blocks: usize,
    /// Whether groups are no whole blocks: a unit is half a block.
    halves: bool,
    /// Units in a row.
    len: usize,
    /// Units in a group.
    repeat: usize,
    /// Groups in a row.
    groups: usize,
}

impl Units {
    fn new(layout: &Layout, cols: usize) -> Units {
        let (blocks, group) = (cols.div_ceil(BLOCK), layout.group());
        let halves = !group.is_multiple_of(BLOCK);
        let (len, unit) = if halves { (2 * blocks, BLOCK / 2) } else { (blocks, BLOCK) };
        Units { blocks, halves, len, repeat: group / unit, groups: layout.groups(cols) }
    }

    /// One value per group to one per unit, `stride` apart; units past the last group become 0.
    #[inline(always)]
    fn expand(self, groups: &[f32], units: &mut [f32], stride: usize) {
        let mut units = units.iter_mut().step_by(stride).take(self.len);
        if self.repeat == 1 {
            units.by_ref().zip(groups).for_each(|(unit, group)| *unit = *group);
        } else {
            for group in &groups[..self.groups] {
                units.by_ref().take(self.repeat).for_each(|unit| *unit = *group);
            }
        }
        units.for_each(|unit| *unit = 0.0);
    }
}

/// A format whose codes the tiles read in place.
#[derive(Clone, Copy)]
pub(crate) struct Grouped<'a> {
    code: Code,
    scale: ScaleType,
    zero: bool,
    factor: f32,
    units: Units,
    codes: Stream<'a>,
    scales: Stream<'a>,
    zeros: Stream<'a>,
}

/// Bytes of a whole weight, so many a row.
#[derive(Clone, Copy)]
struct Stream<'a> {
    bytes: &'a [u8],
    row: usize,
}

impl<'a> Stream<'a> {
    #[inline(always)]
    fn row(self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row..][..self.row]
    }
}

/// Codes read where they lie.
enum InPlace<'a> {
    Bytes(ByteCodes<'a>),
    Nibbles(NibbleCodes<'a, false>),
    NibblesLessZero(NibbleCodes<'a, true>),
}

impl<'a> Grouped<'a> {
    /// The streams of `weight`, if the tiles can read them: integer codes of 4 or 8 bits for all columns in
    /// whole blocks, zero points for whole blocks.
    pub(crate) fn of(weight: &'a Weight) -> Option<Grouped<'a>> {
        let (layout, cols, parts) = (weight.layout(), weight.cols(), weight.parts());
        let Layout::Grouped { code, scale, zero, sparse: false, .. } = layout else { return None };
        let units = Units::new(&layout, cols);
        let grouped = Grouped {
            code,
            scale,
            zero,
            // E2M1 codes are read as twice their value.
            factor: if code == Code::E2m1 { 0.5 } else { 1.0 } * parts.tensor_scale,
            units,
            codes: Stream { bytes: &parts.codes, row: layout.code_bytes(cols) },
            scales: Stream { bytes: &parts.scales, row: layout.scale_bytes(cols) },
            zeros: Stream { bytes: &parts.zeros, row: layout.zero_bytes(cols) },
        };
        let wide = code.is_integer() && matches!(code.bits(), 4 | 8);
        (wide && cols.is_multiple_of(BLOCK) && !(zero && units.halves)).then_some(grouped)
    }

    /// The weight of each nibble for [`Simd::dot`].
    #[inline(always)]
    fn table<S: Simd>(self) -> [u8; 16] {
        const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
        let mut table = [0; 16];
        for (nibble, weight) in table.iter_mut().enumerate() {
            let code = match self.code {
                Code::E2m1 => E2M1[nibble],
                Code::Int4 => nibble as i8 - 8,
                // Zero points are taken off later; what is not 4 bits wide has no table.
                _ => nibble as i8,
            };
            *weight = code as u8 ^ S::FLIP;
        }
        table
    }

    /// The codes from row `start` on.
    #[inline(always)]
    fn in_place<'b, S: Simd>(self, start: usize, zeros: &'b [u8], table: &'b [u8; 16]) -> InPlace<'b>
    where
        'a: 'b,
    {
        let codes = &self.codes.bytes[start * self.codes.row..];
        match (self.code, self.zero) {
            (Code::Int8, _) => {
                InPlace::Bytes(ByteCodes { blocks: codes.as_chunks().0, flip: 0x80 ^ S::FLIP })
            }
            (_, false) => InPlace::Nibbles(NibbleCodes { blocks: codes.as_chunks().0, table, zeros }),
            (_, true) => InPlace::NibblesLessZero(NibbleCodes { blocks: codes.as_chunks().0, table, zeros }),
        }
    }

    /// The scales of four rows, side by side.
    #[inline(always)]
    fn four_scales(self, rows: [usize; 4], out: &mut [f32]) {
        let (streams, factor) = (rows.map(|row| self.scales.row(row)), self.factor);
        let repeat = self.units.repeat;
        match self.scale {
            ScaleType::F32 => side_by_side(streams, repeat, out, |bytes| f32::from_le_bytes(bytes) * factor),
            ScaleType::F16 => {
                side_by_side(streams, repeat, out, |bytes| f16_to_f32(u16::from_le_bytes(bytes)) * factor)
            }
            ScaleType::E4m3 => side_by_side(streams, repeat, out, |[byte]| e4m3_to_f32(byte) * factor),
            ScaleType::E8m0 => side_by_side(streams, repeat, out, |[byte]| e8m0_to_f32(byte) * factor),
        }
    }
}

/// Values of N bytes each from four streams of one length, one from each in turn, each four `repeat`
/// times.
#[inline(always)]
fn side_by_side<T: Copy, const N: usize>(
    streams: [&[u8]; 4],
    repeat: usize,
    out: &mut [T],
    value: impl Fn([u8; N]) -> T,
) {
    let [a, b, c, d] = streams.map(|stream| stream.as_chunks::<N>().0);
    let streams = a.iter().zip(b).zip(c.iter().zip(d));
    let (out, _) = out.as_chunks_mut::<4>();
    if repeat == 1 {
        for (out, ((a, b), (c, d))) in out.iter_mut().zip(streams) {
            *out = [value(*a), value(*b), value(*c), value(*d)];
        }
    } else {
        for (out, ((a, b), (c, d))) in out.chunks_mut(repeat).zip(streams) {
            out.fill([value(*a), value(*b), value(*c), value(*d)]);
        }
    }
}

impl Scratch {
    /// Products of rows `start..start + rows` whose codes are read where they lie.
    #[inline(always)]
    pub(crate) fn multiply_in_place<S: Simd>(
        &mut self,
        s: S,
        grouped: Grouped<'_>,
        (start, rows): (usize, usize),
        (x, picks): (&[Activation], &[u32]),
        out: &mut [f32],
    ) {
        self.load_scales(grouped, start, rows);
        let (table, units) = (grouped.table::<S>(), grouped.units);
        match grouped.in_place::<S>(start, &self.zeros, &table) {
            InPlace::Bytes(codes) => multiply(s, self.integers(units, rows, codes, true), x, picks, out),
            InPlace::Nibbles(codes) => multiply(s, self.integers(units, rows, codes, true), x, picks, out),
            InPlace::NibblesLessZero(codes) => {
                multiply(s, self.integers(units, rows, codes, true), x, picks, out);
            }
        }
    }

    /// Unpacks rows `start..start + rows` into integer codes.
    #[inline(always)]
    pub(crate) fn unpack<S: Simd>(
        &mut self,
        s: S,
        weight: &Weight,
        (start, rows): (usize, usize),
    ) -> IntegerRows<'_, ByteCodes<'_>> {
        let units = Units::new(&weight.layout(), weight.cols());
        self.codes.resize(rows * units.blocks, [0; BLOCK]);
        if let Some(grouped) = Grouped::of(weight) {
            self.load_scales(grouped, start, rows);
            let table = grouped.table::<S>();
            match grouped.in_place::<S>(start, &self.zeros, &table) {
                InPlace::Bytes(codes) => copy_codes(s, units, codes, &mut self.codes),
                InPlace::Nibbles(codes) => copy_codes(s, units, codes, &mut self.codes),
                InPlace::NibblesLessZero(codes) => copy_codes(s, units, codes, &mut self.codes),
            }
        } else {
            self.unpack_any::<S>(weight, units, start, rows);
        }
        self.integers(units, rows, ByteCodes { blocks: &self.codes, flip: 0 }, false)
    }

    /// Decodes rows `start..start + rows` to f32.
    pub(crate) fn decode(&mut self, weight: &Weight, (start, rows): (usize, usize)) -> FloatRows<'_> {
        let (cols, chunks) = (weight.cols(), weight.cols().div_ceil(8));
        self.values.resize(rows * chunks, [0.0; 8]);
        for r in 0..rows {
            let values = self.values[r * chunks..][..chunks].as_flattened_mut();
            weight.decode_row(start + r, &mut values[..cols]);
            values[cols..].fill(0.0);
        }
        FloatRows { rows, chunks, values: &self.values }
    }

    #[inline(always)]
    fn integers<C: Codes>(&self, units: Units, rows: usize, codes: C, from_afar: bool) -> IntegerRows<'_, C> {
        let (Units { blocks, halves, .. }, Scratch { scales, offsets, .. }) = (units, self);
        IntegerRows { rows, blocks, codes, from_afar, halves, scales, offsets }
    }

    /// Scales and zero points of rows whose codes are read in place.
    #[inline(always)]
    fn load_scales(&mut self, grouped: Grouped<'_>, start: usize, rows: usize) {
        let Units { len, repeat, .. } = grouped.units;
        self.offsets.clear();
        self.scales.resize(rows.next_multiple_of(4) * len, 0.0);
        self.zeros.resize(if grouped.zero { self.scales.len() } else { 0 }, 0);
        for four in (0..rows).step_by(4) {
            // The last row stands in for rows that are missing.
            let row = |r: usize| start + rows.min(four + r + 1) - 1;
            let rows = [row(0), row(1), row(2), row(3)];
            let at = four * len..(four + 4) * len;
            grouped.four_scales(rows, &mut self.scales[at.clone()]);
            if grouped.zero {
                let streams = rows.map(|row| grouped.zeros.row(row));
                side_by_side(streams, repeat, &mut self.zeros[at], |[zero]| zero);
            }
        }
    }

    /// Unpacks rows of a format that the tiles cannot read in place.
    #[inline(always)]
    fn unpack_any<S: Simd>(&mut self, weight: &Weight, units: Units, start: usize, rows: usize) {
        let chunks = units.len.div_ceil(8);
        self.group_scales.resize(units.groups, 0.0);
        self.group_offsets.resize(units.groups, 0.0);
        self.scales.resize(rows.next_multiple_of(4) * units.len, 0.0);
        self.offsets.clear();
        self.offsets.resize(rows * chunks, [0.0; 8]);
        let mut any_offset = false;
        for r in 0..rows {
            let codes = self.codes[r * units.blocks..][..units.blocks].as_flattened_mut();
            let out = Unpacked {
                codes: bytemuck::cast_slice_mut(&mut codes[..weight.cols()]),
                scales: &mut self.group_scales,
                offsets: &mut self.group_offsets,
            };
            let integer = weight.unpack_row(start + r, out);
            assert!(integer, "{} has no integer codes", weight.format().name());
            codes.iter_mut().for_each(|code| *code ^= S::FLIP);
            let four = &mut self.scales[r / 4 * 4 * units.len..][..4 * units.len];
            units.expand(&self.group_scales, &mut four[r % 4..], 4);
            if self.group_offsets.iter().any(|offset| *offset != 0.0) {
                any_offset = true;
                units.expand(&self.group_offsets, self.offsets[r * chunks..][..chunks].as_flattened_mut(), 1);
            }
        }
        if !any_offset {
            self.offsets.clear();
        }
    }
}

/// Stored codes to one byte each.
#[inline(always)]
fn copy_codes<S: Simd>(s: S, units: Units, from: impl Codes, to: &mut [[u8; BLOCK]]) {
    assert!(from.len() >= to.len());
    for (row, to) in to.chunks_exact_mut(units.blocks).enumerate() {
        for (b, block) in to.iter_mut().enumerate() {
            let zero = (row - row % 4) * units.blocks + 4 * b + row % 4;
            // SAFETY: `from` has as many blocks as `to` or more.
            let codes = unsafe { from.block(s, row * units.blocks + b, zero) };
            s.store_bytes(codes, block);
        }
    }
}
