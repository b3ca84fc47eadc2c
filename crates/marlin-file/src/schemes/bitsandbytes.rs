//! bitsandbytes' 4-bit weights, NF4 and FP4: indices into a table that the file holds.
//!
//! ```text
//!  X.weight                      u8 [rows * cols / 2, 1]   high nibble = even element, rows back to back
//!  X.weight.absmax               f32, one a block; or u8, and then
//!  X.weight.nested_absmax        f32, one for 256 of absmax
//!  X.weight.nested_quant_map     f32 [256]
//!  X.weight.quant_map            f32 [16]
//!  X.weight.quant_state.bitsandbytes__nf4   u8: JSON with shape, blocksize, nested_blocksize, nested_offset
//! ```
//!
//! `value = quant_map[q] * absmax[block]`, with `absmax = nested_quant_map[u8] * nested_absmax + offset`
//! where it is nested (bitsandbytes, `functional.py`). A row that is no whole number of groups of ours
//! becomes f32.

use marlin_format::{Code, FORMATS, Format, Layout, Parts, ScaleType, Weight};
use serde_json::Value;

use super::values::floats;
use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error, TensorView};

const CODES: &str = ".weight";
const ABSMAX: &str = ".weight.absmax";
const MAP: &str = ".weight.quant_map";
const NESTED_ABSMAX: &str = ".weight.nested_absmax";
const NESTED_MAP: &str = ".weight.nested_quant_map";
const NF4_STATE: &str = ".weight.quant_state.bitsandbytes__nf4";
const FP4_STATE: &str = ".weight.quant_state.bitsandbytes__fp4";

/// The row of the table.
pub(super) const BITSANDBYTES: Scheme = Scheme {
    suffixes: &[CODES, ABSMAX, MAP, NESTED_ABSMAX, NESTED_MAP, NF4_STATE, FP4_STATE],
    shows: |stored| stored.part(MAP).is_some() && stored.part(ABSMAX).is_some(),
    shape: |stored| State::read(stored).map(|state| (state.rows, state.cols)),
    read,
};

/// The JSON beside a weight.
struct State {
    suffix: &'static str,
    values: Value,
    rows: usize,
    cols: usize,
}

impl State {
    fn read(stored: &Stored<'_>) -> Result<State, Error> {
        let suffix = if stored.part(FP4_STATE).is_some() { FP4_STATE } else { NF4_STATE };
        let tensor = stored.need(suffix)?;
        let values: Value = serde_json::from_slice(&tensor.data)
            .map_err(|error| stored.error(suffix, error.to_string(), "JSON"))?;
        let shape: Option<Vec<usize>> = values
            .get("shape")
            .and_then(|shape| shape.as_array()?.iter().map(|size| size.as_u64()?.try_into().ok()).collect());
        match shape.as_deref() {
            Some(&[rows, cols]) if rows > 0 && cols > 0 => {
                let codes = stored.need(CODES)?;
                let bytes = rows.checked_mul(cols).map(|all| all.div_ceil(2));
                if codes.dtype != Dtype::U8 || bytes != Some(codes.data.len()) {
                    let expected = format!("U8 with two codes a byte for [{rows}, {cols}]");
                    return Err(stored.error(CODES, describe(codes), expected));
                }
                Ok(State { suffix, values, rows, cols })
            }
            _ => {
                let found = values.get("shape").map_or("no shape".to_owned(), Value::to_string);
                Err(stored.error(suffix, found, "a shape of two sizes"))
            }
        }
    }

    /// A block size, a power of two from 32.
    fn block(&self, stored: &Stored<'_>, key: &'static str) -> Result<usize, Error> {
        let value = self.values.get(key);
        let size = value.and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        size.filter(|size| size.is_power_of_two() && *size >= 32).ok_or_else(|| {
            let found = value.map_or("nothing".to_owned(), Value::to_string);
            stored.error(self.suffix, format!("{key} {found}"), "a power of two from 32")
        })
    }
}

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let state = State::read(stored)?;
    let State { rows, cols, .. } = state;
    let block = state.block(stored, "blocksize")?;
    let codebook = table(stored, MAP, 16)?;
    let absmax = absmax(stored, &state, (rows * cols).div_ceil(block))?;
    let codes = stored.need(CODES)?;
    let wrap = |error| stored.format_error(error);
    let divides = |format: &&&dyn Format| match format.layout() {
        Layout::Grouped { code: Code::Lookup4, scale: ScaleType::F32, group, sparse: false, .. } => {
            cols.is_multiple_of(group) && block.is_multiple_of(group)
        }
        _ => false,
    };
    let Some(format) = FORMATS.iter().filter(divides).max_by_key(|format| format.layout().group()) else {
        // A block may cross rows.
        let value = |at: usize| {
            let code = codes.data[at / 2] >> (4 * (1 - at % 2)) & 15;
            codebook[usize::from(code)] * absmax[at / block]
        };
        let values: Vec<f32> = (0..rows * cols).map(value).collect();
        return Ok(Weight::from_f32(rows, cols, &values).map_err(wrap)?.into());
    };
    let group = format.layout().group();
    let scales = (0..rows * cols / group).map(|at| absmax[at * group / block]);
    let parts = Parts {
        scales: scales.flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into(),
        codebook: codebook.into(),
        ..Parts::codes_only(codes.data.iter().map(|byte| byte.rotate_left(4)).collect::<Vec<u8>>().into())
    };
    Ok(Weight::new(*format, rows, cols, parts).map_err(wrap)?.into())
}

/// A table of `len` finite values.
fn table(stored: &Stored<'_>, suffix: &str, len: usize) -> Result<Vec<f32>, Error> {
    let (tensor, [found]) = stored.typed(suffix, &[Dtype::F32], &format!("F32 [{len}]"))?;
    let values = floats(tensor);
    if found != len {
        return Err(stored.error(suffix, describe(tensor), format!("F32 [{len}]")));
    }
    stored.finite(suffix, values)
}

/// The scale of each of `count` blocks.
fn absmax(stored: &Stored<'_>, state: &State, count: usize) -> Result<Vec<f32>, Error> {
    let tensor = stored.need(ABSMAX)?;
    let sized = |tensor: &TensorView, dtype, len| tensor.dtype == dtype && tensor.shape == [len];
    let values = if sized(tensor, Dtype::F32, count) {
        floats(tensor)
    } else if sized(tensor, Dtype::U8, count) {
        let block = state.block(stored, "nested_blocksize")?;
        let offset = state
            .values
            .get("nested_offset")
            .and_then(Value::as_f64)
            .ok_or_else(|| stored.error(state.suffix, "no nested_offset", "a number"))?
            as f32;
        let map = table(stored, NESTED_MAP, 256)?;
        let nested = table(stored, NESTED_ABSMAX, count.div_ceil(block))?;
        let codes = tensor.data.iter().enumerate();
        codes.map(|(at, code)| map[usize::from(*code)] * nested[at / block] + offset).collect()
    } else {
        return Err(stored.error(ABSMAX, describe(tensor), format!("F32 or U8 [{count}]")));
    };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => Err(stored.error(ABSMAX, format!("{} of block {at}", values[at]), "finite scales")),
    }
}
