//! Serves many requests from one player: schedule, play, sample, repeat.
//!
//! What a sequence gets depends on its request alone: not on what else runs, on how its prompt was
//! cut into chunks, or on whether it was preempted (as far as the player's own rows do not depend
//! on each other), or on whether the player chooses tokens itself.
//!
//! ```text
//!  a player that chooses:  submit 1 | submit 2, collect 1 | submit 3, collect 2 | ...  one call of step each
//! ```

use marlin_kernel::{Batch, Chooser, Player, sample::Choice};

use crate::{
    BadLogits, Error, Finish, Limits, Logprobs, Request, SequenceId, Usage,
    flight::Flight,
    sampler::Scratch,
    scheduler::{Chunk, Scheduler},
    sequence::Sequence,
};

/// What happened to a sequence in a step: a token, its end, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The sequence.
    pub sequence: SequenceId,
    /// The token it generated; `None` when its logits were unusable.
    pub token: Option<u32>,
    /// The token's log-probabilities, if the request asked for them.
    pub logprobs: Option<Logprobs>,
    /// Why the sequence ended; nothing more comes of it then, and its pages are free.
    pub finish: Option<Finish>,
}

/// A player and the requests it serves.
pub struct Engine {
    player: Box<dyn Player>,
    scheduler: Scheduler,
    scratch: Scratch,
    /// The batch that the player was given last, if it was not asked for its tokens yet.
    flight: Option<Flight>,
    vocab_size: usize,
    next_id: u64,
}

impl Engine {
    /// An engine that owns all pages of the player's caches.
    ///
    /// # Errors
    /// [`Error::Limits`] when the limits or the player leave no room for any request.
    pub fn new(player: Box<dyn Player>, limits: Limits) -> Result<Engine, Error> {
        let vocab_size = player.plan().vocab_size();
        if vocab_size == 0 {
            return Err(Error::Limits {
                what: "vocabulary",
                found: 0,
                expected: "a plan with logits".to_owned(),
            });
        }
        let scheduler = Scheduler::new(limits, player.pages(), player.page_size())?;
        let scratch = Scratch::default();
        Ok(Engine { player, scheduler, scratch, flight: None, vocab_size, next_id: 0 })
    }

    /// Queues a request.
    ///
    /// # Errors
    /// [`Error::Request`] when it can never be served: it is longer than the context, or a number is
    /// out of its range.
    pub fn add(&mut self, request: Request) -> Result<SequenceId, Error> {
        let context = self.scheduler.context();
        request.check(self.vocab_size, context)?;
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.scheduler.add(Sequence::new(id, request, context));
        Ok(id)
    }

    /// Plays one batch and returns what came of it, at most one event a sequence. Prompts longer than
    /// a batch take several steps before their first event.
    ///
    /// If the player chooses tokens itself and all sequences of the batch allow it, what is returned is
    /// of the batch before: the player is given the next one first, so that it never waits for the
    /// host. An idle engine's player may be left with one batch whose sequences have ended; a step, of
    /// other requests or of none, collects it.
    ///
    /// # Errors
    /// [`Error::Player`], [`Error::Logits`] or [`Error::Tokens`] when a batch failed as a whole: no
    /// sequence has changed, and the step can be tried again or the sequences cancelled. Unusable
    /// logits of one sequence end that sequence only, see [`Finish::Failed`].
    pub fn step(&mut self) -> Result<Vec<Event>, Error> {
        let (mut batch, chunks) = self.scheduler.schedule(self.flight.is_none());
        let next = match self.choices(&chunks) {
            _ if chunks.is_empty() => None,
            Some(choices) => {
                batch.choices = choices;
                chooser(&mut self.player).submit(&batch)?;
                Some(Flight::depart(&mut self.scheduler, &chunks))
            }
            // The host's turn comes when it knows all tokens.
            None if self.flight.is_none() => return self.play(&batch, &chunks),
            None => None,
        };
        match std::mem::replace(&mut self.flight, next) {
            Some(flight) => self.collect(flight),
            None => Ok(Vec::new()),
        }
    }

