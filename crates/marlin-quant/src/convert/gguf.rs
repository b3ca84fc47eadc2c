//! The container is one GGUF file, under llama.cpp's names and with its keys.
//!
//! A tensor is encoded twice: before the file is made, to know its type, and when it is written, so that
//! memory holds one at a time.

use bytes::Bytes;
use marlin_file::{Dtype, GgufTensor, GgufWriter, Partial, gguf::Value};
use marlin_format::{
    Format, Weight,
    export::{rescaled, rows_to_nvfp4, to_blocks},
};
use marlin_model::{
    Source, Tensors,
    gguf::{Exported, Origin, export, metadata},
};

use super::{Conversion, Tally, dense, describe, is_dense, natural, without_rotation};
use crate::{Error, Event};

/// Writes `source` as the new file that `partial` becomes, with the keys of its `tokenizer`. A tensor that
/// GGUF has no type for becomes `dequantize`, or is refused. `go_on` is told of every tensor and may stop the
/// run by `false`.
///
/// # Errors
/// [`Error::Rotated`], [`Error::NoType`] with all tensors that are refused, [`Error::Model`] for a model that
/// llama.cpp does not compute, [`Error::File`] or [`Error::Stopped`]; nothing is left behind then.
pub fn to_gguf(
    source: &Source,
    tokenizer: Vec<(String, Value)>,
    partial: Partial,
    dequantize: Option<&'static dyn Format>,
    mut go_on: impl FnMut(Event<'_>) -> bool,
) -> Result<Conversion, Error> {
    for leftover in partial.leftovers() {
        go_on(Event::Leftover(leftover));
    }
    without_rotation(source, "GGUF")?;
    let path = partial.target().to_owned();
    let keys = [metadata(source)?, tokenizer].concat();
    let tensors = export(source)?;
    let weights = |tensor: &Exported| tensor.shape.iter().product::<usize>() as u64;
    let total = 2 * tensors.iter().map(weights).sum::<u64>();
    let (mut done, count) = (0, tensors.len());
    let mut told = |written, next: &Exported, done| match go_on(Event::Work { done, total, next: &next.name })
    {
        true => Ok(()),
        false => Err(Error::Stopped { done: written, total: count }),
    };
    let (mut planned, mut refused, mut tally) = (Vec::new(), Vec::new(), Tally::default());
    for tensor in &tensors {
        told(0, tensor, done)?;
        match encode(source, tensor, dequantize, &mut tally)? {
            Ok(encoded) => planned.extend(encoded.planned(tensor)),
            Err(what) => refused.push(what),
        }
        done += weights(tensor);
    }
    if !refused.is_empty() {
        return Err(Error::NoType { container: "GGUF", tensors: refused });
    }
    let mut writer = GgufWriter::within(partial, &keys, &planned)?;
    for (written, tensor) in tensors.iter().enumerate() {
        told(written, tensor, done)?;
        if let Ok(encoded) = encode(source, tensor, dequantize, &mut Tally::default())? {
            writer.write_tensor(&tensor.name, &encoded.pieces)?;
            if let Some(scale) = &encoded.scale {
                writer.write_tensor(&scale_name(&tensor.name), &[scale])?;
            }
        }
        done += weights(tensor);
    }
    let len_bytes = writer.finish()?;
    Ok(Conversion { path, len_bytes, rows: tally.rows(), left_out: source.left_out().len(), own_scales: 0 })
}

/// A tensor as GGUF stores it.
struct Encoded {
    dtype: Dtype,
    pieces: Vec<Bytes>,
    /// NVFP4's factor, f32: one, or one an expert.
    scale: Option<Bytes>,
}

impl Encoded {
    fn planned(&self, tensor: &Exported) -> Vec<GgufTensor> {
        let Exported { name, shape, .. } = tensor;
        let whole = GgufTensor { name: name.clone(), dtype: self.dtype, shape: shape.clone() };
        let scale = self.scale.as_ref().map(|scale| GgufTensor {
            name: scale_name(name),
            dtype: Dtype::F32,
            shape: vec![scale.len() / 4],
        });
        [whole].into_iter().chain(scale).collect()
    }
}

fn scale_name(name: &str) -> String {
    format!("{}.scale", name.strip_suffix(".weight").unwrap_or(name))
}

/// Encodes a tensor, or says which is refused.
fn encode(
    source: &Source,
    tensor: &Exported,
    dequantize: Option<&'static dyn Format>,
    tally: &mut Tally,
) -> Result<Result<Encoded, String>, Error> {
    let (names, transform) = match &tensor.from {
        Origin::Values(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            return Ok(Ok(Encoded { dtype: Dtype::F32, pieces: vec![bytes.into()], scale: None }));
        }
        Origin::Tensors(names, transform) => (names, transform),
    };
    let (mut weights, mut in_order) = (Vec::with_capacity(names.len()), true);
    for name in names {
        let (weight, natural) = natural(name, source.ordered(name)?)?;
        in_order &= natural;
        weights.push(transform.apply(name, weight)?);
        source.release(name);
    }
    let kept = match tensor.single {
        true => Some((Dtype::F32, single(&weights), None)),
        false if in_order => {
            dense_pieces(&weights).or_else(|| nvfp4(&weights, tensor.scaled)).or_else(|| blocks(&weights))
        }
        false => None,
    };
    if let Some((dtype, pieces, scale)) = kept {
        weights.iter().for_each(|weight| tally.add(weight, dtype.name(), 0.0));
        return Ok(Ok(Encoded { dtype, pieces, scale }));
    }
    let dtype = dequantize.and_then(|format| Some((format, Dtype::of_format(format.name())?)));
    let Some((format, dtype)) = dtype else { return Ok(Err(describe(&names[0], &weights[0], in_order))) };
    let mut pieces = Vec::with_capacity(weights.len());
    for (name, weight) in names.iter().zip(&weights) {
        let (rounded, relative_mse) = dense(name, weight, format)?;
        tally.add(weight, dtype.name(), relative_mse);
        pieces.push(rounded.parts().codes.clone());
    }
    Ok(Ok(Encoded { dtype, pieces, scale: None }))
}

/// Type, bytes and factor of a tensor.
type Kept = (Dtype, Vec<Bytes>, Option<Bytes>);

fn single(weights: &[Weight]) -> Vec<Bytes> {
    let bytes = |weight: &Weight| weight.to_f32().iter().flat_map(|value| value.to_le_bytes()).collect();
    weights.iter().map(|weight| Bytes::from_owner::<Vec<u8>>(bytes(weight))).collect()
}

fn dense_pieces(weights: &[Weight]) -> Option<Kept> {
    weights.iter().all(is_dense).then(|| same_type(weights)).flatten()
}

fn blocks(weights: &[Weight]) -> Option<Kept> {
    same_type(&weights.iter().map(to_blocks).collect::<Option<Vec<_>>>()?)
}

/// The bytes of weights of one dense or block format.
fn same_type(weights: &[Weight]) -> Option<Kept> {
    let format = weights.first()?.format().name();
    let same = weights.iter().all(|weight| weight.format().name() == format);
    let pieces = weights.iter().map(|weight| weight.parts().codes.clone()).collect();
    same.then_some((Dtype::of_format(format)?, pieces, None))
}

/// NVFP4, with the factor of each beside them where llama.cpp takes it from there, else in the scales.
fn nvfp4(weights: &[Weight], scaled: bool) -> Option<Kept> {
    let weights = match scaled {
        true => weights.to_vec(),
        false => weights.iter().map(|weight| rescaled(weight, 1.0)).collect::<Option<_>>()?,
    };
    let factors: Vec<f32> = weights.iter().map(|weight| weight.parts().tensor_scale).collect();
    let bytes = || factors.iter().flat_map(|factor| factor.to_le_bytes()).collect::<Vec<u8>>();
    let scale = factors.iter().any(|factor| *factor != 1.0).then(|| bytes().into());
    let pieces = weights.iter().map(|weight| Some(rows_to_nvfp4(weight)?.into())).collect::<Option<_>>()?;
    Some((Dtype::Nvfp4, pieces, scale))
}

#[cfg(test)]
mod tests {
    use marlin_format::{Rounding, by_name};

    use super::*;

    #[test]
    fn experts_keep_their_own_factors() {
        let of = |largest: f32| {
            let values: Vec<f32> = (0..128).map(|at| largest * (at as f32 / 64.0 - 1.0)).collect();
            Weight::encode(by_name("fp4").unwrap(), 2, 64, &values, Rounding::default()).unwrap()
        };
        let weights = [of(0.001), of(7.0)];
        let (dtype, pieces, scale) = nvfp4(&weights, true).unwrap();
        assert_eq!((dtype, pieces.len()), (Dtype::Nvfp4, 2));
        let factors = weights.each_ref().map(|weight| weight.parts().tensor_scale);
        assert_ne!(factors[0], factors[1]);
        assert_eq!(scale.unwrap()[..], factors.map(f32::to_le_bytes).concat());
        // Where llama.cpp reads no factor, a weight has none, or no such blocks: without its factor, 0.001
        // has scales below the smallest of E4M3.
        let (_, _, scale) = nvfp4(&[of(6.0 * 448.0)], false).unwrap();
        assert!(scale.is_none() && nvfp4(&weights, false).is_none());
    }
}
