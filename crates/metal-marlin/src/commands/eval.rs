//! `eval`: perplexity by either protocol, and the distance to a reference on the same windows.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, ValueEnum};
use marlin_engine::score::{
    Broken, Comparison, PartPerplexity, Perplexity, Protocol, Windows, compare, perplexity,
};
use marlin_kernel::plan::Plan;
use serde::Serialize;

use crate::{
    cli::PlayOptions,
    open::{self, Opened},
    output::{Output, Unit},
    player::{self, Purpose},
};

/// Rows of one pass through a model.
const ROWS: usize = 512;

/// Exit code when the numbers show a broken forward pass.
pub const BROKEN: u8 = 3;

/// Parts of a window whose perplexity is shown apart.
const PARTS: usize = 8;

/// Arguments of `eval`.
#[derive(Args, Debug)]
pub struct Eval {
    /// A directory with safetensors, a .gguf file, a hub id, or marlin-mini.
    pub model: String,
    /// A model to compare with, on the same tokens: usually the unquantized one.
    #[arg(long, value_name = "MODEL2")]
    pub reference: Option<String>,
    /// Measure as well how far the reference is from itself when it is played as for generation.
    #[arg(long, requires = "reference")]
    pub floor: bool,
    /// What is scored.
    #[command(flatten)]
    pub text: TextOptions,
    /// How it is played; exact by default.
    #[command(flatten)]
    pub play: PlayOptions,
}

/// What is scored, and how.
#[derive(Args, Clone, Debug)]
pub struct TextOptions {
    /// The text to score, UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Which tokens of a window are scored. Numbers of the two are not comparable.
    #[arg(long, value_enum, default_value = "llama.cpp")]
    pub protocol: ProtocolName,
    /// Tokens of a window; 512 for llama.cpp, 2048 for gptq by default.
    #[arg(long, value_name = "TOKENS")]
    pub ctx: Option<usize>,
    /// Score only the first N windows.
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
}

/// A protocol by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// The second half of each window.
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// All of each window but its first token.
    Gptq,
}

impl TextOptions {
    /// The text as windows of `model`'s tokens.
    ///
    /// # Errors
    /// When it cannot be read, or is shorter than a window.
    pub fn windows(&self, model: &Opened) -> anyhow::Result<Windows> {
        let text = std::fs::read_to_string(&self.text).with_context(|| self.text.display().to_string())?;
        let tokens = model.tokenizer.encode(&text, true, false)?;
        let empty = model.tokenizer.encode("", true, false)?;
        let bos = model.tokenizer.bos().filter(|bos| empty.first() == Some(bos));
        let (n_ctx, bos, protocol) = match self.protocol {
            ProtocolName::LlamaCpp => (512, bos, Protocol::LlamaCpp),
            ProtocolName::Gptq => (2048, None, Protocol::Gptq),
        };
        let mut windows = Windows::new(tokens, self.ctx.unwrap_or(n_ctx), bos)?.scored_by(protocol);
        if let Some(count) = self.windows {
            windows.truncate(count);
        }
        Ok(windows)
    }
}

/// The numbers of one evaluation.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Protocol and its settings.
    pub protocol: String,
    /// Windows scored.
    pub windows: usize,
    /// Tokens predicted.
    pub tokens: usize,
    /// The player.
    pub player: String,
    /// Perplexity of the model.
    pub perplexity: f64,
    /// Its standard error.
    pub perplexity_error: f64,
    /// Perplexity of runs of positions.
    pub by_position: Vec<PositionFacts>,
    /// Distance to the reference, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Distance>,
    /// Signs of a broken forward pass.
    pub broken: Vec<String>,
}

/// The perplexity of a run of positions of all windows.
#[derive(Debug, Serialize)]
pub struct PositionFacts {
    /// The first position, whose logits predict the token after it.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// Their perplexity.
    pub perplexity: f64,
    /// Its standard error.
    pub error: f64,
}

