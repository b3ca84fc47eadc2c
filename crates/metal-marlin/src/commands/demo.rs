//! `demo`: the whole way on the built-in miniature: quantize it, measure what it lost, let it write.

use std::process::ExitCode;

use clap::Args;
use marlin_engine::score::Windows;
use marlin_model::Source;
use marlin_quant::Recipe;
use serde::Serialize;

use crate::{
    cli::{Activations, Kv, PlayOptions, SamplingOptions},
    commands::{
        eval,
        quantize::{self, Outcome},
    },
    generate::{Ask, Generator, Stats},
    miniature, open,
    output::{Output, size},
};

/// Tokens of an evaluation window.
const CTX: usize = 512;

/// Windows of the held-out text that are scored: enough for a standard error of some percent.
const WINDOWS: usize = 16;

/// What the miniature continues.
const PROMPT: &str = "Mr. Darcy";

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// How the model is played.
    #[command(flatten)]
    pub play: PlayOptions,
}

#[derive(Serialize)]
struct Facts {
    model: &'static str,
    bytes_before: u64,
    bytes_after: u64,
    bits_per_weight: f64,
    mean_relative_error: Option<f64>,
    quantize_seconds: f64,
    quality: eval::Facts,
    prompt: &'static str,
    text: String,
    #[serde(flatten)]
    stats: Stats,
}

impl Demo {
    /// Runs it all; nothing is left on the disk.
    ///
    /// # Errors
    /// When a temporary directory cannot be written; anything else is a bug.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let dir = tempfile::tempdir()?;
        let small = dir.path().join("fp4");
        let original = miniature::unpack()?;
        let int8 = marlin_format::by_name("int8")?;
        let recipe = Recipe { linear: marlin_format::by_name("fp4")?, embed: int8, head: int8 };
        let out = (small.as_path(), false);
        let outcome = quantize::quantize(
            &Source::open(original.path())?,
            out,
            &recipe,
            None,
            self.play.threads,
            output,
        )?;

        let path = small.to_string_lossy().into_owned();
        let (before, after) = (open::open(miniature::NAME, output)?, open::open(&path, output)?);
        let tokens = after.tokenizer.encode(miniature::HELD_OUT, true, false)?;
        let mut windows = Windows::new(tokens, CTX, None)?;
        windows.truncate(WINDOWS);
        let exact = PlayOptions { activations: None, kv: None, ..self.play.clone() };
        let quality = eval::against(before, after, &windows, &exact, output)?;

        // f32 where the user has no wish, so that every device writes the same text.
        let activations = self.play.activations.or(Some(Activations::F32));
        let kv = self.play.kv.or(Some(Kv::F32));
        let play = PlayOptions { activations, kv, ..self.play };
        let mut generator = Generator::new(open::open(&path, output)?, &play, None, output)?;
        let (text, stats) = write(&mut generator)?;
        let facts = facts(
            &outcome,
            std::fs::metadata(original.path().join("model.safetensors"))?.len(),
            quality,
            text,
            stats,
        );
        output.result(&facts, text_of)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write(generator: &mut Generator) -> anyhow::Result<(String, Stats)> {
    let player = generator.player();
    // Small models repeat themselves.
    let sampling = SamplingOptions { repetition_penalty: 1.2, ..SamplingOptions::greedy() };
    let ask = Ask {
        prompt: PROMPT,
        add_special: true,
        skip_special: true,
        max_tokens: Some(72),
        stop: &[],
        sampling: &sampling,
        logprobs: None,
    };
    let mut answer = generator.start(ask)?;
    let mut text = String::new();
    for piece in answer.by_ref() {
        text.push_str(&piece?.text);
    }
    let stats = Stats::new(answer.timings(), answer.finish(), player);
    Ok((text, stats))
}

fn facts(outcome: &Outcome, bytes_before: u64, quality: eval::Facts, text: String, stats: Stats) -> Facts {
    let report = &outcome.report;
    let fp4 = report.formats.iter().find(|row| row.format == "fp4");
    Facts {
        model: miniature::NAME,
        bytes_before,
        bytes_after: report.len_bytes,
        bits_per_weight: report.bits_per_weight,
        mean_relative_error: fp4.and_then(|row| row.mean_relative_error),
        quantize_seconds: outcome.seconds,
        quality,
        prompt: PROMPT,
        text,
        stats,
    }
}

fn text_of(facts: &Facts) -> String {
    let quality = &facts.quality;
    let mut text = format!(
        "{}: GLM-4.7-Flash's architecture in small, trained on public-domain text\n\n\
         quantized to fp4 in {:.1} s: {} -> {}, {:.3} bits per weight, relative error {:.4}\n",
        facts.model,
        facts.quantize_seconds,
        size(facts.bytes_before),
        size(facts.bytes_after),
        facts.bits_per_weight,
        facts.mean_relative_error.unwrap_or(f64::NAN),
    );
    if let Some(distance) = &quality.reference {
        text.push_str(&format!(
            "perplexity {:.3} -> {:.3} on {} held-out tokens\n\
             KL {:.5} mean, {:.5} median, {:.4} at 99 %; top-1 agreement {:.1} %\n",
            distance.perplexity,
            quality.perplexity,
            quality.tokens,
            distance.kl_mean,
            distance.kl_median,
            distance.kl_99,
            100.0 * distance.top1_agreement,
        ));
    }
    text.push_str(&format!("\n{}{}\n\n{}\n", facts.prompt, facts.text, facts.stats.line()));
    text
}
