//! A batch that a player has been given and not yet been asked for.
//!
//! It names sequences, as their places change meanwhile, and holds its pages: those of a sequence that
//! has ended are free only when nothing writes to them any more.

use crate::{
    pages::Page,
    scheduler::{Chunk, Scheduler},
    sequence::SequenceId,
};

/// What is to be done when the batch is collected, or lost.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The sequences whose next tokens the batch chooses, in the order of its outputs.
    pub outputs: Vec<SequenceId>,
    /// How much of each sequence was cached before.
    cached: Vec<(SequenceId, usize)>,
    /// All pages the batch reads and writes.
    _pages: Vec<Page>,
}

impl Flight {
    /// Notes that the chunks have been submitted.
    pub fn depart(scheduler: &mut Scheduler, chunks: &[Chunk]) -> Flight {
        let mut flight = Flight { outputs: Vec::new(), cached: Vec::new(), _pages: Vec::new() };
        for chunk in chunks {
            let sequence = scheduler.sequence_mut(chunk.index);
            flight.cached.push((sequence.id, sequence.cached));
            flight._pages.extend(sequence.pages.iter().cloned());
            sequence.cached += chunk.len;
            if chunk.last {
                sequence.in_flight += 1;
                sequence.output = flight.outputs.len() as u32;
                flight.outputs.push(sequence.id);
            }
        }
        flight
    }

    /// Takes back what [`Flight::depart`] noted: the chunks have to be played again. Newer flights
    /// must have been taken back before.
    pub fn take_back(self, scheduler: &mut Scheduler) {
        for (id, cached) in self.cached {
            if let Some(sequence) = scheduler.find(id) {
                sequence.cached = cached;
                sequence.in_flight = 0;
            }
        }
    }
}
