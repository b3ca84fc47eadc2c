//! `quantize`: a model in, a quantized directory and a measured report out.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use clap::Args;
use marlin_file::Checkpoint;
use marlin_format::{Format, Rounding, Weight};
use marlin_model::Source;
use marlin_quant::{Progress, Recipe, Report};

use crate::{
    hub, interrupt,
    output::{Output, Unit, count, size, table},
    player, vocabulary,
};

/// Arguments of `quantize`.
#[derive(Args, Debug)]
pub struct Quantize {
    /// A directory with safetensors, a .gguf file, or a hub id such as zai-org/GLM-4.7-Flash.
    pub model: String,
    /// The directory to write; it must not exist.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Format of the matrices of products.
    #[arg(long, default_value = "fp4", value_parser = format)]
    pub format: &'static dyn Format,
    /// Format of the embedding table.
    #[arg(long, default_value = "int8", value_parser = format, value_name = "FORMAT")]
    pub embed: &'static dyn Format,
    /// Format of the head.
    #[arg(long, default_value = "int8", value_parser = format, value_name = "FORMAT")]
    pub head: &'static dyn Format,
    /// Threads to use; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// A format that can be written, by its name.
fn format(name: &str) -> Result<&'static dyn Format, String> {
    let format = marlin_format::by_name(name).map_err(|error| error.to_string())?;
    if !is_writable(format) {
        return Err(marlin_format::Error::ReadOnly { format: format.name() }.to_string());
    }
    Ok(format)
}

/// Whether a format can be written: what one value shows.
fn is_writable(format: &'static dyn Format) -> bool {
    let cols = format.layout().cols_multiple();
    Weight::encode(format, 1, cols, &vec![1.0; cols], Rounding::default()).is_ok()
}

impl Quantize {
    /// Quantizes, showing progress.
    ///
    /// # Errors
    /// Whatever is wrong with the model, the directory or the disk.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let recipe = Recipe { linear: self.format, embed: self.embed, head: self.head };
        let model = hub::resolve(&self.model, output)?;
        let report = quantize(&model.path, &self.out, &recipe, self.threads, output)?;
        output.result(&report, |report| format!("{}\nwrote {}", report_text(report), self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Quantizes `model` into the new directory `out`, tokenizer and chat template with it.
///
/// # Errors
/// As [`Quantize::run`].
pub fn quantize(
    model: &Path,
    out: &Path,
    recipe: &Recipe,
    threads: Option<u16>,
    output: Output,
) -> anyhow::Result<Report> {
    let source = Source::open(model)?;
    let side_files = side_files(source.checkpoint())?;
    let stop = interrupt::flag()?;
    let weights: u64 = source.names().map(|name| source.shape(name)).try_fold(0, |sum, shape| {
        let (rows, cols) = shape?;
        anyhow::Ok(sum + rows as u64 * cols as u64)
    })?;
    let bar = output.progress("quantizing", weights, Unit::Count);
    let report = player::in_pool(threads, || {
        let go_on = |progress: Progress<'_>| {
            if let Some(left) = progress.leftover {
                output
                    .note(format!("an interrupted run had left {}: removed, starting over", left.display()));
            }
            bar.set_position(progress.done);
            !stop.load(Ordering::Relaxed)
        };
        anyhow::Ok(marlin_quant::quantize(&source, recipe, out, &side_files, go_on)?)
    })??;
    bar.finish_and_clear();
    Ok(report)
}

/// The files beside the tensors that a reader needs, from a directory or out of a GGUF.
fn side_files(checkpoint: &Checkpoint) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    if let Some(gguf) = checkpoint.gguf() {
        return vocabulary::side_files_of_gguf(gguf);
    }
    const NAMES: [&str; 5] = [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    ];
    let mut files = Vec::new();
    for name in NAMES {
        if let Some(bytes) = checkpoint.read(name)? {
            files.push((name, bytes));
        }
    }
    Ok(files)
}

/// The report as a table and a line on size.
pub fn report_text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .formats
        .iter()
        .map(|row| {
            let (worst, name) = match &row.worst {
                Some((name, error)) => (format!("{error:.4}"), name.clone()),
                None => ("-".to_owned(), "-".to_owned()),
            };
            let mean = row.mean_relative_error.map_or("-".to_owned(), |error| format!("{error:.4}"));
            let bits = format!("{:.3}", row.bits_per_weight);
            vec![row.format.clone(), row.tensors.to_string(), count(row.weights), bits, mean, worst, name]
        })
        .collect();
    let header = ["format", "tensors", "weights", "bits/weight", "mean error", "worst error", "worst tensor"];
    let mut text = table(&header, &rows);
    text.push_str(&format!(
        "\n{}, {:.3} bits per weight: 1/{:.2} of BF16, 1/{:.2} of FP32; {:.1} s",
        size(report.len_bytes),
        report.bits_per_weight,
        report.ratio_to_bf16,
        report.ratio_to_fp32,
        report.seconds,
    ));
    if !report.left_out.is_empty() {
        text.push_str(&format!("\nleft out {} tensors the model does not use", report.left_out.len()));
    }
    text
}
