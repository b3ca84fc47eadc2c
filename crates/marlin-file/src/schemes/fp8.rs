//! 8-bit floats with scales of any size: DeepSeek's, compressed-tensors' float-quantized, ours. Nothing is
//! rounded; scales are repeated where ours are finer.
//!
//! ```text
//!  X.weight            E4M3 or E5M2 [rows, cols]
//!  X.weight_scale_inv  [ceil(rows / 128), ceil(cols / 128)], and multiplies for all its name
//!  X.weight_scale      [], [1], [rows], [rows, 1], [rows, ceil(cols / 128)] or as above
//! ```
//!
//! Scales are f32, bf16, f16, or powers of two (E8M0).

use marlin_format::scalar::e8m0_to_half;
use marlin_format::{Format, Parts, ROW, Weight, by_name};

use super::values::{FLOATS, floats};
use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error, TensorView};

const CODES: &str = ".weight";
const SCALE: &str = ".weight_scale";
const SCALE_INVERSE: &str = ".weight_scale_inv";

/// The row of the table.
pub(super) const FP8: Scheme = Scheme {
    suffixes: &[CODES, SCALE, SCALE_INVERSE, ".input_scale"],
    shows: |stored| stored.part(CODES).is_some_and(|tensor| FLOATS8.contains(&tensor.dtype)),
    shape,
    read,
};

const FLOATS8: [Dtype; 2] = [Dtype::F8E4m3, Dtype::F8E5m2];

/// Rows and columns of a block that shares a scale.
const BLOCK: usize = 128;

fn shape(stored: &Stored<'_>) -> Result<(usize, usize), Error> {
    let (_, [rows, cols]) = stored.typed(CODES, &FLOATS8, "F8_E4M3 or F8_E5M2 [rows, columns]")?;
    Ok((rows, cols))
}

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let (rows, cols) = shape(stored)?;
    let codes = stored.need(CODES)?;
    let suffix = if stored.part(SCALE_INVERSE).is_some() { SCALE_INVERSE } else { SCALE };
    let scale = stored.need(suffix)?;
    let values = scales(stored, suffix, scale)?;
    let wrong = |expected: String| stored.error(suffix, describe(scale), expected);
    let blocks = cols.div_ceil(BLOCK);
    // How many rows in turn have the same scales, and whether these are for `BLOCK` columns.
    let (repeat, in_blocks) = match (&scale.shape[..], stored.formats.get(stored.name)) {
        (&[found, groups], Some(known)) => {
            let layout = by_name(known).map_err(|error| stored.format_error(error))?.layout();
            if (found, groups) != (rows, layout.groups(cols)) {
                return Err(wrong(format!("F32 [{rows}, {}] for {known}", layout.groups(cols))));
            }
            (1, layout.group() != ROW)
        }
        ([] | [1] | [1, 1], _) => (rows, false),
        (&[found] | &[found, 1], _) if found == rows => (1, false),
        (&[found, groups], _) if (found, groups) == (rows, blocks) => (1, true),
        (&[found, groups], _) if (found, groups) == (rows.div_ceil(BLOCK), blocks) => (BLOCK, true),
        _ => {
            let block_rows = rows.div_ceil(BLOCK);
            return Err(wrong(format!("[1], [{rows}, 1], [{rows}, {blocks}] or [{block_rows}, {blocks}]")));
        }
    };
    let format = match (codes.dtype, in_blocks) {
        (Dtype::F8E4m3, false) => "fp8-e4m3",
        (Dtype::F8E4m3, true) => "fp8-e4m3-g128",
        (_, false) => "fp8-e5m2",
        (_, true) => return Err(wrong(format!("[1] or [{rows}, 1] for {}", codes.dtype))),
    };
    let format: &'static dyn Format = by_name(format).map_err(|error| stored.format_error(error))?;
    let groups = if in_blocks { blocks } else { 1 };
    let scale_of = |row: usize| &values[row / repeat * groups..][..groups];
    let scales = (0..rows).flat_map(scale_of).flat_map(|scale| scale.to_le_bytes()).collect();
    let parts = Parts { scales, ..Parts::codes_only(codes.data.clone()) };
    let weight = Weight::new(format, rows, cols, parts);
    Ok(weight.map_err(|error| stored.format_error(error))?.into())
}

/// Scales as f32, which holds all of them exactly but the NaN of E8M0: it is infinite here, and refused too.
fn scales(stored: &Stored<'_>, suffix: &str, scale: &TensorView) -> Result<Vec<f32>, Error> {
    let values = match scale.dtype {
        Dtype::F8E8m0 => scale.data.iter().map(|code| 2.0 * e8m0_to_half(*code)).collect(),
        dtype if FLOATS.contains(&dtype) => floats(scale),
        _ => return Err(stored.error(suffix, describe(scale), "F32, BF16, F16 or F8_E8M0")),
    };
    stored.finite(suffix, values)
}
