//! Tensors to weights: finds the tensors of a matrix, checks each against its format, and hands out
//! a [`Weight`] over the mapped bytes.

mod foreign;

use std::collections::HashMap;

use bytes::Bytes;
use marlin_format::{Format, Layout, Parts, Weight, by_name};

use crate::stored::{self, Part};
use crate::{Dtype, Error, TensorView, Tensors};

/// See [`crate::Checkpoint::weight_names`].
pub(crate) fn names(tensors: &Tensors) -> Vec<&str> {
    let packed = |base: &str| tensors.find(&join(base, stored::PACKED)).is_some();
    let len_of_name = |tensor: &TensorView| -> Option<usize> {
        let matrix = (1..=2).contains(&tensor.shape.len());
        let name = tensor.name.as_str();
        let (base, suffix) = name.rsplit_once('.').unwrap_or(("", name));
        match suffix {
            stored::PACKED => Some(base.len()),
            stored::DENSE if matrix && !base.is_empty() => Some(base.len()),
            stored::SCALE | stored::ZERO_POINT | stored::CODEBOOK | stored::GLOBAL_SCALE | stored::SHAPE
                if packed(base) =>
            {
                None
            }
            _ => matrix.then_some(name.len()),
        }
    };
    tensors.iter().filter_map(|tensor| len_of_name(tensor).map(|len| &tensor.name[..len])).collect()
}

/// See [`crate::Checkpoint::weight`].
pub(crate) fn weight(
    tensors: &Tensors,
    formats: &HashMap<String, String>,
    name: &str,
) -> Result<Weight, Error> {
    if let Some(packed) = tensors.find(&join(name, stored::PACKED)) {
        let found = Found { tensors, name, packed };
        return found.weight(formats.get(name).map(String::as_str));
    }
    let tensor = by_either_name(tensors, name)?;
    let (rows, cols) = match tensor.shape[..] {
        [cols] if cols > 0 => (1, cols),
        [rows, cols] if rows > 0 && cols > 0 => (rows, cols),
        _ => return Err(shape_error(tensors, tensor, "one or two dimensions, none of them 0")),
    };
    whole(tensors, tensor, rows, cols, tensor.data.clone())
}

/// See [`crate::Checkpoint::expert_weight`].
pub(crate) fn expert_weight(tensors: &Tensors, name: &str, expert: usize) -> Result<Weight, Error> {
    let tensor = by_either_name(tensors, name)?;
    let [experts, rows, cols] = tensor.shape[..] else {
        return Err(shape_error(tensors, tensor, "three dimensions"));
    };
    if rows == 0 || cols == 0 {
        return Err(shape_error(tensors, tensor, "no dimension of 0"));
    }
    if expert >= experts {
        let (file, tensor) = (tensors.source().to_owned(), tensor.name.clone());
        return Err(Error::NoExpert { file, tensor, expert, experts });
    }
    let len = tensor.data.len() / experts;
    whole(tensors, tensor, rows, cols, tensor.data.slice(expert * len..(expert + 1) * len))
}

/// Looks through `weight`, read from tensor `name` of `file`, for what no encoder writes: scales and
/// zero points that cannot be used, and in dense weights NaN and infinity. Reads no codes.
///
/// # Errors
/// [`Error::Format`] or [`Error::NotFinite`] names the first.
pub fn check_finite(file: &str, name: &str, weight: &Weight) -> Result<(), Error> {
    let (file, tensor) = (|| file.to_owned(), || name.to_owned());
    let checked = weight.validate();
    checked.map_err(|source| Error::Format { file: file(), tensor: tensor(), source })?;
    if !matches!(weight.layout(), Layout::Dense { .. }) {
        return Ok(());
    }
    let mut values = vec![0.0; weight.cols()];
    for row in 0..weight.rows() {
        weight.decode_row(row, &mut values);
        if let Some(col) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { file: file(), tensor: tensor(), row, col, value: values[col] });
        }
    }
    Ok(())
}

fn join(base: &str, suffix: &str) -> String {
    format!("{base}.{suffix}")
}

/// `name.weight`, or else `name` itself.
fn by_either_name<'a>(tensors: &'a Tensors, name: &str) -> Result<&'a TensorView, Error> {
    let full = join(name, stored::DENSE);
    tensors.find(&full).or_else(|| tensors.find(name)).ok_or_else(|| tensors.missing(&full))
}

fn shape_error(tensors: &Tensors, tensor: &TensorView, expected: &'static str) -> Error {
    let (file, tensor, found) = (tensors.source().to_owned(), tensor.name.clone(), tensor.shape.clone());
    Error::Shape { file, tensor, found, expected }
}

fn weight_error(tensors: &Tensors, tensor: &str, found: String, expected: String) -> Error {
    Error::Weight { file: tensors.source().to_owned(), tensor: tensor.to_owned(), found, expected }
}

fn format_error(tensors: &Tensors, tensor: &str) -> impl Fn(marlin_format::Error) -> Error {
    move |source| Error::Format { file: tensors.source().to_owned(), tensor: tensor.to_owned(), source }
}

/// A matrix that is one tensor: dense, or blocks.
fn whole(
    tensors: &Tensors,
    tensor: &TensorView,
    rows: usize,
    cols: usize,
    data: Bytes,
) -> Result<Weight, Error> {
    let Some(format) = tensor.dtype.format() else {
        let expected = "BF16, F16, F32 or a block type".to_owned();
        return Err(weight_error(tensors, &tensor.name, tensor.dtype.to_string(), expected));
    };
    let error = format_error(tensors, &tensor.name);
    let format = by_name(format).map_err(&error)?;
    Weight::new(format, rows, cols, Parts::codes_only(data)).map_err(error)
}

