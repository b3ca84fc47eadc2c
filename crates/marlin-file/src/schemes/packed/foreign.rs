//! Packed weights of other writers of compressed-tensors: what they are is found by their shapes.
//!
//! ```text
//!  weight_packed      u8 [rows, cols / 2]     E2M1, low nibble first; scales E4M3 (and a divisor) or E8M0
//!                     i32 [rows, words]       integers with half their range added, LSB first
//!  weight_scale       [rows, groups], [rows, 1] or [1]
//!  weight_zero_point  i32 [ceil(rows * bits / 32), groups], packed down the rows, or i8 [rows, groups]
//!  weight_g_idx       i32 [cols]: the group of each column
//! ```
//!
//! Versions before 0.13 fill a word with as many whole codes as fit (ten of 3 bits), later ones let codes
//! straddle words: the number of words tells.

use bytes::Bytes;
use marlin_format::import::{Integers, Offsets, reorder, row_bytes, squeeze};
use marlin_format::{Code, FORMATS, Format, Layout, Parts, ScaleType, Weight};

use super::{GLOBAL_SCALE, GROUP_INDEX, PACKED, SCALE, ZERO_POINT, multiplier};
use crate::schemes::order::by_group;
use crate::schemes::values::{FLOAT_NAMES, FLOATS, WORDS, bytes, floats, integers};
use crate::schemes::{Ordered, Stored, describe};
use crate::stored::unpack_zeros;
use crate::{Dtype, Error, TensorView};

/// Widths of integer codes, the likeliest first: a row of very few columns fits several.
const BITS: [usize; 8] = [4, 8, 3, 2, 6, 5, 7, 1];

/// Reads the weight, `[rows, cols]`.
pub(super) fn read(stored: &Stored<'_>, rows: usize, cols: usize) -> Result<Ordered, Error> {
    let packed = stored.need(PACKED)?;
    match packed.dtype {
        Dtype::U8 => float4(stored, packed, (rows, cols)).map(Ordered::from),
        Dtype::I32 => integer(stored, packed, (rows, cols)),
        _ => Err(stored.error(PACKED, describe(packed), "U8 for 4-bit floats or I32 for integers")),
    }
}

/// E2M1 codes: NVFP4 or MXFP4.
fn float4(stored: &Stored<'_>, packed: &TensorView, (rows, cols): (usize, usize)) -> Result<Weight, Error> {
    let scale = stored.need(SCALE)?;
    let global = stored.part(GLOBAL_SCALE);
    let scale_type = match scale.dtype {
        Dtype::F8E4m3 => ScaleType::E4m3,
        Dtype::U8 | Dtype::F8E8m0 => ScaleType::E8m0,
        Dtype::F16 => ScaleType::F16,
        _ => return Err(stored.error(SCALE, describe(scale), "F8_E4M3, E8M0 as U8, or F16")),
    };
    let groups = match scale.shape[..] {
        [found, groups] if found == rows && groups > 0 => groups,
        _ => return Err(stored.error(SCALE, describe(scale), format!("[{rows}, groups]"))),
    };
    let fits = |format: &&&dyn Format| match format.layout() {
        Layout::Grouped { code: Code::E2m1, group, scale, tensor_scale, sparse: false, .. } => {
            (scale, tensor_scale) == (scale_type, global.is_some()) && cols.div_ceil(group) == groups
        }
        _ => false,
    };
    let wrap = |error| stored.format_error(error);
    let Some(format) = FORMATS.iter().find(fits) else {
        let global = if global.is_some() { "with" } else { "without" };
        let found = format!("{} over {cols} columns, {global} a global scale", describe(scale));
        return Err(stored.error(SCALE, found, "E4M3 a 16 columns with one, or E8M0 a 32 without"));
    };
    let tensor_scale = global.map_or(Ok(1.0), |tensor| multiplier(stored, tensor))?;
    let scales = scale.data.clone();
    let parts = Parts { scales, tensor_scale, ..Parts::codes_only(packed.data.clone()) };
    Weight::new(*format, rows, cols, parts).map_err(wrap)
}

