//! `quantize`: a model in, a quantized directory and a measured report out.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
    time::Instant,
};

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use marlin_file::{Checkpoint, Partial};
use marlin_format::Format;
use marlin_kernel::plan::Plan;
use marlin_model::Source;
use marlin_quant::{Budget, Calibration, Event, Recipe, Report, Speed};
use serde::Serialize;

use crate::{
    cli::PlayOptions,
    formats, hub, interrupt, open,
    output::{Output, Unit, count, size, table},
    player::{self, Purpose},
    vocabulary,
};

/// Arguments of `quantize`.
#[derive(Args, Debug)]
#[command(after_long_help = formats::help())]
pub struct Quantize {
    /// A directory with safetensors, a .gguf file, or a hub id such as zai-org/GLM-4.7-Flash.
    pub model: String,
    /// The directory to write; it must not exist.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Format of the matrices of products.
    #[arg(long, default_value = "fp4", value_parser = formats::writable)]
    pub format: &'static dyn Format,
    /// Format of the embedding table.
    #[arg(long, default_value = "int8", value_parser = formats::writable, value_name = "FORMAT")]
    pub embed: &'static dyn Format,
    /// Format of the head.
    #[arg(long, default_value = "int8", value_parser = formats::writable, value_name = "FORMAT")]
    pub head: &'static dyn Format,
    /// Choose codes by what this text makes the tensors multiply (GPTQ). An interrupted run continues
    /// when it is started again.
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,
    /// Tokens of the text to use at most, in windows spread evenly over it.
    #[arg(long, default_value_t = 65_536, value_name = "TOKENS", requires = "calibrate")]
    pub calibrate_tokens: usize,
    /// Tokens of a window of the text.
    #[arg(long, default_value_t = 512, value_name = "TOKENS", requires = "calibrate")]
    pub calibrate_ctx: usize,
    /// Choose a format for each tensor so that the model takes at most this many bits per weight, all
    /// tensors counted, instead of --format, --embed and --head. By what the text shows with
    /// --calibrate; without, by the weights' own error only.
    #[arg(long, value_name = "BITS", value_parser = bits)]
    pub bpw: Option<f64>,
    /// Formats that --bpw chooses from.
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', value_parser = formats::writable)]
    #[arg(requires = "bpw", default_value = "nf2,int2,nf3,int3,int4,nf4,fp4,int4-g32,int8")]
    pub candidates: Vec<&'static dyn Format>,
    /// Take what errors cost from this survey.json, which an earlier run with --bpw has left in its
    /// directory, instead of measuring it: of the same model, text, candidates and options, for another
    /// size. Measuring is by far the longest part.
    #[arg(long, value_name = "FILE", requires = "calibrate", requires = "bpw")]
    pub survey: Option<PathBuf>,
    /// Rotate what the matrices multiply, in blocks of so many columns at most (128 if none are named), where
    /// that can be folded into their weights: the same model, whose outliers are spread over a block.
    #[arg(long, value_name = "COLUMNS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "128")]
    pub rotate: Option<usize>,
    /// Rotate what the down projections of feed-forwards and experts multiply, in blocks of so many columns
    /// at most (128 if none are named). That cannot be folded: it is done whenever the model is played, and
    /// `convert` refuses such a model.
    #[arg(long, value_name = "COLUMNS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "128")]
    pub rotate_online: Option<usize>,
    /// Begin again where an interrupted run of another text, source or options could be continued.
    #[arg(long)]
    pub restart: bool,
    /// How the model is played for calibration; exact by default.
    #[command(flatten)]
    pub play: PlayOptions,
}

/// What a run did.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// What is also in the directory.
    #[serde(flatten)]
    pub report: Report,
    /// Seconds it took.
    pub seconds: f64,
    /// How fast calibration was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
}

/// A positive number of bits.
fn bits(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bits) if bits > 0.0 && bits <= 32.0 => Ok(bits),
        _ => Err("expected a number above 0, at most 32".to_owned()),
    }
}