/// A quantized weight whose `weight_packed` was found.
struct Found<'a> {
    tensors: &'a Tensors,
    name: &'a str,
    packed: &'a TensorView,
}

impl<'a> Found<'a> {
    fn part(&self, suffix: &str) -> Option<&'a TensorView> {
        self.tensors.find(&join(self.name, suffix))
    }

    /// A part that must be there.
    fn need(&self, suffix: &str) -> Result<&'a TensorView, Error> {
        self.tensors.get(&join(self.name, suffix))
    }

    fn error(&self, suffix: &str, found: String, expected: &str) -> Error {
        weight_error(self.tensors, &join(self.name, suffix), found, expected.to_owned())
    }

    /// Assembles the weight in the format `known`, or in the one its tensors show.
    fn weight(&self, known: Option<&str>) -> Result<Weight, Error> {
        if self.part(stored::GROUP_INDEX).is_some() {
            return Err(self.error(stored::GROUP_INDEX, "activation order".into(), "columns in order"));
        }
        let (rows, cols) = self.rows_and_cols()?;
        let (format, scales) = match known {
            Some(name) => (by_name(name).map_err(format_error(self.tensors, self.name))?, None),
            None => self.infer(rows, cols)?,
        };
        let parts = self.parts(format, rows, cols, scales)?;
        Weight::new(format, rows, cols, parts).map_err(format_error(self.tensors, self.name))
    }

    /// Rows from the codes; columns from `weight_shape`, or else two a byte. Both are small enough
    /// for the bytes there are.
    fn rows_and_cols(&self) -> Result<(usize, usize), Error> {
        let [rows, width] = self.packed.shape[..] else {
            return Err(shape_error(self.tensors, self.packed, "two dimensions"));
        };
        if rows == 0 || width == 0 {
            return Err(shape_error(self.tensors, self.packed, "no dimension of 0"));
        }
        let row_bytes = self.packed.data.len() / rows;
        let Some(shape) = self.part(stored::SHAPE) else {
            if self.packed.dtype != Dtype::U8 {
                return Err(self.tensors.missing(&join(self.name, stored::SHAPE)));
            }
            return Ok((rows, row_bytes * 2));
        };
        let numbers = match (shape.dtype, shape.data.len()) {
            (Dtype::I64, 16) => integers::<8>(&shape.data, i64::from_le_bytes),
            (Dtype::I32, 8) => integers::<4>(&shape.data, |bytes| i32::from_le_bytes(bytes).into()),
            _ => return Err(self.error(stored::SHAPE, describe(shape), "I64 [2]")),
        };
        // A code has at least one bit.
        let most = row_bytes * 8;
        let fits = |cols: &usize| (1..=most).contains(cols);
        match (usize::try_from(numbers[0]), usize::try_from(numbers[1]).ok().filter(fits)) {
            (Ok(found), Some(cols)) if found == rows => Ok((rows, cols)),
            _ => {
                let expected = format!("[{rows}, 1 to {most}] for {}", describe(self.packed));
                Err(self.error(stored::SHAPE, format!("{numbers:?}"), &expected))
            }
        }
    }

    /// Collects the parts that `format` needs, each of the dtype and shape it needs; `scales` stands
    /// in for `weight_scale` where another writer's scales had to be converted.
    fn parts(
        &self,
        format: &'static dyn Format,
        rows: usize,
        cols: usize,
        scales: Option<Bytes>,
    ) -> Result<Parts, Error> {
        let bad = || self.error(stored::PACKED, describe(self.packed), "a format with packed codes");
        let layout = format.layout();
        let mut parts = Parts::codes_only(Bytes::new());
        if matches!(layout, Layout::Dense { .. }) {
            return Err(bad());
        }
        for expected in stored::stored(format, rows, cols).ok_or_else(bad)? {
            if expected.part == Part::Shape || (expected.part == Part::Scales && scales.is_some()) {
                continue;
            }
            let tensor = self.need(expected.suffix)?;
            let scalar = expected.part == Part::TensorScale && tensor.data.len() == 4;
            if tensor.dtype != expected.dtype || (tensor.shape != expected.shape && !scalar) {
                let expected =
                    format!("{} {:?} for {} [{rows}, {cols}]", expected.dtype, expected.shape, format.name());
                return Err(weight_error(self.tensors, &tensor.name, describe(tensor), expected));
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
                Part::TensorScale => parts.tensor_scale = self.multiplier(tensor)?,
                Part::Shape => {}
            }
        }
        if let Some(scales) = scales {
            parts.scales = scales;
        }
        Ok(parts)
    }

    /// The tensor scale of memory: the reciprocal of the stored divisor.
    fn multiplier(&self, tensor: &TensorView) -> Result<f32, Error> {
        let (values, _) = tensor.data.as_chunks::<4>();
        let divisor = values.first().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        let multiplier = divisor.recip();
        if !(divisor.is_finite() && divisor > 0.0 && multiplier.is_finite()) {
            let expected = "a finite divisor above 0".to_owned();
            return Err(weight_error(self.tensors, &tensor.name, divisor.to_string(), expected));
        }
        Ok(multiplier)
    }
}

/// `F16 [64, 15]`.
fn describe(tensor: &TensorView) -> String {
    format!("{} {:?}", tensor.dtype, tensor.shape)
}

fn integers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> i64) -> Vec<i64> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}