fn integer(stored: &Stored<'_>, packed: &TensorView, shape: (usize, usize)) -> Result<Ordered, Error> {
    let (rows, cols) = shape;
    let (bits, mut codes) = codes(stored, packed, shape)?;
    let scale = stored.need(SCALE)?;
    let (groups, scales) = scales(stored, scale, rows)?;
    let index = match stored.part(GROUP_INDEX) {
        // Before a model is calibrated every entry is -1.
        Some(tensor) if tensor.dtype == Dtype::I32 && tensor.shape == [cols] => {
            Some(integers(tensor)).filter(|index| index.iter().any(|g| *g != -1))
        }
        Some(tensor) => return Err(stored.error(GROUP_INDEX, describe(tensor), format!("I32 [{cols}]"))),
        None => None,
    };
    let named = stored
        .quantization
        .of_groups("group_size")
        .find(|group| *group > 0 && cols.div_ceil(*group) == groups);
    let even = cols.is_multiple_of(groups).then_some(cols / groups);
    let group = named.or(even).ok_or_else(|| {
        stored.error(SCALE, describe(scale), format!("a number of groups that divides {cols} columns"))
    })?;
    let order = match index {
        Some(index) => by_group(stored, GROUP_INDEX, &index, (group, groups))?,
        None => None,
    };
    if let Some(order) = &order {
        codes = reorder(bits, &codes, order).into();
    }
    let offsets = zeros(stored, bits, rows, groups)?;
    let integers = Integers { rows, cols, bits, group, codes, scales, offsets };
    let weight = integers.weight().map_err(|error| stored.format_error(error))?;
    Ok(Ordered { weight, order })
}

/// Width and codes, LSB first without gaps.
fn codes(
    stored: &Stored<'_>,
    packed: &TensorView,
    (rows, cols): (usize, usize),
) -> Result<(usize, Bytes), Error> {
    let words = packed.data.len() / rows / 4;
    let named = stored.quantization.of_groups("num_bits").filter(|bits| BITS.contains(bits));
    for bits in named.chain(BITS) {
        if words * 4 == row_bytes(bits, cols) {
            return Ok((bits, packed.data.clone()));
        }
        if words == cols.div_ceil(32 / bits) {
            return Ok((bits, squeeze(bits, &packed.data, cols).into()));
        }
    }
    Err(stored.error(PACKED, describe(packed), format!("1 to 8 bits for each of {cols} columns")))
}

/// Groups of a row, and scales `[rows, groups]`.
fn scales(stored: &Stored<'_>, scale: &TensorView, rows: usize) -> Result<(usize, Vec<f32>), Error> {
    if !FLOATS.contains(&scale.dtype) {
        return Err(stored.error(SCALE, describe(scale), FLOAT_NAMES));
    }
    let values = floats(scale);
    match scale.shape[..] {
        [found, groups] if found == rows && groups > 0 => Ok((groups, values)),
        [] | [1] | [1, 1] => Ok((1, values.repeat(rows))),
        _ => Err(stored.error(SCALE, describe(scale), format!("[{rows}, groups]"))),
    }
}

fn zeros(stored: &Stored<'_>, bits: usize, rows: usize, groups: usize) -> Result<Offsets, Error> {
    let middle = 1i16 << (bits - 1);
    let Some(zero) = stored.part(ZERO_POINT) else { return Ok(Offsets::Zero(middle)) };
    let (dense, padded) = ((rows * bits).div_ceil(32), rows.div_ceil(32 / bits));
    Ok(Offsets::Zeros(match (zero.dtype, &zero.shape[..]) {
        (Dtype::I8, [found, width]) if (*found, *width) == (rows, groups) => {
            bytes(zero).map(|zero| i16::from(zero) + middle).collect()
        }
        (dtype, [words, width]) if WORDS.contains(&dtype) && *width == groups && *words == dense => {
            unpack_zeros(&zero.data, rows, groups, bits).into_iter().map(i16::from).collect()
        }
        (dtype, [words, width]) if WORDS.contains(&dtype) && *width == groups && *words == padded => {
            let (words, _) = zero.data.as_chunks::<4>();
            let per = 32 / bits;
            let code = |row: usize, group: usize| {
                let word = u32::from_le_bytes(words[row / per * groups + group]);
                (word >> (row % per * bits)) as i16 & ((1 << bits) - 1)
            };
            (0..rows).flat_map(|row| (0..groups).map(move |group| code(row, group))).collect()
        }
        _ => {
            let expected = format!("I32 [{dense}, {groups}] or I8 [{rows}, {groups}]");
            return Err(stored.error(ZERO_POINT, describe(zero), expected));
        }
    }))
}
