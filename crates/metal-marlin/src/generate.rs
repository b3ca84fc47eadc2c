//! What `run`, `chat` and `demo` share: an engine for one answer at a time, and what it says of itself.

use marlin_engine::{Engine, Finish, Generation, Limits, Request, TextStream, Timings};
use marlin_text::Tokenizer;
use serde::Serialize;

use crate::{
    cli::{PlayOptions, SamplingOptions},
    open::Opened,
    output::Output,
    player::{self, Purpose},
};

/// Context that is given room where the user names none.
const DEFAULT_CONTEXT: usize = 4096;

/// Tokens of a prompt that are played at once.
const PROMPT_CHUNK: usize = 512;

/// An engine with the text side of its model.
pub struct Generator {
    engine: Engine,
    /// The model's tokenizer.
    pub tokenizer: Tokenizer,
    eos: Vec<u32>,
}

/// An answer's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Why it ended.
    pub finish: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub new_tokens: usize,
    /// Prompt tokens per second.
    pub prompt_tokens_per_second: Option<f64>,
    /// Tokens per second after the first.
    pub decode_tokens_per_second: Option<f64>,
    /// Seconds to the first token.
    pub first_token_seconds: f64,
    /// The player.
    pub player: String,
}

impl Generator {
    /// Makes a player for `opened`, with `context` tokens of cache.
    ///
    /// # Errors
    /// When the machine does not have the memory.
    pub fn new(
        opened: Opened,
        play: &PlayOptions,
        context: Option<usize>,
        output: Output,
    ) -> anyhow::Result<Generator> {
        let Opened { model, tokenizer, .. } = opened;
        let context = context.unwrap_or(DEFAULT_CONTEXT.min(model.context_length));
        let mut eos = model.eos;
        eos.extend(tokenizer.turn_ends());
        eos.sort_unstable();
        eos.dedup();
        let player = player::make(model.plan, play, Purpose::Generate, context, output)?;
        let limits = Limits { max_batch_tokens: PROMPT_CHUNK, max_context: context, ..Limits::default() };
        Ok(Generator { engine: Engine::new(player, limits)?, tokenizer, eos })
    }

    /// Starts an answer to `prompt`; special tokens of its text count as such.
    ///
    /// # Errors
    /// When the prompt does not fit.
    pub fn start(&mut self, ask: Ask<'_>) -> anyhow::Result<Generation<'_>> {
        let prompt = self.tokenizer.encode(ask.prompt, ask.add_special, true)?;
        let request = Request {
            prompt,
            max_tokens: ask.max_tokens,
            stop_tokens: self.eos.clone(),
            sampling: ask.sampling.sampling(),
            logprobs: ask.logprobs,
        };
        let text = TextStream::new(&self.tokenizer, ask.skip_special, ask.stop)?;
        Ok(Generation::start(&mut self.engine, request, text)?)
    }

    /// The player.
    pub fn player(&self) -> String {
        self.engine.player().describe()
    }
}

/// Why an answer ended, for people.
fn reason(finish: &Finish) -> String {
    match finish {
        Finish::StopToken(_) => "ended by itself".to_owned(),
        Finish::Length => "reached its longest length".to_owned(),
        Finish::StopString => "reached a stop text".to_owned(),
        Finish::Cancelled => "interrupted".to_owned(),
        Finish::Failed(why) => format!("failed: {why}"),
        _ => "ended".to_owned(),
    }
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The text before the answer.
    pub prompt: &'a str,
    /// Whether the tokenizer adds what begins a text (a chat template writes that itself).
    pub add_special: bool,
    /// Whether control tokens are left out of the answer.
    pub skip_special: bool,
    /// The longest answer; `None` for as much as the context holds.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer.
    pub stop: &'a [String],
    /// How tokens are chosen.
    pub sampling: &'a SamplingOptions,
    /// Log-probabilities of this many alternatives.
    pub logprobs: Option<usize>,
}

impl Stats {
    /// Of an answer that ended by `finish`, or was interrupted.
    pub fn new(timings: Timings, finish: Option<&Finish>, player: String) -> Stats {
        Stats {
            finish: finish.map_or("interrupted".to_owned(), reason),
            prompt_tokens: timings.prompt_tokens,
            new_tokens: timings.new_tokens,
            prompt_tokens_per_second: timings.prompt_rate(),
            decode_tokens_per_second: timings.decode_rate(),
            first_token_seconds: timings.first_token.as_secs_f64(),
            player,
        }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        format!(
            "{} prompt tokens at {}/s, {} new at {}/s, first after {:.2} s; {}; {}",
            self.prompt_tokens,
            rate(self.prompt_tokens_per_second),
            self.new_tokens,
            rate(self.decode_tokens_per_second),
            self.first_token_seconds,
            self.finish,
            self.player,
        )
    }
}
