//! `inspect`: what a model is made of, and the memory it needs at a context length.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use serde::Serialize;

use crate::{
    hub,
    output::{Output, count, size, table},
};

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A directory with safetensors, a .gguf file, or a hub id.
    pub model: String,
    /// Context length to size the key/value cache for; the model's own by default.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    /// List every tensor.
    #[arg(long)]
    pub tensors: bool,
}

/// What `inspect` found.
#[derive(Debug, Serialize)]
struct Facts {
    model_type: String,
    layers: usize,
    hidden_size: usize,
    vocab_size: usize,
    context_length: usize,
    weights: u64,
    len_bytes: u64,
    bits_per_weight: f64,
    formats: Vec<FormatFacts>,
    left_out: usize,
    memory: Memory,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<TensorFacts>,
}

#[derive(Debug, Serialize)]
struct FormatFacts {
    format: String,
    tensors: usize,
    weights: u64,
    len_bytes: u64,
}

#[derive(Debug, Serialize)]
struct TensorFacts {
    name: String,
    format: String,
    rows: usize,
    cols: usize,
    len_bytes: u64,
}

/// Bytes needed to run.
#[derive(Debug, Serialize)]
struct Memory {
    context: usize,
    weights_bytes: u64,
    cache_bytes_per_token_f16: u64,
    cache_bytes_f16: u64,
    total_bytes: u64,
}

impl Inspect {
    /// Reads headers and sizes; no weights.
    ///
    /// # Errors
    /// Whatever is wrong with the model.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let resolved = hub::resolve(&self.model, output)?;
        let source = marlin_model::Source::open(&resolved.path)?;
        let model = marlin_model::build(&source)?;
        let tensors = tensors(&model.plan);
        let (weights, len_bytes) = tensors
            .iter()
            .fold((0, 0), |(weights, bytes), tensor| (weights + tensor.weights(), bytes + tensor.len_bytes));
        let per_token: u64 = model.plan.caches.iter().map(|cache| 2 * cache.width as u64).sum();
        let context = self.ctx.map_or(model.context_length, |ctx| ctx as usize);
        let cache_bytes = per_token * context as u64;
        let facts = Facts {
            model_type: model.model_type,
            layers: model.plan.caches.len(),
            hidden_size: source.config().count("hidden_size").unwrap_or(0),
            vocab_size: model.vocab_size,
            context_length: model.context_length,
            weights,
            len_bytes,
            bits_per_weight: 8.0 * len_bytes as f64 / weights.max(1) as f64,
            formats: formats(&tensors),
            left_out: source.left_out().len(),
            memory: Memory {
                context,
                weights_bytes: len_bytes,
                cache_bytes_per_token_f16: per_token,
                cache_bytes_f16: cache_bytes,
                total_bytes: len_bytes + cache_bytes,
            },
            tensors: if self.tensors { tensors } else { Vec::new() },
        };
        output.result(&facts, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl TensorFacts {
    fn weights(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }
}

fn tensors(plan: &marlin_kernel::plan::Plan) -> Vec<TensorFacts> {
    let facts = |(name, weight): &(String, marlin_format::Weight)| TensorFacts {
        name: name.clone(),
        format: weight.format().name().to_owned(),
        rows: weight.rows(),
        cols: weight.cols(),
        len_bytes: weight.len_bytes() as u64,
    };
    plan.weights.iter().map(facts).collect()
}

fn formats(tensors: &[TensorFacts]) -> Vec<FormatFacts> {
    let mut rows: BTreeMap<&str, FormatFacts> = BTreeMap::new();
    for tensor in tensors {
        let row = rows.entry(&tensor.format).or_insert_with(|| FormatFacts {
            format: tensor.format.clone(),
            tensors: 0,
            weights: 0,
            len_bytes: 0,
        });
        row.tensors += 1;
        row.weights += tensor.weights();
        row.len_bytes += tensor.len_bytes;
    }
    rows.into_values().collect()
}

fn text(facts: &Facts) -> String {
    let mut text = format!(
        "{}: {} layers, hidden {}, vocabulary {}, context {}\n{} weights in {}, {:.3} bits per weight\n\n",
        facts.model_type,
        facts.layers,
        facts.hidden_size,
        facts.vocab_size,
        facts.context_length,
        count(facts.weights),
        size(facts.len_bytes),
        facts.bits_per_weight,
    );
    let row = |row: &FormatFacts| {
        let bits = format!("{:.3}", 8.0 * row.len_bytes as f64 / row.weights.max(1) as f64);
        vec![row.format.clone(), row.tensors.to_string(), count(row.weights), size(row.len_bytes), bits]
    };
    let rows: Vec<Vec<String>> = facts.formats.iter().map(row).collect();
    text.push_str(&table(&["format", "tensors", "weights", "size", "bits/weight"], &rows));
    let memory = &facts.memory;
    text.push_str(&format!(
        "\nto run with {} tokens of context: {} weights + {} cache ({} per token, f16) = {}\n",
        memory.context,
        size(memory.weights_bytes),
        size(memory.cache_bytes_f16),
        size(memory.cache_bytes_per_token_f16),
        size(memory.total_bytes),
    ));
    if facts.left_out > 0 {
        text.push_str(&format!("{} tensors of the file are not used\n", facts.left_out));
    }
    if !facts.tensors.is_empty() {
        let row = |tensor: &TensorFacts| {
            let shape = format!("[{}, {}]", tensor.rows, tensor.cols);
            vec![tensor.name.clone(), tensor.format.clone(), shape, size(tensor.len_bytes)]
        };
        let rows: Vec<Vec<String>> = facts.tensors.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table(&["tensor", "format", "shape", "size"], &rows));
    }
    text
}
