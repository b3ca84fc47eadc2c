//! GGUF's NVFP4: blocks of 64 with four scales, and a factor of the tensor in a tensor of its own.
//!
//! ```text
//!  X.weight       NVFP4 [.., rows, cols]
//!  X.scale        f32 [1], a factor; 1 without it
//!  X.input_scale  of activations, not read
//! ```

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
    let (rows, cols) = shape(stored)?;
    let tensor_scale = match stored.part(SCALE) {
        None => 1.0,
        Some(factor) => match (factor.dtype, factor.data.as_chunks::<4>().0) {
            (Dtype::F32, [bytes]) => f32::from_le_bytes(*bytes),
            _ => return Err(stored.error(SCALE, describe(factor), "F32 [1]")),
        },
    };
    if !(tensor_scale.is_finite() && tensor_scale > 0.0) {
        return Err(stored.error(SCALE, tensor_scale.to_string(), "a finite factor above 0"));
    }
    let (codes, scales) = nvfp4_to_rows(&stored.need(BLOCKS)?.data);
    if scales.contains(&E4M3_NAN) {
        return Err(stored.error(BLOCKS, "a scale of 0xff", "scales up to 448"));
    }
    let parts = Parts { scales: scales.into(), tensor_scale, ..Parts::codes_only(codes.into()) };
    let weight = by_name("fp4").and_then(|format| Weight::new(format, rows, cols, parts));
    Ok(weight.map_err(|error| stored.format_error(error))?.into())
}
