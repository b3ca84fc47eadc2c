//! 4-bit floats of several owners, all of them ours but for the names: nothing is copied.
//!
//! | scheme | codes | scales |
//! |---|---|---|
//! | ModelOpt NVFP4 | `X.weight` u8 `[rows, cols / 2]` | `X.weight_scale` E4M3, `X.weight_scale_2` f32 |
//! | gpt-oss MXFP4 | `X_blocks` u8 `[experts, rows, cols / 32, 16]` | `X_scales` u8 (E8M0) |
//! | MMFP4 | `X.qweight` or `X.weight` u32 `[rows, cols / 8]` | `X.scales` f16, by rows or by groups |
//!
//! The low nibble of a byte is the even column, in all three. `weight_scale_2` is a factor.

use bytes::Bytes;
use marlin_format::{Code, FORMATS, Format, Layout, Parts, ScaleType, Weight, by_name};

use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error, TensorView};

const WEIGHT: &str = ".weight";
const WEIGHT_SCALE: &str = ".weight_scale";
const TENSOR_SCALE: &str = ".weight_scale_2";
const BLOCKS: &str = "_blocks";
const BLOCK_SCALES: &str = "_scales";
const WORDS: &str = ".qweight";
const SCALES: &str = ".scales";

/// NVFP4 of NVIDIA's ModelOpt.
pub(super) const MODELOPT: Scheme = Scheme {
    suffixes: &[WEIGHT, WEIGHT_SCALE, TENSOR_SCALE, ".input_scale"],
    shows: |stored| {
        let bytes = stored.part(WEIGHT).is_some_and(|tensor| tensor.dtype == Dtype::U8);
        bytes && stored.part(TENSOR_SCALE).is_some()
    },
    shape: |stored| {
        let (_, [rows, bytes]) = stored.typed(WEIGHT, &[Dtype::U8], "U8 [rows, columns / 2]")?;
        Ok((rows, 2 * bytes))
    },
    read: modelopt,
};

fn modelopt(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let (codes, [rows, bytes]) = stored.typed(WEIGHT, &[Dtype::U8], "U8 [rows, columns / 2]")?;
    let groups = bytes.div_ceil(8);
    let expected = format!("F8_E4M3 [{rows}, {groups}]");
    let (scales, shape) = stored.typed(WEIGHT_SCALE, &[Dtype::F8E4m3], &expected)?;
    if shape != [rows, groups] {
        return Err(stored.error(WEIGHT_SCALE, describe(scales), expected));
    }
    let factor = stored.need(TENSOR_SCALE)?;
    let tensor_scale = match (factor.dtype, factor.data.as_chunks::<4>().0) {
        (Dtype::F32, [bytes]) => f32::from_le_bytes(*bytes),
        _ => return Err(stored.error(TENSOR_SCALE, describe(factor), "F32 []")),
    };
    if !(tensor_scale.is_finite() && tensor_scale > 0.0) {
        return Err(stored.error(TENSOR_SCALE, tensor_scale.to_string(), "a finite factor above 0"));
    }
    let parts = Parts { scales: scales.data.clone(), tensor_scale, ..Parts::codes_only(codes.data.clone()) };
    named(stored, "fp4", (rows, 2 * bytes), parts)
}

/// MXFP4 of gpt-oss: stacks, a block of 32 columns after the other.
pub(super) const GPT_OSS: Scheme = Scheme {
    suffixes: &[BLOCKS, BLOCK_SCALES],
    shows: |stored| stored.part(BLOCKS).is_some_and(|tensor| tensor.dtype == Dtype::U8),
    shape: |stored| {
        let (_, [experts, rows, blocks]) = block_shape(stored)?;
        Ok((experts * rows, 32 * blocks))
    },
    read: |stored| {
        let (codes, shape) = block_shape(stored)?;
        let [experts, rows, blocks] = shape;
        let expected = format!("U8 {shape:?}");
        let (scales, found) = stored.typed(BLOCK_SCALES, &[Dtype::U8], &expected)?;
        if found != shape {
            return Err(stored.error(BLOCK_SCALES, describe(scales), expected));
        }
        let parts = Parts { scales: scales.data.clone(), ..Parts::codes_only(codes.data.clone()) };
        named(stored, "mxfp4", (experts * rows, 32 * blocks), parts)
    },
};

