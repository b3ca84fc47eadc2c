//! What quantizing a model did, as numbers that were measured.

use marlin_model::Source;
use serde::{Deserialize, Serialize};

/// One tensor of the result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: String,
    /// The format's name.
    pub format: String,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Bytes in the file, scales and zero points included.
    pub len_bytes: u64,
    /// `||W - Q||^2 / ||W||^2`; `None` for tensors that kept their precision.
    pub relative_mse: Option<f64>,
    /// Uses of each code, for codes of 4 bits at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u64>,
    /// What calibration measured; `None` for a tensor without, or a run without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// What a tensor was multiplied with in calibration, and what its codes cost there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Rows of activations it was multiplied with; for an expert, those that were routed to it.
    pub rows: u64,
    /// `sum ||(W - Q) x||^2 / sum ||W x||^2` over these rows x; `None` without rows.
    pub relative_output_mse: Option<f64>,
    /// Why the tensor was rounded without regard to its inputs; `None` if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// How a layer's tokens were routed in calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutingReport {
    /// The layer's experts: `model.layers.1.mlp.experts`.
    pub layer: String,
    /// Tokens that chose each expert.
    pub tokens: Vec<u64>,
}

/// A quantized model.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it came from.
    pub source: String,
    /// Every tensor.
    pub tensors: Vec<TensorReport>,
    /// Tensors of the source that the model does not use and that were not written.
    pub left_out: Vec<String>,
    /// Weights there are.
    pub weights: u64,
    /// Bytes of all tensors in the files.
    pub len_bytes: u64,
    /// Bits per weight over all tensors, scales, embeddings and head included.
    pub bits_per_weight: f64,
    /// Size if every weight had 16 bits, over this size.
    pub ratio_to_bf16: f64,
    /// Size if every weight had 32 bits, over this size.
    pub ratio_to_fp32: f64,
    /// One row a format.
    pub formats: Vec<FormatRow>,
    /// What it was calibrated with; `None` for plain rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationReport>,
}

/// The text a model was calibrated with, and how its tokens were routed.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrationReport {
    /// Tokens played.
    pub tokens: usize,
    /// Tokens of a window, each played from an empty cache.
    pub window: usize,
    /// One entry a layer with experts.
    pub routing: Vec<RoutingReport>,
}

/// All tensors of one format.
#[derive(Clone, Debug, Serialize)]
pub struct FormatRow {
    /// The format's name.
    pub format: String,
    /// Tensors.
    pub tensors: usize,
    /// Weights.
    pub weights: u64,
    /// Bits per weight as written.
    pub bits_per_weight: f64,
    /// Mean over the tensors of `||W - Q|| / ||W||`; `None` for kept precision.
    pub mean_relative_error: Option<f64>,
    /// The tensor with the largest relative error, and that error.
    pub worst: Option<(String, f64)>,
    /// Uses of each code, for codes of 4 bits at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u64>,
}

impl Report {
    /// Sums up `tensors`, which `source` became.
    pub(crate) fn new(source: &Source, tensors: Vec<TensorReport>) -> Report {
        let name = source.checkpoint().tensors().source().to_owned();
        Report::of(name, tensors, source.left_out().to_vec())
    }

    /// Sums up the tensors of what is called `source`.
    pub(crate) fn of(source: String, tensors: Vec<TensorReport>, left_out: Vec<String>) -> Report {
        let weights: u64 = tensors.iter().map(TensorReport::weights).sum();
        let len_bytes: u64 = tensors.iter().map(|tensor| tensor.len_bytes).sum();
        let ratio = |bytes: u64| (weights * bytes) as f64 / len_bytes.max(1) as f64;
        let mut names: Vec<&str> = Vec::new();
        for tensor in &tensors {
            if !names.contains(&tensor.format.as_str()) {
                names.push(&tensor.format);
            }
        }
        let formats = names.iter().map(|name| FormatRow::new(name, &tensors)).collect();
        Report {
            source,
            left_out,
            weights,
            len_bytes,
            bits_per_weight: bits(len_bytes, weights),
            ratio_to_bf16: ratio(2),
            ratio_to_fp32: ratio(4),
            formats,
            tensors,
            calibration: None,
        }
    }
}

impl TensorReport {
    /// Weights of the tensor.
    pub fn weights(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }

    /// `||W - Q|| / ||W||`.
    pub fn relative_error(&self) -> Option<f64> {
        self.relative_mse.map(f64::sqrt)
    }
}

impl FormatRow {
    fn new(format: &str, tensors: &[TensorReport]) -> FormatRow {
        let rows: Vec<&TensorReport> = tensors.iter().filter(|tensor| tensor.format == format).collect();
        let errors: Vec<(&str, f64)> =
            rows.iter().filter_map(|row| Some((row.name.as_str(), row.relative_error()?))).collect();
        let worst = errors.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let weights = rows.iter().map(|row| row.weights()).sum();
        let mut codes = vec![0; rows.iter().map(|row| row.codes.len()).max().unwrap_or(0)];
        for row in &rows {
            codes.iter_mut().zip(&row.codes).for_each(|(sum, count)| *sum += count);
        }
        let sum: f64 = errors.iter().map(|(_, error)| error).sum();
        FormatRow {
            format: format.to_owned(),
            tensors: rows.len(),
            weights,
            bits_per_weight: bits(rows.iter().map(|row| row.len_bytes).sum(), weights),
            mean_relative_error: (!errors.is_empty()).then(|| sum / errors.len() as f64),
            worst: worst.map(|(name, error)| ((*name).to_owned(), *error)),
            codes,
        }
    }
}

fn bits(len_bytes: u64, weights: u64) -> f64 {
    8.0 * len_bytes as f64 / weights.max(1) as f64
}
