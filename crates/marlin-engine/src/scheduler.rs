//! Decides what the next batch plays: continuous batching with chunked prefill.
//!
//! Sequences stand in order of age and the running ones come first, so three rules make it fair and
//! free of deadlock:
//!
//! - the oldest waiting sequence is admitted next, when there are pages for all its tokens;
//! - when a running sequence needs a page and none is free, the youngest running one gives all of
//!   its pages back and waits (its tokens are played again later);
//! - one token of every decoding sequence goes first, then prefill fills the batch, oldest first
//!   (arXiv 2308.16369).
//!
//! The oldest is never preempted by another and fits alone (requests are checked when added), so it
//! advances in every step, and after it the next. While a batch is in flight nothing is preempted:
//! its pages are in use until it has been collected.

use marlin_kernel::{Batch, SequenceRows};

use crate::{
    Error,
    pages::{Page, PagePool},
    sequence::{Sequence, SequenceId},
};

/// Limits of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of a batch: prompts are played in chunks of at most this many. At least `max_sequences`.
    pub max_batch_tokens: usize,
    /// Sequences that run at once, at least 1.
    pub max_sequences: usize,
    /// Tokens of a sequence, prompt and answer together; the player's cache may hold fewer.
    pub max_context: usize,
}

impl Default for Limits {
    /// 512 tokens a batch, 32 sequences, as long as the cache holds.
    fn default() -> Self {
        Limits { max_batch_tokens: 512, max_sequences: 32, max_context: usize::MAX }
    }
}

/// What an engine is doing, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sequences that hold pages.
    pub running: usize,
    /// Sequences that wait for pages.
    pub waiting: usize,
    /// Pages nobody holds.
    pub pages_free: usize,
    /// Pages of the cache.
    pub pages_total: usize,
    /// Times a running sequence had to give its pages back, since the start.
    pub preemptions: u64,
}

/// Tokens of one sequence in a batch.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Index of the sequence.
    pub index: usize,
    /// Tokens played.
    pub len: usize,
    /// Whether the sequence's last token is among them: the next is sampled from its logits.
    pub last: bool,
}

#[derive(Debug)]
pub(crate) struct Scheduler {
    /// In order of age; the first `running` hold pages for all their tokens, the others none.
    sequences: Vec<Sequence>,
    running: usize,
    pool: PagePool,
    page_size: usize,
    limits: Limits,
    preemptions: u64,
}

impl Scheduler {
    /// A scheduler over `pages` pages of `page_size` tokens.
    pub fn new(limits: Limits, pages: usize, page_size: usize) -> Result<Scheduler, Error> {
        let Limits { max_batch_tokens, max_sequences, max_context } = limits;
        let refuse = |what, found, expected: String| Err(Error::Limits { what, found, expected });
        let Ok(count) = u32::try_from(pages) else {
            return refuse("pages", pages, format!("at most {}", u32::MAX));
        };
        for (what, found) in [("pages", pages), ("page size", page_size), ("max_sequences", max_sequences)] {
            if found == 0 {
                return refuse(what, found, "at least 1".to_owned());
            }
        }
        if max_batch_tokens < max_sequences {
            let expected = format!("at least max_sequences, {max_sequences}");
            return refuse("max_batch_tokens", max_batch_tokens, expected);
        }
        if max_context < 2 {
            return refuse("max_context", max_context, "at least 2".to_owned());
        }
        let pool = PagePool::new(count);
        Ok(Scheduler { sequences: Vec::new(), running: 0, pool, page_size, limits, preemptions: 0 })
    }

    /// The longest sequence there can be, in tokens.
    pub fn context(&self) -> usize {
        // Positions are 32 bits wide.
        let cache = self.pool.total().saturating_mul(self.page_size).min(u32::MAX as usize);
        self.limits.max_context.min(cache)
    }

    /// Queues a sequence that is younger than all others.
    pub fn add(&mut self, sequence: Sequence) {
        debug_assert!(self.sequences.last().is_none_or(|last| last.id < sequence.id));
        self.sequences.push(sequence);
    }

