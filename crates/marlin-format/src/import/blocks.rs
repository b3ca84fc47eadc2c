//! GGUF blocks of 32 as separate streams, and back.
//!
//! | blocks | streams | codes |
//! |---|---|---|
//! | `q4_0` | `int4-sym-g32` | nibbles move |
//! | `q8_0` | `int8-g32` | 128 added to each byte |
//! | `mxfp4-gguf` | `mxfp4` | nibbles move |
//!
//! ```text
//!  block     | scale | 16+0 . 0 | 16+1 . 1 | 16+2 . 2 | ... | 31 . 15 |     high . low nibble
//!
//!  codes     | 1 . 0 | 3 . 2 | 5 . 4 | ... | 31 . 30 |
//!  scales    | scale |
//! ```

use crate::{Format, Parts, Weight, by_name};

const PAIRS: [(&str, &str); 3] = [("q4_0", "int4-sym-g32"), ("q8_0", "int8-g32"), ("mxfp4-gguf", "mxfp4")];

/// A weight in GGUF blocks as streams, bytes copied. `None` if the format has no such twin.
pub fn separate(weight: &Weight) -> Option<Weight> {
    let (_, streams) = PAIRS.iter().find(|pair| pair.0 == weight.format().name())?;
    let streams = by_name(streams).ok()?;
    let shape = Shape::of(streams);
    let blocks = weight.parts().codes.chunks_exact(shape.scale + shape.codes);
    let mut codes = vec![0; blocks.len() * shape.codes];
    let mut scales = vec![0; blocks.len() * shape.scale];
    let out = codes.chunks_exact_mut(shape.codes).zip(scales.chunks_exact_mut(shape.scale));
    for (block, (codes, scale)) in blocks.zip(out) {
        let (from_scale, from) = block.split_at(shape.scale);
        scale.copy_from_slice(from_scale);
        if shape.codes == 32 {
            flip(from, codes);
        } else {
            halves_to_pairs(from, codes);
        }
    }
    let parts = Parts { scales: scales.into(), ..Parts::codes_only(codes.into()) };
    Weight::new(streams, weight.rows(), weight.cols(), parts).ok()
}

/// The inverse of [`separate`]. `None` if the format has no such twin, or the columns are no
/// multiple of 32.
pub fn interleave(weight: &Weight) -> Option<Weight> {
    let (blocks, _) = PAIRS.iter().find(|pair| pair.1 == weight.format().name())?;
    if !weight.cols().is_multiple_of(32) {
        return None;
    }
    let shape = Shape::of(weight.format());
    let parts = weight.parts();
    let mut out = vec![0; parts.scales.len() / shape.scale * (shape.scale + shape.codes)];
    let from = parts.codes.chunks_exact(shape.codes).zip(parts.scales.chunks_exact(shape.scale));
    for (block, (codes, scale)) in out.chunks_exact_mut(shape.scale + shape.codes).zip(from) {
        let (to_scale, to) = block.split_at_mut(shape.scale);
        to_scale.copy_from_slice(scale);
        if shape.codes == 32 {
            flip(codes, to);
        } else {
            pairs_to_halves(codes, to);
        }
    }
    Weight::new(by_name(blocks).ok()?, weight.rows(), weight.cols(), Parts::codes_only(out.into())).ok()
}

/// Bytes of the scale and the codes of 32 columns.
struct Shape {
    scale: usize,
    codes: usize,
}

impl Shape {
    fn of(streams: &dyn Format) -> Self {
        let layout = streams.layout();
        Shape { scale: layout.scale_bytes(32), codes: layout.code_bytes(32) }
    }
}

/// Signed bytes to bytes with 128 added, or back.
fn flip(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from ^ 0x80;
    }
}

fn halves_to_pairs(from: &[u8], to: &mut [u8]) {
    for j in 0..8 {
        let (a, b) = (from[2 * j], from[2 * j + 1]);
        to[j] = a & 15 | b << 4;
        to[8 + j] = a >> 4 | b & 0xf0;
    }
}

fn pairs_to_halves(from: &[u8], to: &mut [u8]) {
    for j in 0..8 {
        let (low, high) = (from[j], from[8 + j]);
        to[2 * j] = low & 15 | high << 4;
        to[2 * j + 1] = low >> 4 | high & 0xf0;
    }
}

/// Blocks of GGUF's NVFP4 as codes and scales of `fp4`. A scale has no sign there, and its byte of NaN
/// means 0 (ggml, `ggml_ue4m3_to_fp32`).
///
/// ```text
///  block    | 4 scales | 8+0 . 0 | 8+1 . 1 | ... | 15 . 7 | and three times more |    high . low nibble
///
///  codes    | 1 . 0 | 3 . 2 | ... | 15 . 14 | ... | 63 . 62 |
///  scales   | 4 scales |
/// ```
pub fn nvfp4_to_rows(blocks: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (blocks, _) = blocks.as_chunks::<36>();
    let mut scales = Vec::with_capacity(blocks.len() * 4);
    let mut codes = Vec::with_capacity(blocks.len() * 32);
    for block in blocks {
        scales.extend(block[..4].iter().map(|scale| if *scale == 0x7f { 0 } else { scale & 0x7f }));
        for group in block[4..].as_chunks::<8>().0 {
            let pairs = group.as_chunks::<2>().0;
            codes.extend(pairs.iter().map(|[even, odd]| even & 15 | odd << 4));
            codes.extend(pairs.iter().map(|[even, odd]| even >> 4 | odd & 0xf0));
        }
    }
    (codes, scales)
}
