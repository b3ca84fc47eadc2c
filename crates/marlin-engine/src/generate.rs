//! One answer at a time, as an iterator over its pieces, with its timings.

use std::time::{Duration, Instant};

use crate::{Engine, Error, Finish, Piece, Request, SequenceId, TextStream};

/// An answer being generated on an engine that does nothing else meanwhile. Dropping it before its
/// end cancels the sequence.
pub struct Generation<'a> {
    engine: &'a mut Engine,
    text: TextStream,
    sequence: SequenceId,
    timings: Timings,
    started: Instant,
    finish: Option<Finish>,
}

/// How long an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated so far, a stop token included.
    pub new_tokens: usize,
    /// From the request to the first token.
    pub first_token: Duration,
    /// From the first token to the last so far.
    pub decode: Duration,
}

impl Timings {
    /// Prompt tokens per second; `None` before the first token.
    pub fn prompt_rate(&self) -> Option<f64> {
        rate(self.prompt_tokens, self.first_token)
    }

    /// Tokens per second after the first; `None` before the second.
    pub fn decode_rate(&self) -> Option<f64> {
        rate(self.new_tokens.saturating_sub(1), self.decode)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64())
}

impl<'a> Generation<'a> {
    /// Queues `request`; iterating generates.
    ///
    /// # Errors
    /// [`Error::Request`] when the request can never be served or the engine serves others, whose
    /// events would be lost.
    pub fn start(
        engine: &'a mut Engine,
        request: Request,
        text: TextStream,
    ) -> Result<Generation<'a>, Error> {
        if !engine.is_idle() {
            let usage = engine.usage();
            let found = format!("{} sequences", usage.running + usage.waiting);
            return Err(Error::Request { what: "engine", found, expected: "an idle one".to_owned() });
        }
        let timings = Timings { prompt_tokens: request.prompt.len(), ..Timings::default() };
        let sequence = engine.add(request)?;
        Ok(Generation { engine, text, sequence, timings, started: Instant::now(), finish: None })
    }

    /// Time and tokens so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Why the answer ended, once it has.
    pub fn finish(&self) -> Option<&Finish> {
        self.finish.as_ref()
    }

    fn advance(&mut self) -> Result<Piece, Error> {
        let event = loop {
            if let Some(event) = self.engine.step()?.pop() {
                break event;
            }
        };
        let elapsed = self.started.elapsed();
        if event.token.is_some() {
            self.timings.new_tokens += 1;
            match self.timings.new_tokens {
                1 => self.timings.first_token = elapsed,
                _ => self.timings.decode = elapsed - self.timings.first_token,
            }
        }
        let piece = self.text.push(event);
        self.finish.clone_from(&piece.finish);
        Ok(piece)
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Piece, Error>;

    /// The next piece; after an error the same step is tried again.
    fn next(&mut self) -> Option<Self::Item> {
        self.finish.is_none().then(|| self.advance())
    }
}

impl Drop for Generation<'_> {
    /// The engine does not know of a stop string, and an answer may be abandoned.
    fn drop(&mut self) {
        self.engine.cancel(self.sequence);
    }
}
