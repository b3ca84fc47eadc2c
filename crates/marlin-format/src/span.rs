//! Decoding by taking apart: the one place where a row of integer codes becomes f32.

use crate::{Format, Layout, Row, Unpacked};

/// Columns taken apart at a time: a multiple of every group and block.
pub const SPAN: usize = 256;

/// Smallest group of any format: the kept columns of 16 of a sparse one.
pub const MIN_GROUP: usize = 8;

/// Writes `scale * code + offset` for every column.
pub fn decode(format: &dyn Format, row: Row<'_>, out: &mut [f32]) {
    let layout = format.layout();
    let group = layout.group();
    let mut codes = [0i8; SPAN];
    let mut scales = [0.0f32; SPAN / MIN_GROUP];
    let mut offsets = [0.0f32; SPAN / MIN_GROUP];
    for (index, out) in out.chunks_mut(SPAN).enumerate() {
        let groups = out.len().div_ceil(group);
        let unpacked = Unpacked {
            codes: &mut codes[..out.len()],
            scales: &mut scales[..groups],
            offsets: &mut offsets[..groups],
        };
        format.unpack(span(&layout, row, index, out.len()), unpacked);
        for (g, (out, codes)) in out.chunks_mut(group).zip(codes.chunks(group)).enumerate() {
            for (out, &code) in out.iter_mut().zip(codes) {
                *out = scales[g] * f32::from(code) + offsets[g];
            }
        }
    }
}

fn span<'a>(layout: &Layout, row: Row<'a>, index: usize, cols: usize) -> Row<'a> {
    let window = |stream: &'a [u8], span_bytes: usize, bytes: usize| &stream[index * span_bytes..][..bytes];
    Row {
        cols,
        codes: window(row.codes, layout.code_bytes(SPAN), layout.code_bytes(cols)),
        scales: window(row.scales, layout.scale_bytes(SPAN), layout.scale_bytes(cols)),
        zeros: window(row.zeros, layout.zero_bytes(SPAN), layout.zero_bytes(cols)),
        codebook: row.codebook,
        tensor_scale: row.tensor_scale,
    }
}
