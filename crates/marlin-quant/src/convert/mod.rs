//! A model in a container that other programs load. Values stay as they are: a tensor keeps its codes and
//! scales if the container has a type for them, and only their order changes. One that has none is refused,
//! or becomes dense where the caller says so.

mod compressed_tensors;
mod gguf;

use std::collections::BTreeMap;
use std::path::PathBuf;

use marlin_file::Ordered;
use marlin_format::{Format, Layout, Rounding, Weight};
use marlin_model::Source;
use serde::Serialize;

use crate::{Error, round};

pub use compressed_tensors::to_compressed_tensors;
pub use gguf::to_gguf;

/// What a conversion wrote.
#[derive(Clone, Debug, Serialize)]
pub struct Conversion {
    /// The directory or file.
    pub path: PathBuf,
    /// Bytes of all tensors' files.
    pub len_bytes: u64,
    /// One row for each pair of formats.
    pub rows: Vec<ConvertedRow>,
    /// Tensors of the source that the model does not use.
    pub left_out: usize,
    /// 4-bit float matrices that keep a tensor scale of their own beside others of a fused product, as no
    /// common one keeps their values.
    pub own_scales: usize,
}

/// The tensors that went from one format to another.
#[derive(Clone, Debug, Serialize)]
pub struct ConvertedRow {
    /// Our format.
    pub from: String,
    /// The container's type.
    pub to: String,
    /// How many tensors of ours.
    pub tensors: usize,
    /// Their values.
    pub weights: u64,
    /// How many of them lost something to rounding.
    pub rounded: usize,
    /// The largest relative squared error among them, `||W - Q||^2 / ||W||^2`.
    pub worst_relative_mse: f64,
}

/// Rows being counted.
#[derive(Debug, Default)]
struct Tally(BTreeMap<(String, String), ConvertedRow>);

impl Tally {
    /// Counts one tensor with the error it was written with.
    fn add(&mut self, from: &Weight, to: &str, relative_mse: f64) {
        let from_name = from.format().name().to_owned();
        let row = self.0.entry((from_name.clone(), to.to_owned())).or_insert_with(|| ConvertedRow {
            from: from_name,
            to: to.to_owned(),
            tensors: 0,
            weights: 0,
            rounded: 0,
            worst_relative_mse: 0.0,
        });
        row.tensors += 1;
        row.weights += from.rows() as u64 * from.cols() as u64;
        row.rounded += usize::from(relative_mse > 0.0);
        row.worst_relative_mse = row.worst_relative_mse.max(relative_mse);
    }

    fn rows(self) -> Vec<ConvertedRow> {
        self.0.into_values().collect()
    }
}

/// Refuses a model whose inputs are rotated when it is played: transformers and llama.cpp do not.
fn without_rotation(source: &Source, container: &'static str) -> Result<(), Error> {
    match source.online_rotation()? {
        Some(block) => Err(Error::Rotated { container, block }),
        None => Ok(()),
    }
}

/// Whether a weight is stored value by value.
fn is_dense(weight: &Weight) -> bool {
    matches!(weight.layout(), Layout::Dense { .. })
}

/// `weight` rounded to the dense `format`, and its relative squared error.
fn dense(name: &str, weight: &Weight, format: &'static dyn Format) -> Result<(Weight, f64), Error> {
    let wrap = |source| Error::Tensor { name: name.to_owned(), source };
    let rounded = round(weight, format, Rounding::default()).map_err(wrap)?;
    Ok((rounded.weight, rounded.error.relative()))
}

/// `weight` in the smallest dense format that keeps every value, which is f32 at last.
fn exact_dense(name: &str, weight: &Weight) -> Result<Weight, Error> {
    if is_dense(weight) {
        return Ok(weight.clone());
    }
    for format in ["bf16", "f16"].map(marlin_format::by_name).into_iter().flatten() {
        // A value that f16 cannot hold is no error here.
        if let Ok((weight, 0.0)) = dense(name, weight, format) {
            return Ok(weight);
        }
    }
    Weight::from_f32(weight.rows(), weight.cols(), &weight.to_f32())
        .map_err(|source| Error::Tensor { name: name.to_owned(), source })
}

/// The weight, and whether its columns are in the model's order: codes in another order are those of no
/// type that a container has.
fn natural(name: &str, ordered: Ordered) -> Result<(Weight, bool), Error> {
    let in_order = ordered.order.is_none();
    let weight = ordered.natural().map_err(|source| Error::Tensor { name: name.to_owned(), source })?;
    Ok((weight, in_order))
}

/// `lm_head.weight (nf4 [64, 32])`, for a refusal.
fn describe(name: &str, weight: &Weight, in_order: bool) -> String {
    let (format, rows, cols) = (weight.format().name(), weight.rows(), weight.cols());
    let order = if in_order { "" } else { ", columns in an order of their own" };
    format!("{name} ({format} [{rows}, {cols}]{order})")
}
