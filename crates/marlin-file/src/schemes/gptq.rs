//! GPTQ: AutoGPTQ, GPTQModel, Intel's auto-round.
//!
//! ```text
//!  X.qweight  i32 [inputs * bits / 32, outputs]   packed down the columns
//!  X.qzeros   i32 [groups, outputs * bits / 32]   packed along the rows, one less in version 1
//!  X.scales   f16 [groups, outputs]
//!  X.g_idx    i32 [inputs]                        the group of each input; in order without it
//! ```
//!
//! `value = scale[g] * (code - zero[g])`. Version 1 (`checkpoint_format` absent or `gptq`) stores zero
//! points less one, and a stored 15 is 16 (llama.cpp, `dequant_gptq`); `gptq_v2` stores them as they are.
//! With activation order the inputs of a group are scattered: the columns are sorted by group.

use marlin_format::import::{Integers, Offsets, reorder, row_bytes, transpose_words};

use super::order::by_group;
use super::values::{FLOAT_NAMES, FLOATS, WORDS, floats, integers, transpose, unpack};
use super::{Ordered, Scheme, Stored, describe};
use crate::{Dtype, Error, TensorView};

const CODES: &str = ".qweight";
const ZEROS: &str = ".qzeros";
const SCALES: &str = ".scales";
const GROUP_INDEX: &str = ".g_idx";

/// The row of the table.
pub(super) const GPTQ: Scheme = Scheme {
    suffixes: &[CODES, ZEROS, SCALES, GROUP_INDEX],
    shows: |_| true,
    shape: |stored| Sizes::of(stored).map(|sizes| (sizes.rows, sizes.cols)),
    read,
};

/// Widths of codes, the likeliest first.
const BITS: [usize; 4] = [4, 8, 3, 2];

/// What the shapes say.
struct Sizes<'a> {
    qweight: &'a TensorView,
    qzeros: &'a TensorView,
    scales: &'a TensorView,
    index: Option<&'a TensorView>,
    bits: usize,
    rows: usize,
    cols: usize,
    groups: usize,
}

impl<'a> Sizes<'a> {
    fn of(stored: &Stored<'a>) -> Result<Sizes<'a>, Error> {
        let (qweight, [words, rows]) = stored.typed(CODES, &WORDS, "I32 [packed inputs, outputs]")?;
        let (scales, [groups, width]) =
            stored.typed(SCALES, &FLOATS, &format!("{FLOAT_NAMES} [groups, {rows}]"))?;
        if width != rows {
            return Err(stored.error(SCALES, describe(scales), format!("[groups, {rows}]")));
        }
        let (qzeros, [zero_groups, zero_words]) =
            stored.typed(ZEROS, &WORDS, &format!("I32 [{groups}, packed outputs]"))?;
        if zero_groups != groups {
            return Err(stored.error(ZEROS, describe(qzeros), format!("I32 [{groups}, packed outputs]")));
        }
        let index = match stored.part(GROUP_INDEX) {
            Some(_) => Some(stored.typed::<1>(GROUP_INDEX, &[Dtype::I32], "I32 [inputs]")?),
            None => None,
        };
        let cols_of = |bits: usize| match index {
            Some((_, [cols])) => (words * 32 == row_bytes(bits, cols) * 8).then_some(cols),
            None => (words * 32).is_multiple_of(bits).then_some(words * 32 / bits),
        };
        let known = stored.quantization.count(stored.name, &["bits"]);
        let mut widths = known.into_iter().filter(|bits| BITS.contains(bits)).chain(BITS);
        let found = widths.find_map(|bits| {
            let cols = cols_of(bits)?;
            (zero_words * 4 == row_bytes(bits, rows)).then_some((bits, cols))
        });
        let Some((bits, cols)) = found else {
            let found = format!("{} beside {}", describe(qweight), describe(qzeros));
            let inputs = index.map_or_else(String::new, |(_, [cols])| format!(" and {cols} inputs"));
            let expected = format!("2, 3, 4 or 8 bits for {rows} outputs{inputs}");
            return Err(stored.error(CODES, found, expected));
        };
        Ok(Sizes {
            qweight,
            qzeros,
            scales,
            index: index.map(|(tensor, _)| tensor),
            bits,
            rows,
            cols,
            groups,
        })
    }

    /// Columns of a group: as many as group 0 has, `group_size`, or what the number of groups says.
    fn group(&self, stored: &Stored<'_>, index: Option<&[i32]>) -> Result<usize, Error> {
        let Sizes { cols, groups, .. } = *self;
        let fits = |group: &usize| *group > 0 && cols.div_ceil(*group) == groups;
        let counted = index.map(|index| index.iter().filter(|group| **group == 0).count());
        let named = stored.quantization.count(stored.name, &["group_size"]);
        // Modules with settings of their own have another one.
        let even = cols.is_multiple_of(groups).then_some(cols / groups);
        counted.filter(fits).or(named.filter(fits)).or(even).ok_or_else(|| {
            let expected = match counted.or(named) {
                Some(group) if group > 0 => {
                    format!("{} groups of {group} over {cols} inputs", cols.div_ceil(group))
                }
                _ => format!("a number of groups that divides {cols} inputs"),
            };
            stored.error(SCALES, describe(self.scales), expected)
        })
    }
}

fn read(stored: &Stored<'_>) -> Result<Ordered, Error> {
    let less = stored_less(stored)?;
    let sizes = Sizes::of(stored)?;
    let Sizes { bits, rows, cols, groups, .. } = sizes;
    let index = sizes.index.map(integers);
    let group = sizes.group(stored, index.as_deref())?;
    let order = match index {
        Some(index) => by_group(stored, GROUP_INDEX, &index, (group, groups))?,
        None => None,
    };

    let words = sizes.qweight.shape[0];
    let mut codes = transpose_words(&sizes.qweight.data, words, rows);
    if let Some(order) = &order {
        codes = reorder(bits, &codes, order);
    }
    let zeros: Vec<i16> =
        unpack(bits, &sizes.qzeros.data, rows).into_iter().map(|zero| zero + less).collect();
    let integers = Integers {
        rows,
        cols,
        bits,
        group,
        codes: codes.into(),
        scales: transpose(&floats(sizes.scales), groups, rows),
        offsets: Offsets::Zeros(transpose(&zeros, groups, rows)),
    };
    let weight = integers.weight().map_err(|error| stored.format_error(error))?;
    Ok(Ordered { weight, order })
}

/// What is taken from zero points when they are stored.
fn stored_less(stored: &Stored<'_>) -> Result<i16, Error> {
    match stored.quantization.text("checkpoint_format").as_deref() {
        None | Some("gptq") => Ok(1),
        Some("gptq_v2") => Ok(0),
        Some(other) => Err(stored.error(CODES, format!("checkpoint_format {other}"), "gptq or gptq_v2")),
    }
}
