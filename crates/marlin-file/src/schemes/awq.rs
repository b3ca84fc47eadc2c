//! AWQ, version gemm: AutoAWQ and what writes its files.
//!
//! ```text
//!  X.qweight  i32 [inputs, outputs / 8]   packed along the outputs, interleaved
//!  X.qzeros   i32 [groups, outputs / 8]   the same
//!  X.scales   f16 [groups, outputs]
//! ```
//!
//! `value = scale * (code - zero)`. Told from GPTQ by its shapes.

use marlin_format::import::{Integers, Offsets, awq_to_rows};

use super::values::{FLOAT_NAMES, FLOATS, WORDS, floats, transpose, unpack};
use super::{Ordered, Scheme, Stored, describe};
use crate::{Error, TensorView};

const CODES: &str = ".qweight";
const ZEROS: &str = ".qzeros";
const SCALES: &str = ".scales";

/// The row of the table.
pub(super) const AWQ: Scheme = Scheme {
    suffixes: &[CODES, ZEROS, SCALES],
    shows,
    shape: |stored| Sizes::of(stored).map(|sizes| (sizes.rows, sizes.cols)),
    read,
};

fn shows(stored: &Stored<'_>) -> bool {
    match stored.quantization.text("quant_method").as_deref() {
        Some(method) => method == "awq",
        None => match (stored.part(CODES), stored.part(SCALES)) {
            (Some(codes), Some(scales)) => match (&codes.shape[..], &scales.shape[..]) {
                ([_, words], [_, rows]) => words.checked_mul(8) == Some(*rows),
                _ => false,
            },
            _ => false,
        },
    }
}

/// What the shapes say.
struct Sizes<'a> {
    qweight: &'a TensorView,
    qzeros: &'a TensorView,
    scales: &'a TensorView,
    rows: usize,
    cols: usize,
    groups: usize,
}

impl<'a> Sizes<'a> {
    fn of(stored: &Stored<'a>) -> Result<Sizes<'a>, Error> {
        if let Some(version) = stored.quantization.text("version").filter(|version| version != "gemm") {
            return Err(stored.error(CODES, format!("version {version}"), "version gemm"));
        }
        let (qweight, [cols, words]) = stored.typed(CODES, &WORDS, "I32 [inputs, outputs / 8]")?;
        let rows = words * 8;
        let expected = format!("{FLOAT_NAMES} [groups, {rows}]");
        let (scales, [groups, width]) = stored.typed(SCALES, &FLOATS, &expected)?;
        if width != rows {
            return Err(stored.error(SCALES, describe(scales), expected));
        }
        if !cols.is_multiple_of(groups) {
            let expected = format!("a number of groups that divides {cols} inputs");
            return Err(stored.error(SCALES, describe(scales), expected));
        }
        let expected = format!("I32 [{groups}, {words}]");
        let (qzeros, shape) = stored.typed(ZEROS, &WORDS, &expected)?;
        if shape != [groups, words] {
            return Err(stored.error(ZEROS, describe(qzeros), expected));
        }
        Ok(Sizes { qweight, qzeros, scales, rows, cols, groups })
    }
}

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let Sizes { qweight, qzeros, scales, rows, cols, groups } = Sizes::of(stored)?;
    let integers = Integers {
        rows,
        cols,
        bits: 4,
        group: cols / groups,
        codes: awq_to_rows(&qweight.data, cols, rows).into(),
        scales: transpose(&floats(scales), groups, rows),
        // Zero points lie as the codes of as many inputs as there are groups do.
        offsets: Offsets::Zeros(unpack(4, &awq_to_rows(&qzeros.data, groups, rows), groups)),
    };
    Ok(integers.weight().map_err(|error| stored.format_error(error))?.into())
}
