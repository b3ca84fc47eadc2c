//! `bench model`: tokens a second of prompts and of decoding at several depths, with the dispatches of a
//! token.

use std::{process::ExitCode, time::Instant};

use anyhow::bail;
use clap::Args;
use marlin_gpu::{Gpu, GpuOptions, GpuPlayer, Opening, work};
use marlin_kernel::{Batch, Chooser, Player, sample::Choice};
use serde::Serialize;

use crate::{
    open,
    output::{Output, Unit, table},
    tuning,
};

/// Tokens of a prompt that are played at once.
const CHUNK: usize = 512;
/// Tokens decoded at each depth, after as many that are not timed.
const DECODED: usize = 64;
/// Dispatches of a layer that are shown, at most.
const SHOWN: usize = 40;

/// Arguments of `bench model`.
#[derive(Args, Debug)]
pub struct Model {
    /// A directory with safetensors, a .gguf file, a hub id, or marlin-mini.
    pub model: String,
    /// The GPU, as in `run`.
    #[arg(long, env = "MARLIN_DEVICE", default_value = "gpu", value_name = "DEVICE")]
    pub device: String,
    /// Depths at which decoding is timed; each is reached by playing a prompt of that length.
    #[arg(long, value_delimiter = ',', default_value = "0,4096,32768", value_name = "TOKENS")]
    pub depths: Vec<usize>,
    /// f32 operands in place of matrix units.
    #[arg(long)]
    pub exact: bool,
}

#[derive(Serialize)]
struct Facts {
    model: String,
    player: String,
    load_seconds: f64,
    prompts: Vec<Prompt>,
    decoding: Vec<Decoding>,
    /// Dispatches of a whole token, and of each layer.
    dispatches: usize,
    layers: Vec<Layer>,
}

/// A prompt played from its first token, or from where the one before ended.
#[derive(Serialize)]
struct Prompt {
    from: usize,
    to: usize,
    tokens_per_second: f64,
}

#[derive(Serialize)]
struct Decoding {
    depth: usize,
    tokens_per_second: f64,
    /// Of one token, first dispatch to last; less than its time where the device waits for the host.
    device_milliseconds: Option<f64>,
}

#[derive(Serialize)]
struct Layer {
    layer: String,
    dispatches: usize,
    microseconds: f64,
}

