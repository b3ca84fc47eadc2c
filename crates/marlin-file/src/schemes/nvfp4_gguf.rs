//! GGUF's NVFP4: blocks of 64 with four scales, and a factor of the tensor in a tensor of its own.
//!
//! ```text
//!  X.weight       NVFP4 [.., rows, cols]
//!  X.scale        f32 [1], a factor, or [experts], one for each matrix of a stack; 1 without it
//!  X.input_scale  of activations, not read
//! ```

use std::ops::Range;

use marlin_format::import::nvfp4_to_rows;
use marlin_format::{Parts, Weight, by_name};

use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error};

const BLOCKS: &str = ".weight";
const SCALE: &str = ".scale";

/// What a scale of 0xff, which ggml reads as 480, is without its sign.
const E4M3_NAN: u8 = 0x7f;

/// The row of the table.
pub(super) const NVFP4_GGUF: Scheme = Scheme {
    suffixes: &[BLOCKS, SCALE, ".input_scale"],
    shows: |stored| stored.part(BLOCKS).is_some_and(|tensor| tensor.dtype == Dtype::Nvfp4),
    shape,
    read,
};

fn shape(stored: &Stored<'_>) -> Result<(usize, usize), Error> {
    let tensor = stored.need(BLOCKS)?;
    match tensor.shape[..] {
        [ref rows @ .., cols] if !tensor.data.is_empty() => Ok((rows.iter().product(), cols)),
        _ => Err(stored.error(BLOCKS, describe(tensor), "NVFP4 [rows, columns]")),
    }
}

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let (rows, _) = shape(stored)?;
    let factors = factors(stored)?;
    if factors.iter().any(|factor| *factor != factors[0]) {
        let found = format!("{} factors that differ", factors.len());
        return Err(stored.error(SCALE, found, "one, as the stack is read as one matrix"));
    }
    Ok(matrix(stored, 0..rows, factors[0])?.into())
}

/// Part `index` of `count` equal parts of the rows, with its own factor; `None` for a weight that is stored
/// in another way.
///
/// # Errors
/// As [`Checkpoint::weight_part`](crate::Checkpoint::weight_part).
pub(crate) fn part(stored: &Stored<'_>, index: usize, count: usize) -> Result<Option<Weight>, Error> {
    if !(NVFP4_GGUF.shows)(stored) {
        return Ok(None);
    }
    let rows = stored.part_rows(shape(stored)?, index, count)?;
    let factors = factors(stored)?;
    let factor = match factors[..] {
        [factor] => factor,
        _ if factors.len() == count => factors[index],
        _ => return Err(stored.error(SCALE, format!("{} factors", factors.len()), format!("1 or {count}"))),
    };
    matrix(stored, rows, factor).map(Some)
}

/// The factors: one, or one for each matrix of a stack.
fn factors(stored: &Stored<'_>) -> Result<Vec<f32>, Error> {
    let Some(tensor) = stored.part(SCALE) else { return Ok(vec![1.0]) };
    let stack = match stored.need(BLOCKS)?.shape[..] {
        [count, _, _] => count,
        _ => 1,
    };
    let (bytes, _) = tensor.data.as_chunks::<4>();
    if tensor.dtype != Dtype::F32 || (bytes.len() != 1 && bytes.len() != stack) {
        let expected = if stack == 1 { "F32 [1]".to_owned() } else { format!("F32 [1] or [{stack}]") };
        return Err(stored.error(SCALE, describe(tensor), expected));
    }
    let factors: Vec<f32> = bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        Some(bad) => Err(stored.error(SCALE, bad.to_string(), "a finite factor above 0")),
        None => Ok(factors),
    }
}

/// Some rows, and what they are multiplied by.
fn matrix(stored: &Stored<'_>, range: Range<usize>, tensor_scale: f32) -> Result<Weight, Error> {
    let (all, cols) = shape(stored)?;
    let (data, rows) = (&stored.need(BLOCKS)?.data, range.len());
    let row_bytes = data.len() / all;
    let (codes, scales) = nvfp4_to_rows(&data[range.start * row_bytes..range.end * row_bytes]);
    if let Some(at) = scales.iter().position(|scale| *scale == E4M3_NAN) {
        let (row, group) = (range.start + at / (cols / 16), at % (cols / 16));
        let found = format!("row {row}, group {group}: scale 0xff (NaN)");
        return Err(stored.error(BLOCKS, found, "scales up to 448"));
    }
    let parts = Parts { scales: scales.into(), tensor_scale, ..Parts::codes_only(codes.into()) };
    let weight = by_name("fp4").and_then(|format| Weight::new(format, rows, cols, parts));
    weight.map_err(|error| stored.format_error(error))
}
