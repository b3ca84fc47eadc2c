//! compressed-tensors' int-quantized weights: signed bytes, nothing packed.
//!
//! ```text
//!  X.weight             i8 [rows, cols]
//!  X.weight_scale       [rows, groups], [rows, 1], [rows] or [1]
//!  X.weight_zero_point  i8, the shape of the scales; 0 without it
//! ```

use marlin_format::import::{Integers, Offsets, row_bytes};

use super::values::{FLOAT_NAMES, FLOATS, bytes, floats};
use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error};

const WEIGHT: &str = ".weight";
const SCALE: &str = ".weight_scale";
const ZERO_POINT: &str = ".weight_zero_point";

/// The row of the table.
pub(super) const INT8: Scheme = Scheme {
    suffixes: &[WEIGHT, SCALE, ZERO_POINT, ".input_scale", ".input_zero_point"],
    shows: |stored| stored.part(WEIGHT).is_some_and(|tensor| tensor.dtype == Dtype::I8),
    shape: |stored| {
        let (_, [rows, cols]) = stored.typed(WEIGHT, &[Dtype::I8], "I8 [rows, columns]")?;
        Ok((rows, cols))
    },
    read,
};

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let (weight, [rows, cols]) = stored.typed(WEIGHT, &[Dtype::I8], "I8 [rows, columns]")?;
    let scale = stored.need(SCALE)?;
    let groups = match scale.shape[..] {
        [found, groups] if found == rows && groups > 0 && cols.is_multiple_of(groups) => groups,
        [found] if found == rows => 1,
        [] | [1] | [1, 1] => 1,
        _ => {
            return Err(stored.error(
                SCALE,
                describe(scale),
                format!("[{rows}, groups] over {cols} columns"),
            ));
        }
    };
    if !FLOATS.contains(&scale.dtype) {
        return Err(stored.error(SCALE, describe(scale), FLOAT_NAMES));
    }
    // One for the tensor is one for every row.
    let times = |found: usize| rows * groups / found.max(1);
    let scales = floats(scale);
    let offsets = match stored.part(ZERO_POINT) {
        None => Offsets::Zero(128),
        Some(zero) if zero.dtype == Dtype::I8 && zero.shape == scale.shape => {
            let zeros: Vec<i16> = bytes(zero).map(|zero| i16::from(zero) + 128).collect();
            Offsets::Zeros(zeros.repeat(times(zeros.len())))
        }
        Some(zero) => {
            return Err(stored.error(ZERO_POINT, describe(zero), format!("I8 {:?}", scale.shape)));
        }
    };
    let mut codes = vec![0; rows * row_bytes(8, cols)];
    for (out, row) in codes.chunks_exact_mut(row_bytes(8, cols)).zip(weight.data.chunks_exact(cols)) {
        out.iter_mut().zip(row).for_each(|(out, byte)| *out = byte ^ 0x80);
    }
    let scales = scales.repeat(times(scale.data.len() / scale.dtype.block_bytes()));
    let integers =
        Integers { rows, cols, bits: 8, group: cols / groups, codes: codes.into(), scales, offsets };
    Ok(integers.weight().map_err(|error| stored.format_error(error))?.into())
}