    /// Ends a sequence at once and frees its pages. Returns whether it was there.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        self.scheduler.remove(id).is_some()
    }

    /// Whether no sequence waits or runs.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// The longest sequence there can be: prompt and answer together, in tokens.
    pub fn context(&self) -> usize {
        self.scheduler.context()
    }

    /// Sequences and pages at this moment.
    pub fn usage(&self) -> Usage {
        self.scheduler.usage()
    }

    /// The player.
    pub fn player(&self) -> &dyn Player {
        &*self.player
    }

    /// How the player chooses the tokens of a batch; `None` if it cannot.
    fn choices(&mut self, chunks: &[Chunk]) -> Option<Vec<Choice>> {
        self.player.chooser()?;
        let last = chunks.iter().filter(|chunk| chunk.last);
        last.map(|chunk| self.scheduler.sequence(chunk.index).choice()).collect()
    }

    /// What came of a batch that was submitted, once it has been played.
    fn collect(&mut self, flight: Flight) -> Result<Vec<Event>, Error> {
        let tokens = chooser(&mut self.player).collect().map_err(Error::from);
        let tokens = tokens.and_then(|tokens| match (tokens.len(), flight.outputs.len()) {
            (found, outputs) if found == outputs => Ok(tokens),
            (found, outputs) => Err(Error::Tokens { player: self.player.describe(), found, outputs }),
        });
        let tokens = match tokens {
            Ok(tokens) => tokens,
            Err(error) => {
                // What was submitted since goes on from tokens that nobody will know.
                if let Some(next) = self.flight.take() {
                    let _ = chooser(&mut self.player).collect();
                    next.take_back(&mut self.scheduler);
                }
                flight.take_back(&mut self.scheduler);
                return Err(error);
            }
        };
        let mut events = Vec::new();
        for (id, token) in flight.outputs.into_iter().zip(tokens) {
            // A sequence that has ended since has no use for the token.
            if let Some(sequence) = self.scheduler.find(id) {
                sequence.in_flight -= 1;
                let token = Some(token).filter(|&token| (token as usize) < self.vocab_size);
                events.push(accept(sequence, token.ok_or(BadLogits::Unusable)));
            }
        }
        self.scheduler.remove_finished();
        Ok(events)
    }

    /// Plays a batch, waits for its logits and samples from them.
    fn play(&mut self, batch: &Batch, chunks: &[Chunk]) -> Result<Vec<Event>, Error> {
        let logits = self.player.play(batch)?;
        let rows = batch.outputs.len();
        if logits.len() != rows * self.vocab_size {
            let player = self.player.describe();
            return Err(Error::Logits { player, found: logits.len(), rows, vocab_size: self.vocab_size });
        }
        let mut rows = logits.chunks_exact(self.vocab_size);
        let mut events = Vec::new();
        for chunk in chunks {
            let sequence = self.scheduler.sequence_mut(chunk.index);
            sequence.cached += chunk.len;
            if chunk.last {
                let row = rows.next().expect("one row of logits for each last chunk");
                events.push(sample(sequence, row, &mut self.scratch));
            }
        }
        self.scheduler.remove_finished();
        Ok(events)
    }
}

fn chooser(player: &mut Box<dyn Player>) -> &mut dyn Chooser {
    player.chooser().expect("a player that could choose still can")
}

/// Extends the sequence by a token that the player chose, or ends it.
fn accept(sequence: &mut Sequence, token: Result<u32, BadLogits>) -> Event {
    if let Ok(token) = token {
        sequence.sampler.accept(token);
    }
    event(sequence, token.map(|token| (token, None)))
}

/// Extends the sequence by one token, or ends it.
fn sample(sequence: &mut Sequence, logits: &[f32], scratch: &mut Scratch) -> Event {
    let choice = sequence.sampler.sample(logits, scratch).and_then(|token| {
        let logprobs = sequence.logprobs.map(|top| Logprobs::of(logits, token, top, scratch));
        Ok((token, logprobs.transpose()?))
    });
    event(sequence, choice)
}

/// Notes the token, or why there is none, and tells of it.
fn event(sequence: &mut Sequence, choice: Result<(u32, Option<Logprobs>), BadLogits>) -> Event {
    let (token, logprobs) = match choice {
        Ok((token, logprobs)) => {
            sequence.push(token);
            (Some(token), logprobs)
        }
        Err(bad) => {
            sequence.finish = Some(Finish::Failed(bad));
            (None, None)
        }
    };
    Event { sequence: sequence.id, token, logprobs, finish: sequence.finish.clone() }
}
