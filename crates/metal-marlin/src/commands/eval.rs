//! `eval`: perplexity by llama.cpp's protocol, and the distance to a reference on the same windows.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use marlin_engine::score::{Broken, Comparison, Perplexity, Windows, compare, perplexity};
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
const BROKEN: u8 = 3;

/// Arguments of `eval`.
#[derive(Args, Debug)]
pub struct Eval {
    /// A directory with safetensors, a .gguf file, a hub id, or marlin-mini.
    pub model: String,
    /// The text to score, UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// A model to compare with, on the same tokens: usually the unquantized one.
    #[arg(long, value_name = "MODEL2")]
    pub reference: Option<String>,
    /// Tokens of a window; the second half of each is scored.
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    pub ctx: usize,
    /// Score only the first N windows.
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
    /// How it is played; exact by default.
    #[command(flatten)]
    pub play: PlayOptions,
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
    /// Distance to the reference, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Distance>,
    /// Signs of a broken forward pass.
    pub broken: Vec<String>,
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
}

impl Eval {
    /// Scores the text.
    ///
    /// # Errors
    /// Whatever is wrong with a model or the text.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let text = std::fs::read_to_string(&self.text).with_context(|| self.text.display().to_string())?;
        let candidate = open::open(&self.model, output)?;
        let windows = self.windows(&candidate, &text)?;
        let facts = match &self.reference {
            None => alone(candidate, &windows, &self.play, output)?,
            Some(reference) => {
                let reference = open::open(reference, output)?;
                against(reference, candidate, &windows, &self.play, output)?
            }
        };
        output.result(&facts, facts_text)?;
        Ok(if facts.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
    }

    fn windows(&self, model: &Opened, text: &str) -> anyhow::Result<Windows> {
        let tokens = model.tokenizer.encode(text, true, false)?;
        let empty = model.tokenizer.encode("", true, false)?;
        let bos = model.tokenizer.bos().filter(|bos| empty.first() == Some(bos));
        let mut windows = Windows::new(tokens, self.ctx, bos)?;
        if let Some(count) = self.windows {
            windows.truncate(count);
        }
        Ok(windows)
    }
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
        protocol: format!("llama.cpp perplexity, ctx {}, second half scored", windows.n_ctx()),
        windows: windows.count(),
        tokens: result.nll.len(),
        player: player.to_owned(),
        perplexity: perplexity.value,
        perplexity_error: perplexity.error,
        reference: comparison.map(distance),
        broken: broken.iter().map(Broken::to_string).collect(),
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
    }
}

/// The numbers as text.
pub fn facts_text(facts: &Facts) -> String {
    let mut text = format!(
        "{}: {} windows, {} tokens, on {}\nperplexity     {:.4} ± {:.4}\n",
        facts.protocol, facts.windows, facts.tokens, facts.player, facts.perplexity, facts.perplexity_error,
    );
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
    }
    for sign in &facts.broken {
        text.push_str(&format!("broken forward pass: {sign}\n"));
    }
    text
}
