//! Serves many requests from one player: schedule, play, sample, repeat.
//!
//! What a sequence gets depends on its request alone: not on what else runs, on how its prompt was
//! cut into chunks, or on whether it was preempted (as far as the player's own rows do not depend
//! on each other).

use marlin_kernel::Player;

use crate::{
    Error, Finish, Limits, Logprobs, Request, SequenceId, Usage,
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
        Ok(Engine { player, scheduler, scratch: Scratch::default(), vocab_size, next_id: 0 })
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
    /// # Errors
    /// [`Error::Player`] or [`Error::Logits`] when the batch failed as a whole: no sequence has
    /// changed, and the step can be tried again or the sequences cancelled. Unusable logits of one
    /// sequence end that sequence only, see [`Finish::Failed`].
    pub fn step(&mut self) -> Result<Vec<Event>, Error> {
        let (batch, chunks) = self.scheduler.schedule();
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        let logits = self.player.play(&batch)?;
        let rows = batch.outputs.len();
        if logits.len() != rows * self.vocab_size {
            let player = self.player.describe();
            return Err(Error::Logits { player, found: logits.len(), rows, vocab_size: self.vocab_size });
        }
        Ok(self.advance(&chunks, &logits))
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

    fn advance(&mut self, chunks: &[Chunk], logits: &[f32]) -> Vec<Event> {
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
        events
    }
}

/// Extends the sequence by one token, or ends it.
fn sample(sequence: &mut Sequence, logits: &[f32], scratch: &mut Scratch) -> Event {
    let choice = sequence.sampler.sample(logits, scratch).and_then(|token| {
        let logprobs = sequence.logprobs.map(|top| Logprobs::of(logits, token, top, scratch));
        Ok((token, logprobs.transpose()?))
    });
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
