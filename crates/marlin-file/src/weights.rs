//! Tensors to weights: finds the tensors of a matrix, checks each against its format, and hands out
//! a [`Weight`] over the mapped bytes.

use std::collections::HashMap;

use bytes::Bytes;
use marlin_format::{Flaw, Layout, Parts, Weight, by_name};

use crate::quantization::Quantization;
use crate::schemes::{Ordered, SCHEMES, Stored, nvfp4_gguf};
use crate::{Error, TensorView, Tensors};

/// What follows the name of a dense weight.
const DENSE: &str = ".weight";
/// What a [`Flaw`] calls a scale; one of positions or zero points is none of a reader's.
const SCALE_FIELD: &str = "scale";

/// The tensors of a checkpoint with what is known of them besides.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub tensors: &'a Tensors,
    pub quantization: &'a Quantization,
    /// Weight name to format name, of our own files.
    pub formats: &'a HashMap<String, String>,
}

impl<'a> Source<'a> {
    fn stored(self, name: &'a str) -> Stored<'a> {
        let Source { tensors, quantization, formats } = self;
        Stored { tensors, name, quantization, formats }
    }

    /// See [`crate::Checkpoint::weight_names`] and [`crate::Checkpoint::stack_names`].
    pub fn names(self, stacks: bool) -> Vec<&'a str> {
        let listed = |tensor: &&TensorView| match tensor.shape.len() {
            1 | 2 => !stacks,
            3 | 4 => stacks,
            _ => false,
        };
        self.tensors.iter().filter(listed).filter_map(|tensor| self.name_of(tensor)).collect()
    }

    /// The name of the weight that `tensor` stands for in the list; `None` for a part of another.
    fn name_of(self, tensor: &'a TensorView) -> Option<&'a str> {
        let name = tensor.name.as_str();
        for scheme in SCHEMES {
            let split = |suffix: &&str| Some((name.strip_suffix(suffix)?, suffix == &scheme.suffixes[0]));
            let Some((base, first)) = scheme.suffixes.iter().find_map(split) else { continue };
            if self.stored(base).scheme().is_some_and(|found| std::ptr::eq(found, scheme)) {
                return first.then_some(base);
            }
        }
        let plain = tensor.shape.len() <= 3;
        let base = name.strip_suffix(DENSE).filter(|base| !base.is_empty());
        plain.then_some(base.unwrap_or(name))
    }

    /// See [`crate::Checkpoint::weight`].
    pub fn weight(self, name: &'a str) -> Result<Ordered, Error> {
        let stored = self.stored(name);
        if let Some(scheme) = stored.scheme() {
            return (scheme.read)(&stored);
        }
        let tensor = by_either_name(self.tensors, name)?;
        let (rows, cols) = plain_shape(self.tensors, tensor)?;
        Ok(whole(self.tensors, tensor, rows, cols, tensor.data.clone())?.into())
    }

    /// See [`crate::Checkpoint::weight_part`].
    pub fn part(self, name: &'a str, index: usize, count: usize) -> Result<Ordered, Error> {
        let stored = self.stored(name);
        if let Some(weight) = nvfp4_gguf::part(&stored, index, count)? {
            return Ok(weight.into());
        }
        let Ordered { weight, order } = self.weight(name)?;
        let rows = stored.part_rows((weight.rows(), weight.cols()), index, count)?;
        Ok(Ordered { weight: weight.slice_rows(rows), order })
    }

    /// See [`crate::Checkpoint::weight_shape`].
    pub fn shape(self, name: &'a str) -> Result<(usize, usize), Error> {
        let stored = self.stored(name);
        match stored.scheme() {
            Some(scheme) => (scheme.shape)(&stored),
            None => plain_shape(self.tensors, by_either_name(self.tensors, name)?),
        }
    }

    /// The suffixes of the tensors that the weight `name` is stored in.
    pub fn suffixes(self, name: &'a str) -> &'static [&'static str] {
        self.stored(name).scheme().map_or(&["", DENSE], |scheme| scheme.suffixes)
    }
}

fn plain_shape(tensors: &Tensors, tensor: &TensorView) -> Result<(usize, usize), Error> {
    match tensor.shape[..] {
        [cols] if cols > 0 => Ok((1, cols)),
        [rows, cols] if rows > 0 && cols > 0 => Ok((rows, cols)),
        [count, rows, cols] if count > 0 && rows > 0 && cols > 0 => Ok((count * rows, cols)),
        _ => Err(shape_error(tensors, tensor, "one to three dimensions, none of them 0")),
    }
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
    let weight = whole(tensors, tensor, rows, cols, tensor.data.slice(expert * len..(expert + 1) * len))?;
    check_scales(tensors, name, &weight)?;
    Ok(weight)
}

/// Fails if a scale of one byte (E4M3 of NVFP4, E8M0 of MXFP4) of `weight`, read from tensor `name`, is NaN
/// or too large: such bytes decode to some number, so nothing later would tell. Reads the scales, and the
/// positions of a sparse weight.
///
/// # Errors
/// [`Error::Format`] names the first.
pub(crate) fn check_scales(tensors: &Tensors, name: &str, weight: &Weight) -> Result<(), Error> {
    let format = weight.format();
    if !format.has_byte_scales() {
        return Ok(());
    }
    for row in 0..weight.rows() {
        let flaw = format.first_flaw(weight.row(row)).filter(|flaw| flaw.field == SCALE_FIELD);
        if let Some(Flaw { group, field, value: found }) = flaw {
            let error = marlin_format::Error::Group { format: format.name(), row, group, field, found };
            return Err(format_error(tensors, name)(error));
        }
    }
    Ok(())
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

/// `name.weight`, or else `name` itself.
fn by_either_name<'a>(tensors: &'a Tensors, name: &str) -> Result<&'a TensorView, Error> {
    let full = format!("{name}{DENSE}");
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
