//! `compare`: several quantizations of one model side by side, on the same windows of a text.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::{
    cli::{PlayOptions, SamplingOptions},
    commands::eval::{self, TextOptions},
    generate::{Ask, Generator, Stats},
    open,
    output::{Output, size, table},
};

/// Characters of the text that speed is measured on: some 250 tokens.
const PROMPT_CHARS: usize = 1000;

/// Tokens generated to measure speed.
const NEW_TOKENS: usize = 48;

/// Arguments of `compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// Models, each a directory with safetensors, a .gguf file, a hub id, or marlin-mini.
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
    /// The model they are compared with, usually the unquantized one; the first of them by default.
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<String>,
    /// What is scored.
    #[command(flatten)]
    pub text: TextOptions,
    /// How quality is measured; exact by default. Speed is measured as `run` plays.
    #[command(flatten)]
    pub play: PlayOptions,
}

#[derive(Serialize)]
struct Facts {
    protocol: String,
    windows: usize,
    tokens: usize,
    reference: String,
    reference_perplexity: f64,
    /// What measured quality.
    player: String,
    /// What measured speed.
    speed_player: String,
    models: Vec<ModelFacts>,
}

#[derive(Serialize)]
struct ModelFacts {
    model: String,
    /// Of all tensors a plan uses.
    len_bytes: u64,
    bits_per_weight: f64,
    perplexity: f64,
    perplexity_error: f64,
    kl_mean: f64,
    kl_mean_error: f64,
    kl_99: f64,
    top1_agreement: f64,
    prompt_tokens_per_second: Option<f64>,
    decode_tokens_per_second: Option<f64>,
    broken: Vec<String>,
}

impl Compare {
    /// Scores every model against the reference and lets each write.
    ///
    /// # Errors
    /// Whatever is wrong with a model or the text.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let reference = self.reference.as_ref().unwrap_or(&self.models[0]).clone();
        let mut facts: Option<Facts> = None;
        for model in &self.models {
            let (quality, speed, mut row) =
                self.model(model, &reference, output).with_context(|| model.clone())?;
            let distance = quality.reference.context("a comparison has a reference")?;
            row.broken = quality.broken;
            let facts = facts.get_or_insert_with(|| Facts {
                protocol: quality.protocol,
                windows: quality.windows,
                tokens: quality.tokens,
                reference: reference.clone(),
                reference_perplexity: distance.perplexity,
                player: quality.player,
                speed_player: speed.player,
                models: Vec::new(),
            });
            facts.models.push(row);
        }
        let facts = facts.context("no models")?;
        output.result(&facts, text)?;
        let whole = facts.models.iter().all(|model| model.broken.is_empty());
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(eval::BROKEN) })
    }

    fn model(
        &self,
        model: &str,
        reference: &str,
        output: Output,
    ) -> anyhow::Result<(eval::Facts, Stats, ModelFacts)> {
        let opened = open::open(model, output)?;
        let weights: u64 =
            opened.model.plan.weights.iter().map(|(_, w)| w.rows() as u64 * w.cols() as u64).sum();
        let len_bytes: u64 = opened.model.plan.weights.iter().map(|(_, w)| w.len_bytes() as u64).sum();
        let windows = self.text.windows(&opened)?;
        let truth = open::open(reference, output)?;
        let quality = eval::against(truth, opened, &windows, &self.play, output)?;
        let speed = self.speed(model, output)?;
        let distance = quality.reference.as_ref().context("a comparison has a reference")?;
        let row = ModelFacts {
            model: model.to_owned(),
            len_bytes,
            bits_per_weight: 8.0 * len_bytes as f64 / weights.max(1) as f64,
            perplexity: quality.perplexity,
            perplexity_error: quality.perplexity_error,
            kl_mean: distance.kl_mean,
            kl_mean_error: distance.kl_mean_error,
            kl_99: distance.kl_99,
            top1_agreement: distance.top1_agreement,
            prompt_tokens_per_second: speed.prompt_tokens_per_second,
            decode_tokens_per_second: speed.decode_tokens_per_second,
            broken: Vec::new(),
        };
        Ok((quality, speed, row))
    }

    /// Lets a model continue the start of the text as `run` would.
    fn speed(&self, model: &str, output: Output) -> anyhow::Result<Stats> {
        let text = std::fs::read_to_string(&self.text.text)?;
        let prompt: String = text.chars().take(PROMPT_CHARS).collect();
        let play = PlayOptions { activations: None, kv: None, ..self.play.clone() };
        let mut generator = Generator::new(open::open(model, output)?, &play, None, output)?;
        let player = generator.player();
        let sampling = SamplingOptions::greedy();
        let ask = Ask {
            prompt: &prompt,
            add_special: true,
            skip_special: true,
            max_tokens: Some(NEW_TOKENS),
            stop: &[],
            sampling: &sampling,
            logprobs: None,
        };
        let mut answer = generator.start(ask)?;
        for piece in answer.by_ref() {
            piece?;
        }
        Ok(Stats::new(answer.timings(), answer.finish(), player))
    }
}

fn text(facts: &Facts) -> String {
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
    let row = |model: &ModelFacts| {
        vec![
            model.model.clone(),
            size(model.len_bytes),
            format!("{:.3}", model.bits_per_weight),
            format!("{:.4} ± {:.4}", model.perplexity, model.perplexity_error),
            format!("{:.6} ± {:.6}", model.kl_mean, model.kl_mean_error),
            format!("{:.5}", model.kl_99),
            format!("{:.2} %", 100.0 * model.top1_agreement),
            rate(model.prompt_tokens_per_second),
            rate(model.decode_tokens_per_second),
        ]
    };
    let rows: Vec<Vec<String>> = facts.models.iter().map(row).collect();
    let header =
        ["model", "bytes", "bits/weight", "perplexity", "KL mean", "KL 99 %", "top-1", "prompt/s", "new/s"];
    let mut text = table(&header, &rows);
    text.push_str(&format!(
        "\nagainst {} (perplexity {:.4}): {}, {} windows, {} tokens, on {}; tokens/s on {}\n",
        facts.reference,
        facts.reference_perplexity,
        facts.protocol,
        facts.windows,
        facts.tokens,
        facts.player,
        facts.speed_player,
    ));
    for model in &facts.models {
        for sign in &model.broken {
            text.push_str(&format!("{}: broken forward pass: {sign}\n", model.model));
        }
    }
    text
}
