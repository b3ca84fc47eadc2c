//! `run`: completes a prompt as plain text, without a chat template.

use std::{
    io::{Read, Write},
    process::ExitCode,
    sync::atomic::Ordering,
};

use clap::Args;
use marlin_engine::Logprobs;
use serde::Serialize;

use crate::{
    cli::{PlayOptions, SamplingOptions},
    generate::{Ask, Generator, Stats},
    interrupt, open,
    output::Output,
};

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// A directory with safetensors, a .gguf file, a hub id, or marlin-mini.
    pub model: String,
    /// The text to complete; - reads it from standard input.
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: String,
    /// The longest answer, in tokens.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_tokens: usize,
    /// End the answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Room for prompt and answer together, in tokens.
    #[arg(long, value_name = "TOKENS")]
    pub ctx: Option<usize>,
    /// With --json, log-probabilities of each token and this many alternatives.
    #[arg(long, value_name = "N")]
    pub logprobs: Option<usize>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingOptions,
    /// How the model is played.
    #[command(flatten)]
    pub play: PlayOptions,
}

#[derive(Serialize)]
struct Completion {
    prompt: String,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Token>,
    #[serde(flatten)]
    stats: Stats,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: Option<String>,
    logprob: f32,
    top: Vec<(u32, f32)>,
}

impl Run {
    /// Streams the completion.
    ///
    /// # Errors
    /// Whatever is wrong with the model or the prompt.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let prompt = match self.prompt.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text
            }
            prompt => prompt.to_owned(),
        };
        let opened = open::open(&self.model, output)?;
        let mut generator = Generator::new(opened, &self.play, self.ctx, output)?;
        let (player, tokenizer) = (generator.player(), generator.tokenizer.clone());
        let ask = Ask {
            prompt: &prompt,
            add_special: true,
            skip_special: true,
            max_tokens: Some(self.max_tokens),
            stop: &self.stop,
            sampling: &self.sampling,
            logprobs: self.logprobs,
        };
        let stop = interrupt::flag()?;
        let mut answer = generator.start(ask)?;
        let (mut text, mut tokens) = (String::new(), Vec::new());
        while let Some(piece) = answer.next().filter(|_| !stop.load(Ordering::Relaxed)) {
            let piece = piece?;
            if !output.json() {
                print!("{}", piece.text);
                std::io::stdout().flush()?;
            }
            text.push_str(&piece.text);
            if let (Some(id), Some(Logprobs { logprob, top })) = (piece.token, piece.logprobs) {
                tokens.push(Token { id, text: tokenizer.token_text(id), logprob, top });
            }
        }
        let stats = Stats::new(answer.timings(), answer.finish(), player);
        if output.json() {
            output.result(&Completion { prompt, text, tokens, stats }, |_| String::new())?;
        } else {
            println!();
            output.note(stats.line());
        }
        Ok(ExitCode::SUCCESS)
    }
}