    /// Takes a sequence out, wherever it is.
    pub fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let index = self.sequences.binary_search_by_key(&id, |sequence| sequence.id).ok()?;
        if index < self.running {
            self.running -= 1;
        }
        Some(self.sequences.remove(index))
    }

    /// Takes out the running sequences that have finished.
    pub fn remove_finished(&mut self) {
        let finished = self.sequences.extract_if(.., |sequence| sequence.finish.is_some()).count();
        self.running -= finished;
    }

    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    pub fn usage(&self) -> Usage {
        Usage {
            running: self.running,
            waiting: self.sequences.len() - self.running,
            pages_free: self.pool.free(),
            pages_total: self.pool.total(),
            preemptions: self.preemptions,
        }
    }

    pub fn sequence(&self, index: usize) -> &Sequence {
        &self.sequences[index]
    }

    pub fn sequence_mut(&mut self, index: usize) -> &mut Sequence {
        &mut self.sequences[index]
    }

    /// The sequence of that name, if it has not ended.
    pub fn find(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        let index = self.sequences.binary_search_by_key(&id, |sequence| sequence.id).ok()?;
        Some(&mut self.sequences[index])
    }

    /// The next batch, and whose tokens are in it; empty when there is nothing to do, or when that
    /// takes preempting and may not. What is scheduled counts as played only when told so.
    pub fn schedule(&mut self, may_preempt: bool) -> (Batch, Vec<Chunk>) {
        if !self.grow(may_preempt) {
            return (Batch::default(), Vec::new());
        }
        self.admit();
        let chunks = self.chunks();
        (self.batch(&chunks), chunks)
    }

    /// Gives every running sequence pages for all its tokens, oldest first, preempting the youngest.
    /// Returns whether all that run have them.
    fn grow(&mut self, may_preempt: bool) -> bool {
        let mut index = 0;
        while index < self.running {
            match self.pages_for(index) {
                Some(pages) => {
                    self.sequences[index].pages.extend(pages);
                    index += 1;
                }
                None if may_preempt => self.preempt_youngest(),
                None => return false,
            }
        }
        true
    }

    fn preempt_youngest(&mut self) {
        self.running -= 1;
        self.sequences[self.running].release();
        self.preemptions += 1;
    }

    /// Lets waiting sequences run, oldest first, while pages last. One page for each that runs
    /// already stays free: it may need it soon, and preempting costs more than waiting.
    fn admit(&mut self) {
        while self.running < self.sequences.len().min(self.limits.max_sequences) {
            let needed = self.pages_missing(self.running);
            if self.pool.free() < needed + self.running {
                break;
            }
            let Some(pages) = self.pages_for(self.running) else { break };
            self.sequences[self.running].pages = pages;
            self.running += 1;
        }
    }

    fn pages_missing(&self, index: usize) -> usize {
        let sequence = &self.sequences[index];
        // A failed batch may leave pages for a token that is not known any more.
        sequence.playable().div_ceil(self.page_size).saturating_sub(sequence.pages.len())
    }

    fn pages_for(&self, index: usize) -> Option<Vec<Page>> {
        self.pool.take(self.pages_missing(index))
    }

    /// Shares the batch out: decoding sequences first, then prefill, each oldest first.
    fn chunks(&self) -> Vec<Chunk> {
        let running = &self.sequences[..self.running];
        let (decode, prefill): (Vec<_>, Vec<_>) =
            running.iter().enumerate().partition(|(_, sequence)| sequence.uncached() == 1);
        let mut room = self.limits.max_batch_tokens;
        let mut chunks = Vec::with_capacity(running.len());
        for (index, sequence) in decode.into_iter().chain(prefill) {
            let len = sequence.uncached().min(room);
            if len > 0 {
                chunks.push(Chunk { index, len, last: len == sequence.uncached() });
                room -= len;
            }
        }
        chunks
    }

    fn batch(&self, chunks: &[Chunk]) -> Batch {
        let mut batch = Batch::default();
        for chunk in chunks {
            let sequence = &self.sequences[chunk.index];
            let (first, end) = (sequence.cached, sequence.cached + chunk.len);
            let row = batch.tokens.len();
            batch.tokens.extend((first..end).map(|position| sequence.token(position)));
            batch.positions.extend(first as u32..end as u32);
            let rows = row..batch.tokens.len();
            if chunk.last {
                batch.outputs.push(rows.end as u32 - 1);
            }
            batch
                .sequences
                .push(SequenceRows { rows, pages: sequence.pages.iter().map(Page::index).collect() });
        }
        batch
    }
}