impl Quantize {
    /// Quantizes, showing progress.
    ///
    /// # Errors
    /// Whatever is wrong with the model, the text, the directory or the disk.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let recipe = Recipe { linear: self.format, embed: self.embed, head: self.head };
        let model = hub::resolve(&self.model, output)?;
        let mut source = Source::open(&model.path)?;
        if let Some(columns) = self.rotate {
            source = source.rotated(columns)?;
        }
        if let Some(columns) = self.rotate_online {
            source = source.rotated_online(columns)?;
        }
        let outcome = match &self.calibrate {
            Some(text) => self.calibrated(&source, text, &recipe, output)?,
            None => {
                let out = (self.out.as_path(), self.restart);
                quantize(&source, out, &recipe, self.budget().as_ref(), self.play.threads, output)?
            }
        };
        let text = |outcome: &Outcome| format!("{}\nwrote {}", outcome_text(outcome), self.out.display());
        output.result(&outcome, text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn budget(&self) -> Option<Budget> {
        let candidates = self.candidates.clone();
        self.bpw.map(|bits_per_weight| Budget { bits_per_weight, candidates })
    }

    fn calibrated(
        &self,
        source: &Source,
        text: &Path,
        recipe: &Recipe,
        output: Output,
    ) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let side_files = side_files(source.checkpoint())?;
        let text = std::fs::read_to_string(text).with_context(|| text.display().to_string())?;
        let tokens = self.tokens(source.checkpoint(), &text)?;
        let PlayOptions { device, activations, kv, .. } = &self.play;
        let options = format!(
            "--calibrate-ctx {}, device {device}, activations {activations:?}, kv {kv:?}",
            self.calibrate_ctx
        );
        let opened = player::Device::open(&self.play, Purpose::Evaluate, output)?;
        let mut make = |plan: Plan, context: usize| opened.player(plan, context).map_err(Into::into);
        let window = self.calibrate_ctx;
        let budget = self.budget();
        let survey = self.survey.clone();
        let calibration = Calibration { tokens, window, budget, survey, options, player: &mut make };
        let bar = progress(source, output)?;
        let stop = interrupt::flag()?;
        let (report, speed) = player::in_pool(self.play.threads, || {
            let mut go_on = |event: Event<'_>| {
                show(event, &bar, output);
                !stop.load(Ordering::Relaxed)
            };
            let out = (self.out.as_path(), self.restart);
            anyhow::Ok(marlin_quant::calibrate(source, recipe, calibration, out, &side_files, &mut go_on)?)
        })??;
        bar.finish_and_clear();
        Ok(Outcome { report, seconds: start.elapsed().as_secs_f64(), speed: Some(speed) })
    }

    /// Windows spread evenly over the text, with a BOS at the start of each where the tokenizer adds
    /// one.
    fn tokens(&self, checkpoint: &Checkpoint, text: &str) -> anyhow::Result<Vec<u32>> {
        let tokenizer = open::tokenizer(checkpoint)?;
        let all = tokenizer.encode(text, true, false)?;
        let bos = tokenizer.bos().filter(|bos| all.first() == Some(bos));
        let window = self.calibrate_ctx.max(1);
        let there = all.len() / window;
        let wanted = (self.calibrate_tokens / window).clamp(1, there.max(1)).min(there);
        let mut tokens = Vec::with_capacity(wanted * window);
        for at in 0..wanted {
            let start = at * there / wanted * window;
            tokens.extend(&all[start..start + window]);
            if let Some(bos) = bos {
                tokens[at * window] = bos;
            }
        }
        // A text shorter than a window is refused by its length.
        Ok(if wanted == 0 { all } else { tokens })
    }
}

/// Quantizes `source` into the new directory `out`, tokenizer and chat template with it; `restart`
/// removes what an interrupted calibrated run has left.
///
/// # Errors
/// As [`Quantize::run`].
pub fn quantize(
    source: &Source,
    (out, restart): (&Path, bool),
    recipe: &Recipe,
    budget: Option<&Budget>,
    threads: Option<u16>,
    output: Output,
) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let side_files = side_files(source.checkpoint())?;
    let stop = interrupt::flag()?;
    let bar = progress(source, output)?;
    let report = player::in_pool(threads, || {
        let go_on = |event: Event<'_>| {
            show(event, &bar, output);
            !stop.load(Ordering::Relaxed)
        };
        let partial = Partial::open(out, None, restart)?;
        anyhow::Ok(marlin_quant::quantize(source, (recipe, budget), partial, &side_files, go_on)?)
    })??;
    bar.finish_and_clear();
    Ok(Outcome { report, seconds: start.elapsed().as_secs_f64(), speed: None })
}

/// A bar over all weights of a model.
fn progress(source: &Source, output: Output) -> anyhow::Result<ProgressBar> {
    let weights: u64 = source.names().map(|name| source.shape(name)).try_fold(0, |sum, shape| {
        let (rows, cols) = shape?;
        anyhow::Ok(sum + rows as u64 * cols as u64)
    })?;
    Ok(output.progress("quantizing", weights, Unit::Count))
}

fn show(event: Event<'_>, bar: &ProgressBar, output: Output) {
    match event {
        Event::Leftover(left) => {
            output.note(format!("an interrupted run had left {}: removed, starting over", left.display()));
        }
        Event::Continued { done, stages } => {
            output.note(format!("continuing an interrupted run: {done} of {stages} stages are done"));
        }
        Event::Work { done, total, next } => {
            bar.set_length(total);
            bar.set_position(done);
            if next.starts_with("layer") {
                bar.set_message(next.to_owned());
            }
        }
    }
}

/// The files beside the tensors that a reader needs, from a directory or out of a GGUF.
///
/// # Errors
/// When one cannot be read, or a GGUF has no vocabulary.
pub fn side_files(checkpoint: &Checkpoint) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
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

/// The report as a table, a line on size, and one on speed.
fn outcome_text(outcome: &Outcome) -> String {
    let Outcome { report, seconds, speed } = outcome;
    let mut text = format!("{}; {seconds:.1} s", report_text(report));
    if let Some(speed) = speed {
        text.push_str(&format!(
            "\nplayed {} tokens a stage, twice: {:.0} tokens/s; chose codes for {} weights: {}/s",
            report.calibration.as_ref().map_or(0, |calibration| calibration.tokens),
            speed.played as f64 / speed.played_seconds.max(1e-9),
            count(speed.quantized),
            count((speed.quantized as f64 / speed.quantized_seconds.max(1e-9)) as u64),
        ));
    }
    if !report.left_out.is_empty() {
        text.push_str(&format!("\nleft out {} tensors the model does not use", report.left_out.len()));
    }
    text
}

fn report_text(report: &Report) -> String {
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
        "\n{}, {:.3} bits per weight: 1/{:.2} of BF16, 1/{:.2} of FP32",
        size(report.len_bytes),
        report.bits_per_weight,
        report.ratio_to_bf16,
        report.ratio_to_fp32,
    ));
    text
}
