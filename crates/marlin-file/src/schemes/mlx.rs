//! MLX: affine groups, and the microscaling modes.
//!
//! ```text
//!  X.weight  u32 [.., rows, cols * bits / 32]    LSB first: element 0 in the lowest bits of word 0
//!  X.scales  [.., rows, cols / group]            floats; u8 in the modes mxfp4 (E8M0) and nvfp4 (E4M3)
//!  X.biases  [.., rows, cols / group]            affine only: value = scale * code + bias
//! ```
//!
//! Bits and group of affine weights stand in config.json, under `quantization`, for all modules or for
//! one; a mode shows by its scales. Stacks of experts or heads have one dimension more. mxfp8 (E4M3 times
//! E8M0) becomes bf16, which holds its values.

use marlin_format::import::{Integers, Offsets};
use marlin_format::scalar::{e4m3_to_f32, e8m0_to_half};
use marlin_format::{Parts, Weight, by_name};

use super::values::{FLOAT_NAMES, FLOATS, dense, floats};
use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error, TensorView};

const CODES: &str = ".weight";
const SCALES: &str = ".scales";
const BIASES: &str = ".biases";

/// The row of the table.
pub(super) const MLX: Scheme = Scheme {
    suffixes: &[CODES, SCALES, BIASES],
    shows: |stored| {
        let dtype = |suffix| stored.part(suffix).map(|tensor| tensor.dtype);
        let mode = dtype(SCALES) == Some(Dtype::U8);
        dtype(CODES) == Some(Dtype::U32) && (mode || stored.part(BIASES).is_some())
    },
    shape: |stored| Sizes::of(stored).map(|sizes| (sizes.rows, sizes.cols)),
    read,
};

/// The power of two that is none.
const E8M0_NAN: u8 = 0xff;

/// Widths of affine codes.
const BITS: [usize; 6] = [2, 3, 4, 5, 6, 8];
/// What MLX quantizes to unless told otherwise.
const DEFAULT: (usize, usize) = (4, 64);

/// What the shapes and the configuration say.
struct Sizes<'a> {
    codes: &'a TensorView,
    scales: &'a TensorView,
    bits: usize,
    group: usize,
    rows: usize,
    cols: usize,
}

impl<'a> Sizes<'a> {
    fn of(stored: &Stored<'a>) -> Result<Sizes<'a>, Error> {
        let (codes, rows, words) = rows_of(stored, CODES, &[Dtype::U32], "U32 [rows, words]")?;
        let mode = stored.part(BIASES).is_none();
        let (dtypes, names): (&[Dtype], &str) =
            if mode { (&[Dtype::U8], "U8") } else { (&FLOATS, FLOAT_NAMES) };
        let expected = format!("{names} [{rows}, groups]");
        let (scales, scale_rows, groups) = rows_of(stored, SCALES, dtypes, &expected)?;
        if scale_rows != rows {
            return Err(stored.error(SCALES, describe(scales), expected));
        }
        let (bits, group) = if mode {
            // Bits a group: 4 of 16, 4 of 32, 8 of 32.
            match words.checked_mul(32).filter(|all| all.is_multiple_of(groups)).map(|all| all / groups) {
                Some(64) => (4, 16),
                Some(128) => (4, 32),
                Some(256) => (8, 32),
                _ => {
                    let expected = "a scale for 16 or 32 codes of 4 bits (nvfp4, mxfp4) or 32 of 8 (mxfp8)";
                    return Err(stored.error(SCALES, describe(scales), expected));
                }
            }
        } else {
            let count = |key| stored.quantization.count(stored.name, &[key]);
            (count("bits").unwrap_or(DEFAULT.0), count("group_size").unwrap_or(DEFAULT.1))
        };
        let cols = words.saturating_mul(32) / bits.max(1);
        if !BITS.contains(&bits) || words * 32 != cols * bits || groups.checked_mul(group) != Some(cols) {
            let expected = format!("{bits} bits in groups of {group}, as the configuration says");
            let found = format!("{} beside {}", describe(codes), describe(scales));
            return Err(stored.error(CODES, found, expected));
        }
        Ok(Sizes { codes, scales, bits, group, rows, cols })
    }
}

/// A tensor with its rows, all dimensions but the last taken together, and its columns.
fn rows_of<'a>(
    stored: &Stored<'a>,
    suffix: &str,
    dtypes: &[Dtype],
    expected: &str,
) -> Result<(&'a TensorView, usize, usize), Error> {
    let tensor = stored.need(suffix)?;
    match tensor.shape[..] {
        [ref rows @ .., cols] if (1..=2).contains(&rows.len()) => {
            let rows = rows.iter().product();
            if dtypes.contains(&tensor.dtype) && rows > 0 && cols > 0 {
                return Ok((tensor, rows, cols));
            }
        }
        _ => {}
    }
    Err(stored.error(suffix, describe(tensor), expected))
}

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let Sizes { codes, scales, bits, group, rows, cols } = Sizes::of(stored)?;
    let wrap = |error| stored.format_error(error);
    let Some(biases) = stored.part(BIASES) else {
        if bits == 8 {
            if let Some(at) = scales.data.iter().position(|scale| *scale == E8M0_NAN) {
                let (row, group) = (at * group / cols, at * group % cols / group);
                let found = format!("row {row}, group {group}: scale NaN");
                return Err(stored.error(SCALES, found, "powers of two"));
            }
            return Ok(mxfp8(codes, scales, (rows, cols)).map_err(wrap)?.into());
        }
        let format = by_name(if group == 16 { "fp4" } else { "mxfp4" }).map_err(wrap)?;
        let parts = Parts { scales: scales.data.clone(), ..Parts::codes_only(codes.data.clone()) };
        return Ok(Weight::new(format, rows, cols, parts).map_err(wrap)?.into());
    };
    if biases.shape != scales.shape || !FLOATS.contains(&biases.dtype) {
        return Err(stored.error(BIASES, describe(biases), format!("{FLOAT_NAMES} {:?}", scales.shape)));
    }
    let (codes, scales, offsets) = (codes.data.clone(), floats(scales), Offsets::Values(floats(biases)));
    Ok(Integers { rows, cols, bits, group, codes, scales, offsets }.weight().map_err(wrap)?.into())
}

/// Bytes of E4M3, a power of two for 32 of them.
fn mxfp8(
    codes: &TensorView,
    scales: &TensorView,
    (rows, cols): (usize, usize),
) -> Result<Weight, marlin_format::Error> {
    let mut values = Vec::with_capacity(rows * cols);
    for (codes, &scale) in codes.data.chunks(32).zip(scales.data.iter()) {
        // A scale is read halved: the whole of the largest would not fit.
        values.extend(codes.iter().map(|code| 2.0 * (e4m3_to_f32(*code) * e8m0_to_half(scale))));
    }
    dense(rows, cols, &values)
}