fn block_shape<'a>(stored: &Stored<'a>) -> Result<(&'a TensorView, [usize; 3]), Error> {
    const EXPECTED: &str = "U8 [experts, rows, blocks, 16]";
    match stored.typed(BLOCKS, &[Dtype::U8], EXPECTED)? {
        (tensor, [experts, rows, blocks, 16]) => Ok((tensor, [experts, rows, blocks])),
        (tensor, _) => Err(stored.error(BLOCKS, describe(tensor), EXPECTED)),
    }
}

/// MMFP4 of this project's predecessor.
pub(super) const MMFP4: Scheme = mmfp4(&[WORDS, SCALES]);
/// The same under another name.
pub(super) const MMFP4_WEIGHT: Scheme = mmfp4(&[WEIGHT, SCALES]);

const fn mmfp4(suffixes: &'static [&'static str]) -> Scheme {
    Scheme {
        suffixes,
        shows: |stored| {
            let others = [".qzeros", ".biases", ".g_idx"].iter().any(|other| stored.part(other).is_some());
            let halves = stored.part(SCALES).is_some_and(|tensor| tensor.dtype == Dtype::F16);
            let words = words(stored).is_ok_and(|tensor| tensor.dtype == Dtype::U32);
            words && halves && !others
        },
        shape: |stored| mmfp4_sizes(stored).map(|(_, [rows, words])| (rows, 8 * words)),
        read: mmfp4_read,
    }
}

fn words<'a>(stored: &Stored<'a>) -> Result<&'a TensorView, Error> {
    stored.part(WORDS).map_or_else(|| stored.need(WEIGHT), Ok)
}

fn mmfp4_sizes<'a>(stored: &Stored<'a>) -> Result<(&'a TensorView, [usize; 2]), Error> {
    let suffix = if stored.part(WORDS).is_some() { WORDS } else { WEIGHT };
    stored.typed(suffix, &[Dtype::U32], "U32 [rows, columns / 8]")
}

/// Scales lie by rows or by groups; where a shape allows both, neither is guessed.
fn mmfp4_read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let (codes, [rows, words]) = mmfp4_sizes(stored)?;
    let (scales, shape) = stored.typed::<2>(SCALES, &[Dtype::F16], &format!("F16 [{rows}, groups]"))?;
    let format_of = |groups: usize| -> Option<&'static dyn Format> {
        FORMATS.iter().copied().find(|format| match format.layout() {
            Layout::Grouped { code: Code::E2m1, group, scale: ScaleType::F16, sparse: false, .. } => {
                (8 * words).div_ceil(group) == groups
            }
            _ => false,
        })
    };
    let by_rows = (shape[0] == rows).then(|| format_of(shape[1])).flatten();
    let by_groups = (shape[1] == rows).then(|| format_of(shape[0])).flatten();
    let (format, scales) = match (by_rows, by_groups) {
        (Some(format), None) => (format, scales.data.clone()),
        (None, Some(format)) => (format, transposed(&scales.data, shape[0], rows)),
        (None, None) => {
            let expected = format!(
                "[{rows}, groups] or [groups, {rows}], a group for 32, 64 or 128 of {} columns",
                8 * words
            );
            return Err(stored.error(SCALES, describe(scales), expected));
        }
        (Some(_), Some(_)) => {
            return Err(stored.error(SCALES, describe(scales), "a shape that tells rows from groups"));
        }
    };
    let parts = Parts { scales, ..Parts::codes_only(codes.data.clone()) };
    named(stored, format.name(), (rows, 8 * words), parts)
}

/// `[groups, rows]` halves as `[rows, groups]`.
fn transposed(halves: &[u8], groups: usize, rows: usize) -> Bytes {
    let (halves, _) = halves.as_chunks::<2>();
    super::values::transpose(halves, groups, rows).into_flattened().into()
}

fn named(
    stored: &Stored<'_>,
    name: &str,
    (rows, cols): (usize, usize),
    parts: Parts,
) -> Result<Ordered, Error> {
    let format = by_name(name).map_err(|error| stored.format_error(error))?;
    let weight = Weight::new(format, rows, cols, parts);
    Ok(weight.map_err(|error| stored.format_error(error))?.into())
}
