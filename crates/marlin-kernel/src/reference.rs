//! The reference player: plays any plan with the plain references, one obvious loop after another.
//!
//! The oracle for kernels and whole models. Buffers and caches hold f32, kernels accumulate in f64
//! and round once. A buffer that no step and no caller has written since `begin` is NaN.

use std::{collections::VecDeque, ops::Range};

use crate::{
    Batch, Chooser, Error, Player,
    plan::{BufferId, CacheId, Plan, View, WeightId},
};

/// Plays plans slowly and obviously.
#[derive(Debug)]
pub struct ReferencePlayer {
    plan: Plan,
    memory: Memory,
    /// Tokens of submitted batches, oldest first.
    submitted: VecDeque<Vec<u32>>,
}

impl ReferencePlayer {
    /// A player with `pages` cache pages of `page_size` tokens.
    ///
    /// # Errors
    /// [`Error::Step`] when the plan does not hold together.
    pub fn new(plan: Plan, page_size: usize, pages: usize) -> Result<ReferencePlayer, Error> {
        plan.check()?;
        let matrix = |width: usize, rows: usize| Matrix { width, values: vec![f32::NAN; rows * width] };
        let memory = Memory {
            batch: Batch::default(),
            page_size,
            pages,
            buffers: plan.buffers.iter().map(|buffer| matrix(buffer.width, 0)).collect(),
            caches: plan.caches.iter().map(|cache| matrix(cache.width, page_size * pages)).collect(),
        };
        Ok(ReferencePlayer { plan, memory, submitted: VecDeque::new() })
    }
}

impl Player for ReferencePlayer {
    fn describe(&self) -> String {
        "reference, f64 accumulation".to_owned()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn page_size(&self) -> usize {
        self.memory.page_size
    }

    fn pages(&self) -> usize {
        self.memory.pages
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check(&self.plan, self.memory.page_size, self.memory.pages)?;
        let mut batch = batch.clone();
        batch.resolve(&self.chosen(), self.plan.vocabulary())?;
        for (buffer, matrix) in self.plan.buffers.iter().zip(&mut self.memory.buffers) {
            matrix.values.clear();
            matrix.values.resize(batch.rows(buffer.rows) * buffer.width, f32::NAN);
        }
        self.memory.batch = batch;
        Ok(())
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), Error> {
        for step in &self.plan.steps[range] {
            (step.op.kernel().play)(&step.op, &self.plan, &mut self.memory)?;
        }
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, Error> {
        Ok(self.memory.buffers[buffer.0 as usize].values.clone())
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), Error> {
        let held = &mut self.memory.buffers[buffer.0 as usize].values;
        if values.len() != held.len() {
            let (found, expected) = (values.len().to_string(), held.len().to_string());
            return Err(Error::Batch { what: "values written", found, expected });
        }
        held.copy_from_slice(values);
        Ok(())
    }

    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        self.plan.sampling().is_some().then_some(self)
    }
}

impl Chooser for ReferencePlayer {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.check_submission()?;
        self.begin(batch)?;
        self.run(0..self.plan.steps.len())?;
        self.submitted.push_back(self.chosen());
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<u32>, Error> {
        self.submitted.pop_front().ok_or_else(Error::nothing_submitted)
    }
}

impl ReferencePlayer {
    /// What the batch chose that was played last.
    fn chosen(&self) -> Vec<u32> {
        self.plan.sampling().map_or_else(Vec::new, |(_, out)| self.memory.load_words(&out))
    }
}

/// Rows of f32 words, row-major; u32 words as bits.
#[derive(Debug)]
struct Matrix {
    width: usize,
    values: Vec<f32>,
}

/// The reference player's buffers, caches and batch. Views are loaded as compact matrices
/// `[rows, view.len()]` and stored back the same way, so that references know nothing of strides.
#[derive(Debug)]
pub(crate) struct Memory {
    pub batch: Batch,
    page_size: usize,
    pages: usize,
    buffers: Vec<Matrix>,
    caches: Vec<Matrix>,
}

impl Memory {
    /// The values of a view.
    pub fn load(&self, view: &View) -> Vec<f32> {
        let matrix = &self.buffers[view.buffer.0 as usize];
        matrix.values.chunks_exact(matrix.width).flat_map(|row| columns(view).map(|col| row[col])).collect()
    }

    /// The words of a u32 view.
    pub fn load_words(&self, view: &View) -> Vec<u32> {
        self.load(view).into_iter().map(f32::to_bits).collect()
    }

    /// Overwrites a view, each value rounded to f32.
    pub fn store(&mut self, view: &View, values: &[f64]) {
        self.each(view, values, |held, value| *held = value as f32);
    }

    /// Overwrites a u32 view.
    pub fn store_words(&mut self, view: &View, words: &[u32]) {
        self.each(view, words, |held, word| *held = f32::from_bits(word));
    }

    /// Adds to a view, each sum rounded to f32 once.
    pub fn add(&mut self, view: &View, values: &[f64]) {
        self.each(view, values, |held, value| *held = (f64::from(*held) + value) as f32);
    }

    fn each<T: Copy>(&mut self, view: &View, values: &[T], change: impl Fn(&mut f32, T)) {
        let matrix = &mut self.buffers[view.buffer.0 as usize];
        let rows = matrix.values.chunks_exact_mut(matrix.width);
        for (row, values) in rows.zip(values.chunks_exact(view.len())) {
            for (col, value) in columns(view).zip(values) {
                change(&mut row[col], *value);
            }
        }
    }

    /// The cache row of every token of the batch.
    pub fn slots(&self) -> Vec<usize> {
        let sequences = self.batch.sequences.iter();
        let slot = |(sequence, row): (&crate::SequenceRows, usize)| {
            sequence.slot(self.batch.positions[row] as usize, self.page_size)
        };
        sequences
            .flat_map(|sequence| sequence.rows.clone().map(move |row| (sequence, row)))
            .map(slot)
            .collect()
    }

    /// The cache rows of positions `positions` of a sequence of the batch.
    pub fn cache_rows(&self, cache: CacheId, sequence: usize, positions: Range<usize>) -> Vec<&[f32]> {
        let cache = &self.caches[cache.0 as usize];
        let sequence = &self.batch.sequences[sequence];
        positions
            .map(|position| {
                &cache.values[sequence.slot(position, self.page_size) * cache.width..][..cache.width]
            })
            .collect()
    }

    /// All values of a cache and the width of its rows.
    pub fn cache_mut(&mut self, cache: CacheId) -> (&mut [f32], usize) {
        let cache = &mut self.caches[cache.0 as usize];
        (&mut cache.values, cache.width)
    }
}

/// The columns of a view in one row, in order.
fn columns(view: &View) -> impl Iterator<Item = usize> + use<> {
    let view = *view;
    (0..view.heads)
        .flat_map(move |head| (0..view.width).map(move |col| view.start + head * view.stride + col))
}

/// The weight vector of a checked contract, decoded.
pub(crate) fn vector(plan: &Plan, id: WeightId) -> Vec<f32> {
    plan.weight(id).to_f32()
}

/// The dot product of two vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests;
