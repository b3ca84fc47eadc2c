//! `X.weight_packed`: the packed schemes of compressed-tensors, ours and other writers'.
//!
//! Our own files name the format of each weight, and every part is held against the table that the writer
//! plans from. Of other files the parts themselves say what they are.

mod foreign;

use bytes::Bytes;
use marlin_format::{Format, Layout, Parts, Weight, by_name};

use super::{Ordered, Scheme, Stored, describe};
use crate::stored::{self, Part};
use crate::{Dtype, Error, TensorView};

const PACKED: &str = ".weight_packed";
const SCALE: &str = ".weight_scale";
const ZERO_POINT: &str = ".weight_zero_point";
const GLOBAL_SCALE: &str = ".weight_global_scale";
const SHAPE: &str = ".weight_shape";
const GROUP_INDEX: &str = ".weight_g_idx";

/// The row of the table.
pub(super) const PACKED_WEIGHT: Scheme = Scheme {
    suffixes: &[
        PACKED,
        SCALE,
        ZERO_POINT,
        GLOBAL_SCALE,
        SHAPE,
        GROUP_INDEX,
        ".weight_codebook",
        ".input_global_scale",
    ],
    shows: |_| true,
    shape: rows_and_cols,
    read,
};

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let (rows, cols) = rows_and_cols(stored)?;
    let Some(name) = stored.formats.get(stored.name) else {
        return foreign::read(stored, rows, cols);
    };
    let wrap = |error| stored.format_error(error);
    let format = by_name(name).map_err(wrap)?;
    let parts = parts(stored, format, rows, cols)?;
    Ok(Weight::new(format, rows, cols, parts).map_err(wrap)?.into())
}

/// The shape of the weight: `weight_shape`, or that of E2M1 codes without it. Columns are at most what the
/// bytes there are can hold.
fn rows_and_cols(stored: &Stored<'_>) -> Result<(usize, usize), Error> {
    let packed = stored.need(PACKED)?;
    let [rows, width] = packed.shape[..] else {
        return Err(stored.shape_error(packed, "two dimensions"));
    };
    if rows == 0 || width == 0 {
        return Err(stored.shape_error(packed, "no dimension of 0"));
    }
    let row_bytes = packed.data.len() / rows;
    let Some(shape) = stored.part(SHAPE) else {
        if packed.dtype != Dtype::U8 {
            return Err(stored.need(SHAPE).err().unwrap_or_else(|| stored.shape_error(packed, "a shape")));
        }
        return Ok((rows, row_bytes * 2));
    };
    let numbers = match (shape.dtype, shape.data.len()) {
        (Dtype::I64, 16) => numbers::<8>(&shape.data, i64::from_le_bytes),
        (Dtype::I32, 8) => numbers::<4>(&shape.data, |bytes| i32::from_le_bytes(bytes).into()),
        _ => return Err(stored.error(SHAPE, describe(shape), "I64 [2]")),
    };
    // A code has at least one bit.
    let most = row_bytes * 8;
    let fits = |cols: &usize| (1..=most).contains(cols);
    match (usize::try_from(numbers[0]), usize::try_from(numbers[1]).ok().filter(fits)) {
        (Ok(found), Some(cols)) if found == rows => Ok((rows, cols)),
        _ => {
            let expected = format!("[{rows}, 1 to {most}] for {}", describe(packed));
            Err(stored.error(SHAPE, format!("{numbers:?}"), expected))
        }
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> i64) -> Vec<i64> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}

/// Collects the parts that `format` needs, each of the dtype and shape it needs.
fn parts(stored: &Stored<'_>, format: &'static dyn Format, rows: usize, cols: usize) -> Result<Parts, Error> {
    let packed = stored.need(PACKED)?;
    let bad = || stored.error(PACKED, describe(packed), "a format with packed codes");
    let layout = format.layout();
    let mut parts = Parts::codes_only(Bytes::new());
    if matches!(layout, Layout::Dense { .. }) {
        return Err(bad());
    }
    for expected in stored::stored(format, rows, cols).ok_or_else(bad)? {
        if expected.part == Part::Shape {
            continue;
        }
        let suffix = format!(".{}", expected.suffix);
        let tensor = stored.need(&suffix)?;
        let scalar = expected.part == Part::TensorScale && tensor.data.len() == 4;
        if tensor.dtype != expected.dtype || (tensor.shape != expected.shape && !scalar) {
            let name = format.name();
            let expected = format!("{} {:?} for {name} [{rows}, {cols}]", expected.dtype, expected.shape);
            return Err(stored.error(&suffix, describe(tensor), expected));
        }
        match expected.part {
            Part::Codes => parts.codes = tensor.data.clone(),
            Part::Scales => parts.scales = tensor.data.clone(),
            Part::Zeros => {
                let Layout::Grouped { code, .. } = layout else { return Err(bad()) };
                let groups = layout.groups(cols);
                parts.zeros = stored::unpack_zeros(&tensor.data, rows, groups, code.bits()).into();
            }
            Part::Codebook => {
                let (values, _) = tensor.data.as_chunks::<4>();
                parts.codebook = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            }
            Part::TensorScale => parts.tensor_scale = multiplier(stored, tensor)?,
            Part::Shape => {}
        }
    }
    Ok(parts)
}

/// The tensor scale of memory: the reciprocal of the stored divisor.
fn multiplier(stored: &Stored<'_>, tensor: &TensorView) -> Result<f32, Error> {
    let (values, _) = tensor.data.as_chunks::<4>();
    let divisor = values.first().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
    let multiplier = divisor.recip();
    if !(divisor.is_finite() && divisor > 0.0 && multiplier.is_finite()) {
        return Err(stored.error(GLOBAL_SCALE, divisor.to_string(), "a finite divisor above 0"));
    }
    Ok(multiplier)
}
