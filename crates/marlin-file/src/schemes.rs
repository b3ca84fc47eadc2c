//! How programs store a quantized weight in several tensors: one row of [`SCHEMES`] a way, one file each.
//!
//! | scheme | tensors of the weight X |
//! |---|---|
//! | compressed-tensors, and ours | `X.weight_packed`, `.weight_scale`, `.weight_zero_point`, ... |
//! | compressed-tensors, int-quantized | `X.weight` i8, `.weight_scale` |
//! | FP8, by tensor, row or block | `X.weight` F8, `.weight_scale` or `.weight_scale_inv` |
//! | GPTQ, AWQ | `X.qweight`, `.qzeros`, `.scales`, `.g_idx` |
//! | MLX | `X.weight` u32, `.scales`, `.biases` |
//! | ModelOpt NVFP4 | `X.weight` u8, `.weight_scale`, `.weight_scale_2` |
//! | gpt-oss MXFP4 | `X_blocks`, `X_scales` |
//! | bitsandbytes | `X.weight` u8, `.weight.absmax`, `.weight.quant_map`, ... |
//! | GGUF NVFP4 | `X.weight`, `.scale` |
//! | MMFP4 | `X.qweight` or `X.weight` u32, `.scales` f16 |
//!
//! The tensors say nearly everything; what they do not (which GPTQ version counts zero points from 1)
//! is in config.json.

mod awq;
mod bitsandbytes;
mod float4;
mod fp8;
mod gptq;
mod int8;
mod mlx;
pub(crate) mod nvfp4_gguf;
mod order;
mod packed;
mod values;

use std::collections::HashMap;
use std::ops::Range;

use marlin_format::Weight;

use crate::quantization::Quantization;
use crate::{Dtype, Error, TensorView, Tensors};

/// A way to store a weight.
pub(crate) struct Scheme {
    /// What follows the weight's name: the first tensor is always there and gives the weight its place
    /// among the others.
    pub suffixes: &'static [&'static str],
    /// Whether the weight, whose first tensor is there, is stored in this way.
    pub shows: fn(&Stored<'_>) -> bool,
    /// Rows, those of a stack one after the other, and columns.
    pub shape: fn(&Stored<'_>) -> Result<(usize, usize), Error>,
    /// The weight, and the order of its columns.
    pub read: fn(&Stored<'_>) -> Result<Ordered, Error>,
}

/// All ways, the first that shows wins.
pub(crate) static SCHEMES: &[Scheme] = &[
    packed::PACKED_WEIGHT,
    float4::MMFP4,
    awq::AWQ,
    gptq::GPTQ,
    mlx::MLX,
    float4::MMFP4_WEIGHT,
    float4::MODELOPT,
    float4::GPT_OSS,
    int8::INT8,
    fp8::FP8,
    bitsandbytes::BITSANDBYTES,
    nvfp4_gguf::NVFP4_GGUF,
];

/// A weight whose columns may have been put in another order, so that those of a group are neighbours.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The weight: its column `j` is column `order[j]` of the model's.
    pub weight: Weight,
    /// The order; `None` if it is the model's.
    pub order: Option<Vec<u32>>,
}

impl Ordered {
    /// The weight with its columns in the model's order: dense f32 where they had another.
    ///
    /// # Errors
    /// None but a bug's.
    pub fn natural(self) -> Result<Weight, marlin_format::Error> {
        let Some(order) = self.order else { return Ok(self.weight) };
        let (rows, cols) = (self.weight.rows(), self.weight.cols());
        let (mut values, mut row) = (vec![0.0; rows * cols], vec![0.0; cols]);
        for (at, out) in values.chunks_exact_mut(cols.max(1)).enumerate() {
            self.weight.decode_row(at, &mut row);
            order.iter().zip(&row).for_each(|(&col, value)| out[col as usize] = *value);
        }
        Weight::from_f32(rows, cols, &values)
    }
}

impl From<Weight> for Ordered {
    fn from(weight: Weight) -> Self {
        Ordered { weight, order: None }
    }
}

/// The tensors of one weight, and errors about them.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub tensors: &'a Tensors,
    pub name: &'a str,
    pub quantization: &'a Quantization,
    /// Weight name to format name, of our own files.
    pub formats: &'a HashMap<String, String>,
}

impl<'a> Stored<'a> {
    /// The scheme of the weight, if its first tensor is there.
    pub fn scheme(&self) -> Option<&'static Scheme> {
        SCHEMES.iter().find(|scheme| self.part(scheme.suffixes[0]).is_some() && (scheme.shows)(self))
    }

    /// The tensor with this suffix.
    pub fn part(&self, suffix: &str) -> Option<&'a TensorView> {
        self.tensors.find(&self.full(suffix))
    }

    /// A tensor that must be there.
    pub fn need(&self, suffix: &str) -> Result<&'a TensorView, Error> {
        self.tensors.get(&self.full(suffix))
    }

    /// A tensor of one of these dtypes and as many dimensions as `expected` shows, none of them 0.
    pub fn typed<const N: usize>(
        &self,
        suffix: &str,
        dtypes: &[Dtype],
        expected: &str,
    ) -> Result<(&'a TensorView, [usize; N]), Error> {
        let tensor = self.need(suffix)?;
        match <[usize; N]>::try_from(&tensor.shape[..]) {
            Ok(shape) if dtypes.contains(&tensor.dtype) && !shape.contains(&0) => Ok((tensor, shape)),
            _ => Err(self.error(suffix, describe(tensor), expected)),
        }
    }

    /// A tensor of the wrong shape.
    pub fn shape_error(&self, tensor: &TensorView, expected: &'static str) -> Error {
        let (file, name) = (self.tensors.source().to_owned(), tensor.name.clone());
        Error::Shape { file, tensor: name, found: tensor.shape.clone(), expected }
    }

    /// The rows of part `index` of `count` equal parts.
    pub fn part_rows(
        &self,
        (rows, _): (usize, usize),
        index: usize,
        count: usize,
    ) -> Result<Range<usize>, Error> {
        if index >= count || !rows.is_multiple_of(count) {
            let expected = format!("rows of {count} matrices, of which number {index} is read");
            return Err(self.error("", format!("{rows} rows"), expected));
        }
        Ok(index * (rows / count)..(index + 1) * (rows / count))
    }

    fn full(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    /// What is wrong with a tensor.
    pub fn error(&self, suffix: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
        let (file, tensor) = (self.tensors.source().to_owned(), self.full(suffix));
        Error::Weight { file, tensor, found: found.into(), expected: expected.into() }
    }

    /// The values of a tensor, if all are finite.
    pub fn finite(&self, suffix: &str, values: Vec<f32>) -> Result<Vec<f32>, Error> {
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(self.error(suffix, format!("{} at {at}", values[at]), "finite values")),
        }
    }

    /// Wraps what the format says of the weight.
    pub fn format_error(&self, source: marlin_format::Error) -> Error {
        Error::Format { file: self.tensors.source().to_owned(), tensor: self.name.to_owned(), source }
    }
}

/// `F16 [64, 15]`.
pub(crate) fn describe(tensor: &TensorView) -> String {
    format!("{} {:?}", tensor.dtype, tensor.shape)
}