impl Model {
    /// Measures and prints.
    ///
    /// # Errors
    /// When there is no such device or model, or it does not fit.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut depths = self.depths.clone();
        depths.sort_unstable();
        let Some(&deepest) = depths.last() else { bail!("--depths: none given") };
        let start = Instant::now();
        let opened = open::open(&self.model, output)?;
        let matrices = !self.exact;
        let opening = Opening { device: self.device.clone(), matrices, ..Opening::default() };
        let gpu = Gpu::open(&opening)?;
        let pages = (deepest + 2 * DECODED + 1).div_ceil(work::PAGE);
        let tuning = tuning::load(&gpu.info, output);
        let options = GpuOptions { page_size: work::PAGE, pages, tuning, ..GpuOptions::default() };
        let mut player = GpuPlayer::new(opened.model.plan, &gpu, &options)?;
        let load_seconds = start.elapsed().as_secs_f64();
        let bar = output.progress("measuring", (deepest + depths.len()) as u64, Unit::Count);
        let (mut prompts, mut decoding, mut depth) = (Vec::new(), Vec::new(), 0);
        let mut marks: Vec<usize> = depths.iter().copied().chain([CHUNK.min(deepest)]).collect();
        marks.sort_unstable();
        marks.dedup();
        for mark in marks {
            if mark > depth {
                // The first chunk compiles; it is played again, to the same cache rows.
                if depth == 0 {
                    prompt(&mut player, 0, CHUNK.min(mark))?;
                }
                let start = Instant::now();
                prompt(&mut player, depth, mark)?;
                let tokens_per_second = (mark - depth) as f64 / start.elapsed().as_secs_f64();
                prompts.push(Prompt { from: depth, to: mark, tokens_per_second });
                bar.inc((mark - depth) as u64);
                depth = mark;
            }
            if depths.contains(&mark) {
                decoding.push(decode(&mut player, depth, gpu.info.timestamps)?);
            }
        }
        bar.finish_and_clear();
        let (dispatches, layers) = layers(&mut player, depth, gpu.info.timestamps)?;
        let player = player.describe();
        let facts = Facts { model: self.model, player, load_seconds, prompts, decoding, dispatches, layers };
        output.result(&facts, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Tokens all over the vocabulary.
fn token(player: &GpuPlayer, position: usize) -> u32 {
    ((position * 7919 + 13) % player.plan().vocabulary().min(1 << 30)) as u32
}

fn batch(player: &GpuPlayer, from: usize, to: usize) -> Batch {
    let tokens = (from..to).map(|position| token(player, position)).collect();
    Batch { tokens, ..work::batch(from..to) }
}

/// Plays positions `from..to` in chunks, and waits for the logits of the last.
fn prompt(player: &mut GpuPlayer, from: usize, to: usize) -> anyhow::Result<()> {
    for start in (from..to).step_by(CHUNK) {
        let end = to.min(start + CHUNK);
        let mut batch = batch(player, start, end);
        if end == to {
            batch.outputs = vec![(end - start) as u32 - 1];
            batch.choices = vec![Choice::default()];
            player.submit(&batch)?;
        } else {
            player.begin(&batch)?;
            player.run(0..player.plan().steps.len())?;
        }
    }
    player.collect()?;
    Ok(())
}

/// Decodes greedily, one submission ahead of what has been collected.
fn decode(player: &mut GpuPlayer, depth: usize, timestamps: bool) -> anyhow::Result<Decoding> {
    let next = |player: &mut GpuPlayer, at: usize, first: bool| {
        let mut batch = batch(player, at, at + 1);
        if !first {
            batch.tokens = vec![Batch::chosen(0)];
        }
        batch.outputs = vec![0];
        batch.choices = vec![Choice::default()];
        player.submit(&batch)
    };
    next(player, depth, true)?;
    let mut start = Instant::now();
    for step in 1..2 * DECODED {
        if step == DECODED {
            start = Instant::now();
        }
        next(player, depth + step, false)?;
        player.collect()?;
    }
    let tokens_per_second = DECODED as f64 / start.elapsed().as_secs_f64();
    player.collect()?;
    let device_milliseconds = match timestamps {
        true => {
            let steps = player.plan().steps.len();
            Some(1e3 * player.time(0..steps)?.as_secs_f64())
        }
        false => None,
    };
    Ok(Decoding { depth, tokens_per_second, device_milliseconds })
}

/// Dispatches of one decoded token: in all, and by layer.
fn layers(player: &mut GpuPlayer, depth: usize, timestamps: bool) -> anyhow::Result<(usize, Vec<Layer>)> {
    let mut one = batch(player, depth, depth + 1);
    one.outputs = vec![0];
    player.begin(&one)?;
    let steps = player.plan().steps.len();
    let dispatches = player.dispatches(0..steps)?;
    if !timestamps {
        return Ok((dispatches, Vec::new()));
    }
    let mut layers: Vec<Layer> = Vec::new();
    for dispatch in player.profile(0..steps)? {
        if dispatch.time.is_zero() {
            continue;
        }
        let label = layer_of(&player.plan().steps[dispatch.step].label);
        if layers.last().is_none_or(|last| last.layer != label) {
            layers.push(Layer { layer: label, dispatches: 0, microseconds: 0.0 });
        }
        let last = layers.last_mut().expect("one was pushed");
        last.dispatches += 1;
        last.microseconds += 1e6 * dispatch.time.as_secs_f64();
    }
    Ok((dispatches, layers))
}

/// `layers.3` of `model.layers.3.self_attn`; the whole label elsewhere.
fn layer_of(label: &str) -> String {
    let mut parts = label.split('.').skip_while(|part| *part != "layers");
    match (parts.next(), parts.next()) {
        (Some(layers), Some(number)) => format!("{layers}.{number}"),
        _ => label.to_owned(),
    }
}

fn text(facts: &Facts) -> String {
    let mut text = format!("{} on {}, loaded in {:.1} s\n\n", facts.model, facts.player, facts.load_seconds);
    for Prompt { from, to, tokens_per_second } in &facts.prompts {
        text.push_str(&format!("prompt {from}..{to}: {tokens_per_second:.0} tokens/s\n"));
    }
    for Decoding { depth, tokens_per_second, device_milliseconds } in &facts.decoding {
        let device = device_milliseconds
            .map_or_else(String::new, |time| format!(", {time:.2} ms of it on the device"));
        let milliseconds = 1e3 / tokens_per_second;
        text.push_str(&format!(
            "decode at {depth}: {tokens_per_second:.1} tokens/s, {milliseconds:.2} ms a token{device}\n"
        ));
    }
    text.push_str(&format!("\n{} dispatches a token\n", facts.dispatches));
    let row = |layer: &Layer| {
        vec![layer.layer.clone(), layer.dispatches.to_string(), format!("{:.1}", layer.microseconds)]
    };
    let rows: Vec<Vec<String>> = facts.layers.iter().take(SHOWN).map(row).collect();
    text.push_str(&table(&["layer", "dispatches", "us"], &rows));
    text
}
