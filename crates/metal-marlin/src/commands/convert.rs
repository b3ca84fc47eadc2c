//! `convert`: a model in, a directory or file out that other programs load.

use std::{path::PathBuf, process::ExitCode, sync::atomic::Ordering, time::Instant};

use clap::{Args, ValueEnum};
use marlin_file::Partial;
use marlin_format::Format;
use marlin_model::Source;
use marlin_quant::{
    Event,
    convert::{Conversion, to_compressed_tensors, to_gguf},
};
use serde::Serialize;

use super::quantize::side_files;
use crate::{
    formats, hub, interrupt,
    output::{Output, Unit, count, size, table},
    player, vocabulary,
};

/// Arguments of `convert`.
#[derive(Args, Debug)]
pub struct Convert {
    /// A directory with safetensors, a .gguf file, or a hub id; quantized or not.
    pub model: String,
    /// What to write.
    #[arg(long, value_enum, value_name = "CONTAINER")]
    pub to: Container,
    /// The directory or file to write; it must not exist.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Write tensors that the container has no type for as f16, bf16 or f32, rounded to it. Without this
    /// option they are refused.
    #[arg(long, value_name = "FORMAT", value_parser = dense, num_args = 0..=1, default_missing_value = "f16")]
    pub dequantize: Option<&'static dyn Format>,
    /// Threads to use; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// A container that other programs load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Container {
    /// A directory of safetensors in compressed-tensors' schemes: transformers.
    CompressedTensors,
    /// One GGUF file: llama.cpp.
    Gguf,
}

/// What a run did.
#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    conversion: Conversion,
    /// Seconds it took.
    seconds: f64,
}

/// A dense format, by its name.
fn dense(name: &str) -> Result<&'static dyn Format, String> {
    let format = formats::writable(name)?;
    match format.layout() {
        marlin_format::Layout::Dense { .. } => Ok(format),
        _ => Err("expected f16, bf16 or f32".to_owned()),
    }
}

impl Convert {
    /// Converts, showing progress.
    ///
    /// # Errors
    /// Whatever is wrong with the model, the path or the disk, and tensors that the container has no type
    /// for.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let start = Instant::now();
        let resolved = hub::resolve(&self.model, output)?;
        let source = Source::open(&resolved.path)?;
        let stop = interrupt::flag()?;
        let bar = output.progress("converting", 0, Unit::Count);
        let go_on = |event: Event<'_>| {
            match event {
                Event::Leftover(left) => {
                    output.note(format!("an interrupted run had left {}: removed", left.display()));
                }
                Event::Continued { .. } => {}
                Event::Work { done, total, .. } => {
                    bar.set_length(total);
                    bar.set_position(done);
                }
            }
            !stop.load(Ordering::Relaxed)
        };
        let partial = Partial::open(&self.out, None, false)?;
        let conversion = player::in_pool(self.threads, || match self.to {
            Container::CompressedTensors => {
                let side_files = side_files(source.checkpoint())?;
                anyhow::Ok(to_compressed_tensors(&source, partial, &side_files, self.dequantize, go_on)?)
            }
            Container::Gguf => {
                let size = source.config().count("vocab_size")?;
                let keys = vocabulary::keys_of_gguf(source.checkpoint(), size)?;
                Ok(to_gguf(&source, keys, partial, self.dequantize, go_on)?)
            }
        })??;
        bar.finish_and_clear();
        let outcome = Outcome { conversion, seconds: start.elapsed().as_secs_f64() };
        output.result(&outcome, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(outcome: &Outcome) -> String {
    let Outcome { conversion, seconds } = outcome;
    let rows: Vec<Vec<String>> = conversion
        .rows
        .iter()
        .map(|row| {
            let worst = match row.rounded {
                0 => "-".to_owned(),
                _ => format!("{:.2e}", row.worst_relative_mse),
            };
            let (tensors, rounded) = (row.tensors.to_string(), row.rounded.to_string());
            vec![row.from.clone(), row.to.clone(), tensors, count(row.weights), rounded, worst]
        })
        .collect();
    let mut text = table(&["from", "to", "tensors", "weights", "rounded", "worst error"], &rows);
    text.push_str(&format!("\n{} in {seconds:.1} s\n", size(conversion.len_bytes)));
    if conversion.own_scales > 0 {
        text.push_str(&format!(
            "{} matrices keep a tensor scale of their own beside others of a fused product: no common one \
             keeps their values\n",
            conversion.own_scales
        ));
    }
    if conversion.left_out > 0 {
        text.push_str(&format!("left out {} tensors the model does not use\n", conversion.left_out));
    }
    text.push_str(&format!("wrote {}", conversion.path.display()));
    text
}