/// How far a model is from itself when it is played as for generation.
#[derive(Debug, Serialize)]
pub struct Floor {
    /// The player, beside the exact one.
    pub player: String,
    /// Mean Kullback-Leibler divergence from the exact player, in nats.
    pub kl_mean: f64,
    /// 99th percentile.
    pub kl_99: f64,
}

/// How far a model is from its reference.
#[derive(Debug, Serialize)]
pub struct Distance {
    /// Perplexity of the reference.
    pub perplexity: f64,
    /// Mean Kullback-Leibler divergence, in nats.
    pub kl_mean: f64,
    /// Its standard error.
    pub kl_mean_error: f64,
    /// Median.
    pub kl_median: f64,
    /// 99th percentile.
    pub kl_99: f64,
    /// Largest.
    pub kl_max: f64,
    /// Share of positions where both prefer the same token.
    pub top1_agreement: f64,
    /// Its standard error.
    pub top1_error: f64,
    /// Mean difference of the negative log-likelihood, paired by token.
    pub delta_nll: f64,
    /// Its standard error.
    pub delta_nll_error: f64,
    /// The distance of the reference from itself, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
}

impl Eval {
    /// Scores the text.
    ///
    /// # Errors
    /// Whatever is wrong with a model or the text.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let candidate = open::open(&self.model, output)?;
        let windows = self.text.windows(&candidate)?;
        let facts = match &self.reference {
            None => alone(candidate, &windows, &self.play, output)?,
            Some(reference) => {
                let reference = open::open(reference, output)?;
                let plan = self.floor.then(|| reference.model.plan.clone());
                let mut facts = against(reference, candidate, &windows, &self.play, output)?;
                if let (Some(plan), Some(distance)) = (plan, &mut facts.reference) {
                    distance.floor = Some(floor(plan, &windows, &self.play, output)?);
                }
                facts
            }
        };
        output.result(&facts, facts_text)?;
        Ok(if facts.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
    }
}

/// The distance of a model played as for generation from the same model played exactly.
fn floor(plan: Plan, windows: &Windows, play: &PlayOptions, output: Output) -> anyhow::Result<Floor> {
    let play = PlayOptions { activations: None, kv: None, ..play.clone() };
    let make = |purpose| player::make(plan.clone(), &play, purpose, cache_tokens(windows), output);
    let (mut exact, mut coarse) = (make(Purpose::Evaluate)?, make(Purpose::Generate)?);
    let bar = output.progress("floor", total(windows), Unit::Count);
    let result = compare(&mut *exact, &mut *coarse, windows, ROWS, |so_far| {
        bar.set_position(so_far.kl.len() as u64);
    })?;
    bar.finish_and_clear();
    let [kl_99] = result.kl_quantiles([0.99]);
    Ok(Floor { player: coarse.describe(), kl_mean: result.mean_kl().value, kl_99 })
}

/// Evaluates one model.
///
/// # Errors
/// As [`Eval::run`].
pub fn alone(model: Opened, windows: &Windows, play: &PlayOptions, output: Output) -> anyhow::Result<Facts> {
    let mut player = player::make(model.model.plan, play, Purpose::Evaluate, cache_tokens(windows), output)?;
    let bar = output.progress("scoring", total(windows), Unit::Count);
    let result = perplexity(&mut *player, windows, ROWS, |so_far| bar.set_position(so_far.nll.len() as u64))?;
    bar.finish_and_clear();
    Ok(facts(&player.describe(), windows, &result, None))
}

/// Evaluates a model against a reference.
///
/// # Errors
/// As [`Eval::run`].
pub fn against(
    reference: Opened,
    candidate: Opened,
    windows: &Windows,
    play: &PlayOptions,
    output: Output,
) -> anyhow::Result<Facts> {
    let context = cache_tokens(windows);
    let mut reference = player::make(
        reference.model.plan,
        &PlayOptions { activations: None, kv: None, ..play.clone() },
        Purpose::Evaluate,
        context,
        output,
    )?;
    let mut candidate = player::make(candidate.model.plan, play, Purpose::Evaluate, context, output)?;
    let bar = output.progress("comparing", total(windows), Unit::Count);
    let result = compare(&mut *reference, &mut *candidate, windows, ROWS, |so_far| {
        bar.set_position(so_far.kl.len() as u64);
    })?;
    bar.finish_and_clear();
    Ok(facts(&candidate.describe(), windows, &result.candidate, Some(&result)))
}

