//! The container is a directory of safetensors under transformers' names, its quantized matrices in
//! compressed-tensors' schemes.
//!
//! Dense are what those programs load in no other form, embedding table and head, and what has no codes:
//! vectors, and `kv_b_proj`, which we keep as its halves. They take the smallest dense type that keeps their
//! values. All matrices of a format have groups of one length, as loaders expect one scheme for a model's
//! layers: the longest that divides every row.

use std::collections::HashMap;

use marlin_file::{Content, Dtype, ModelWriter, Options, Partial, Planned, is_compressed_tensors};
use marlin_format::{
    Format, Layout, ROW, Weight,
    export::{common_scale, regrouped},
    import::separate,
};
use marlin_model::{Source, Tensors, published};

use super::{Conversion, Tally, dense, describe, exact_dense, is_dense, natural, without_rotation};
use crate::{Error, Event, tasks};

/// Matrices that inference engines multiply as one, and so want under one tensor scale.
const FUSED: [&[&str]; 3] =
    [&["q_proj", "k_proj", "v_proj"], &["gate_proj", "up_proj"], &["q_a_proj", "kv_a_proj_with_mqa"]];

/// Writes `source` into the new directory that `partial` becomes, with `side_files` beside the tensors. A
/// tensor that no scheme holds becomes `dequantize`, or is refused. `go_on` is told of every tensor and may
/// stop the run by `false`.
///
/// # Errors
/// [`Error::Rotated`], [`Error::NoType`] with all tensors that are refused, [`Error::Model`],
/// [`Error::File`] or [`Error::Stopped`]; nothing is left behind then.
pub fn to_compressed_tensors(
    source: &Source,
    partial: Partial,
    side_files: &[(&str, Vec<u8>)],
    dequantize: Option<&'static dyn Format>,
    mut go_on: impl FnMut(Event<'_>) -> bool,
) -> Result<Conversion, Error> {
    for leftover in partial.leftovers() {
        go_on(Event::Leftover(leftover));
    }
    without_rotation(source, "compressed-tensors")?;
    let names = published::names(source);
    let shapes = names.iter().map(|name| published::shape(source, name)).collect::<Result<Vec<_>, _>>()?;
    let weights: Vec<u64> = shapes.iter().map(|&(rows, cols)| rows as u64 * cols as u64).collect();
    let groups = groups(source, &names)?;
    let total = 2 * weights.iter().sum::<u64>();
    let mut done = 0;
    let mut told = |written, next: &str, done| match go_on(Event::Work { done, total, next }) {
        true => Ok(()),
        false => Err(Error::Stopped { done: written, total: names.len() }),
    };
    let (mut planned, mut refused, mut tally) = (Vec::new(), Vec::new(), Tally::default());
    for (name, weights) in names.iter().zip(&weights) {
        told(0, name, done)?;
        match encode(source, name, &groups, dequantize, &mut tally)? {
            Ok(weight) => planned.push(plan(name, &weight)),
            Err(what) => refused.push(what),
        }
        done += weights;
    }
    if !refused.is_empty() {
        return Err(Error::NoType { container: "compressed-tensors", tensors: refused });
    }
    let path = partial.target().to_owned();
    let options = Options { config: Some(tasks::config(source)), ..Options::default() };
    let mut writer = ModelWriter::within(partial, &planned, options)?;
    let mut own_scales = 0;
    for (written, ((name, planned), weights)) in names.iter().zip(&planned).zip(&weights).enumerate() {
        told(written, name, done)?;
        if let Ok(weight) = encode(source, name, &groups, dequantize, &mut Tally::default())? {
            let (weight, shared) = shared_scale(source, name, weight)?;
            own_scales += usize::from(!shared);
            match planned.content {
                Content::Plain { .. } => writer.write_tensor(&planned.name, &weight.parts().codes)?,
                Content::Matrix { .. } => writer.write_weight(&planned.name, &weight)?,
            }
        }
        source.release(name);
        done += weights;
    }
    for (name, bytes) in side_files {
        writer.write_side_file(name, bytes)?;
    }
    let len_bytes = writer.finish()?.len_bytes;
    let (rows, left_out) = (tally.rows(), source.left_out().len());
    Ok(Conversion { path, len_bytes, rows, left_out, own_scales })
}

fn plan(name: &str, weight: &Weight) -> Planned {
    let (format, rows, cols) = (weight.format(), weight.rows(), weight.cols());
    match Dtype::of_dense_format(format.name()) {
        Some(dtype) => {
            let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
            Planned { name: name.to_owned(), content: Content::Plain { dtype, shape } }
        }
        None => Planned {
            name: name.strip_suffix(".weight").unwrap_or(name).to_owned(),
            content: Content::Matrix { format, rows, cols },
        },
    }
}

/// The tensor as it is written, or what is refused.
fn encode(
    source: &Source,
    name: &str,
    groups: &Groups,
    dequantize: Option<&'static dyn Format>,
    tally: &mut Tally,
) -> Result<Result<Weight, String>, Error> {
    let joined = !source.has(name);
    let (weight, in_order) = match joined {
        true => (published::weight(source, name)?, true),
        false => natural(name, source.ordered(name)?)?,
    };
    let dense_only = joined || weight.rows() == 1 || is_dense_only(name);
    let (written, relative_mse) = match (scheme(&weight, groups), dequantize) {
        _ if joined || in_order && is_dense(&weight) => (exact_dense(name, &weight)?, 0.0),
        (_, Some(format)) if dense_only => dense(name, &weight, format)?,
        _ if dense_only => (exact_dense(name, &weight)?, 0.0),
        (Some(kept), _) if in_order => (kept, 0.0),
        (_, Some(format)) => dense(name, &weight, format)?,
        (_, None) => return Ok(Err(describe(name, &weight, in_order))),
    };
    tally.add(&weight, written.format().name(), relative_mse);
    Ok(Ok(written))
}

/// Whether loaders know a tensor as dense only.
fn is_dense_only(name: &str) -> bool {
    matches!(name, "model.embed_tokens.weight" | "lm_head.weight")
}

/// The length of groups for each format, by its name.
type Groups = HashMap<&'static str, usize>;

/// The longest groups that divide the rows of all matrices of a format, of the lengths that there are.
fn groups(source: &Source, names: &[String]) -> Result<Groups, Error> {
    let mut groups = Groups::new();
    for name in names.iter().filter(|name| source.has(name) && !is_dense_only(name)) {
        let weight = source.weight(name)?;
        let group = weight.layout().group();
        if matches!(weight.layout(), Layout::Grouped { .. }) && group != ROW && weight.rows() > 1 {
            let longest = groups.entry(weight.format().name()).or_insert(group);
            while *longest > 16 && !weight.cols().is_multiple_of(*longest) {
                *longest /= 2;
            }
        }
        source.release(name);
    }
    Ok(groups)
}

/// The weight in a format that has a scheme, every value kept.
fn scheme(weight: &Weight, groups: &Groups) -> Option<Weight> {
    let weight = separate(weight).unwrap_or_else(|| weight.clone());
    let group = groups.get(weight.format().name()).copied().unwrap_or(weight.layout().group());
    let weight = if group == weight.layout().group() { weight } else { regrouped(&weight, group)? };
    is_compressed_tensors(weight.format(), weight.cols()).then_some(weight)
}

/// The weight with the tensor scale that it shares with those of its fused product, and whether it does.
fn shared_scale(source: &Source, name: &str, weight: Weight) -> Result<(Weight, bool), Error> {
    if weight.format().name() != "fp4" {
        return Ok((weight, true));
    }
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    let (prefix, own) = stem.rsplit_once('.').unwrap_or(("", stem));
    let Some(fused) = FUSED.iter().find(|fused| fused.contains(&own)) else { return Ok((weight, true)) };
    let mut weights = vec![weight];
    for sibling in fused.iter().filter(|sibling| **sibling != own) {
        let sibling = format!("{prefix}.{sibling}.weight");
        if source.has(&sibling) {
            weights.push(source.weight(&sibling)?);
        }
    }
    let shared = common_scale(&weights).map(|mut shared| (shared.swap_remove(0), true));
    Ok(shared.unwrap_or_else(|| (weights.swap_remove(0), false)))
}
