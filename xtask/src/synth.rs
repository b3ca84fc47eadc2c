//! `cargo xtask synth`: writes a checkpoint with the shapes of a real model and random weights, to
//! measure memory and speed where the real weights are too large to ship.
//!
//! One tensor is in memory at a time. The same arguments give the same files.

mod draw;
mod shapes;
mod tokenizer;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, ensure};
use marlin_file::{Content, Dtype, ModelWriter, Options, Planned};
use marlin_format::{Format, Layout, by_name};

use draw::Generator;
use shapes::{Kind, Tensor};

/// What to write.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The model whose shapes are taken.
    #[arg(long, value_parser = ["glm-4.7-flash"], default_value = "glm-4.7-flash")]
    arch: String,
    /// The directory to make.
    #[arg(long)]
    out: PathBuf,
    /// Format of the matrices in the layers: dense as published, or any that can be written.
    #[arg(long, default_value = "bf16")]
    format: String,
    /// Layers to write; all of the model's by default.
    #[arg(long)]
    layers: Option<usize>,
    /// Most bytes of one file.
    #[arg(long, default_value_t = 5_000_000_000)]
    shard_bytes: u64,
    /// What the random numbers are drawn from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The same structure in a few hundred kilobytes.
    #[arg(long)]
    tiny: bool,
}

/// Format of the embedding table and the head beside quantized layers.
const HEAD_FORMAT: &str = "int8";
/// Format of the routers, and of everything in an unquantized checkpoint.
const DENSE_FORMAT: &str = "bf16";

/// Writes the checkpoint.
pub fn run(arguments: &Arguments) -> Result<()> {
    let shapes = if arguments.tiny { &shapes::TINY } else { &shapes::GLM_4_7_FLASH };
    let layers = arguments.layers.unwrap_or(shapes.layers);
    ensure!((1..=shapes.layers).contains(&layers), "layers: {layers}, expected 1 to {}", shapes.layers);
    let linear = by_name(&arguments.format)?;
    let quantized = !matches!(linear.layout(), Layout::Dense { .. });
    let tensors = shapes.tensors(layers, quantized);
    let generator = Generator::new(arguments.seed);

    let planned = tensors.iter().map(|tensor| plan(tensor, linear)).collect::<Result<Vec<_>>>()?;
    let options = Options { shard_bytes: arguments.shard_bytes, config: Some(shapes.config(layers)) };
    let start = Instant::now();
    let mut writer = ModelWriter::create(&arguments.out, &planned, options)?;
    let mut pools = draw::Pools::default();
    for (tensor, planned) in tensors.iter().zip(&planned) {
        match &planned.content {
            Content::Matrix { format, .. } => {
                let weight = generator.matrix(tensor, *format, &mut pools)?;
                writer.write_weight(&planned.name, &weight)?;
            }
            Content::Plain { .. } => writer.write_tensor(&planned.name, &generator.vector(tensor))?,
        }
    }
    for (name, text) in tokenizer::files(shapes) {
        writer.write_side_file(name, text.as_bytes())?;
    }
    let drawn = start.elapsed().as_secs_f64();
    let written = writer.finish()?;
    let gigabytes = written.len_bytes as f64 / 1e9;
    println!(
        "{}: {layers} layers, {} tensors, {gigabytes:.2} GB in {} files, {drawn:.1} s ({:.0} MB/s), \
         {:.1} s until on disk",
        written.dir.display(),
        tensors.len(),
        written.shards,
        1e3 * gigabytes / drawn,
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

/// What a tensor becomes in the file.
fn plan(tensor: &Tensor, linear: &'static dyn Format) -> Result<Planned> {
    let quantized = !matches!(linear.layout(), Layout::Dense { .. });
    let Tensor { rows, cols, .. } = *tensor;
    let matrix = |format| Planned {
        name: tensor.name.trim_end_matches(".weight").to_owned(),
        content: Content::Matrix { format, rows, cols },
    };
    let plain =
        |dtype| Planned { name: tensor.name.clone(), content: Content::Plain { dtype, shape: vec![cols] } };
    Ok(match tensor.kind {
        Kind::Linear => matrix(linear),
        Kind::Table if quantized => matrix(by_name(HEAD_FORMAT)?),
        Kind::Table => matrix(linear),
        Kind::Router => matrix(by_name(DENSE_FORMAT)?),
        Kind::Norm => plain(Dtype::Bf16),
        Kind::Bias => plain(Dtype::F32),
    })
}