fn cache_tokens(windows: &Windows) -> usize {
    windows.n_ctx().max(ROWS)
}

fn total(windows: &Windows) -> u64 {
    (windows.count() * windows.scored().len()) as u64
}

fn facts(player: &str, windows: &Windows, result: &Perplexity, comparison: Option<&Comparison>) -> Facts {
    let broken: Vec<Broken> = match comparison {
        Some(comparison) => comparison.broken(),
        None => result.broken().into_iter().collect(),
    };
    let perplexity = result.perplexity();
    Facts {
        protocol: match windows.protocol() {
            Protocol::LlamaCpp => {
                format!("llama.cpp perplexity, ctx {}, second half scored", windows.n_ctx())
            }
            Protocol::Gptq => format!("GPTQ perplexity, ctx {}, all but the first scored", windows.n_ctx()),
        },
        windows: windows.count(),
        tokens: result.nll.len(),
        player: player.to_owned(),
        perplexity: perplexity.value,
        perplexity_error: perplexity.error,
        by_position: result.by_position(PARTS).into_iter().map(PositionFacts::from).collect(),
        reference: comparison.map(distance),
        broken: broken.iter().map(Broken::to_string).collect(),
    }
}

impl From<PartPerplexity> for PositionFacts {
    fn from(part: PartPerplexity) -> PositionFacts {
        let (first, last) = (part.positions.start, part.positions.end - 1);
        PositionFacts { first, last, perplexity: part.perplexity.value, error: part.perplexity.error }
    }
}

fn distance(comparison: &Comparison) -> Distance {
    let (kl, agreement, delta) = (comparison.mean_kl(), comparison.agreement(), comparison.delta_nll());
    let [median, high, max] = comparison.kl_quantiles([0.5, 0.99, 1.0]);
    Distance {
        perplexity: comparison.reference.perplexity().value,
        kl_mean: kl.value,
        kl_mean_error: kl.error,
        kl_median: median,
        kl_99: high,
        kl_max: max,
        top1_agreement: agreement.value,
        top1_error: agreement.error,
        delta_nll: delta.value,
        delta_nll_error: delta.error,
        floor: None,
    }
}

/// The numbers as text.
pub fn facts_text(facts: &Facts) -> String {
    let mut text = format!(
        "{}: {} windows, {} tokens, on {}\nperplexity     {:.4} ± {:.4}\n",
        facts.protocol, facts.windows, facts.tokens, facts.player, facts.perplexity, facts.perplexity_error,
    );
    let parts: Vec<String> = facts
        .by_position
        .iter()
        .map(|part| format!("{}-{} {:.2}", part.first, part.last, part.perplexity))
        .collect();
    text.push_str(&format!("by position    {}\n", parts.join(", ")));
    if let Some(distance) = &facts.reference {
        text.push_str(&format!(
            "reference      {:.4}  (delta nll {:+.5} ± {:.5})\n",
            distance.perplexity, distance.delta_nll, distance.delta_nll_error,
        ));
        text.push_str(&format!(
            "KL             mean {:.6} ± {:.6}, median {:.6}, 99 % {:.5}, max {:.4}\n",
            distance.kl_mean, distance.kl_mean_error, distance.kl_median, distance.kl_99, distance.kl_max,
        ));
        text.push_str(&format!(
            "top-1          {:.2} % ± {:.2}\n",
            100.0 * distance.top1_agreement,
            100.0 * distance.top1_error,
        ));
        if let Some(floor) = &distance.floor {
            text.push_str(&format!(
                "floor          KL mean {:.6}, 99 % {:.5}: the reference from itself, played on {}\n",
                floor.kl_mean, floor.kl_99, floor.player,
            ));
        }
    }
    for sign in &facts.broken {
        text.push_str(&format!("broken forward pass: {sign}\n"));
    }
    text
}
