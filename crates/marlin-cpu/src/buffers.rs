//! The activation buffers of a player: rows of the batch, width of the plan.
//!
//! A step that writes a buffer takes it out, fills it row by row and puts it back, so that rows go to
//! threads without sharing.

use marlin_kernel::{
    Batch, Error,
    plan::{BufferId, Plan, View},
};

use crate::threads::Threads;

/// Rows of f32 words, row-major; u32 words as bits.
#[derive(Clone, Debug, Default)]
struct Matrix {
    width: usize,
    values: Vec<f32>,
}

/// All buffers of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Buffers(Vec<Matrix>);

impl Buffers {
    /// Buffers of no rows.
    pub(crate) fn new(plan: &Plan) -> Buffers {
        Buffers(
            plan.buffers.iter().map(|buffer| Matrix { width: buffer.width, values: Vec::new() }).collect(),
        )
    }

    /// Gives every buffer the rows of a batch; contents are unspecified.
    pub(crate) fn begin(&mut self, plan: &Plan, batch: &Batch) {
        for (buffer, matrix) in plan.buffers.iter().zip(&mut self.0) {
            matrix.values.resize(batch.rows(buffer.rows) * buffer.width, 0.0);
        }
    }

    /// A buffer's words.
    pub(crate) fn values(&self, buffer: BufferId) -> &[f32] {
        &self.0[buffer.0 as usize].values
    }

    /// Replaces a buffer's words.
    pub(crate) fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), Error> {
        let held = &mut self.0[buffer.0 as usize].values;
        if held.len() != values.len() {
            let (found, expected) = (values.len().to_string(), held.len().to_string());
            return Err(Error::Batch { what: "values written", found, expected });
        }
        held.copy_from_slice(values);
        Ok(())
    }

    /// Rows of a buffer.
    pub(crate) fn rows(&self, buffer: BufferId) -> usize {
        let Matrix { width, values } = &self.0[buffer.0 as usize];
        values.len().checked_div(*width).unwrap_or(0)
    }

    /// A whole row.
    pub(crate) fn row(&self, buffer: BufferId, row: usize) -> &[f32] {
        let Matrix { width, values } = &self.0[buffer.0 as usize];
        &values[row * width..][..*width]
    }

    /// The columns of a contiguous view in a row.
    pub(crate) fn columns(&self, view: &View, row: usize) -> &[f32] {
        &self.row(view.buffer, row)[view.start..][..view.len()]
    }

    /// Calls `work` with the index of every row of `out`, the same row of each of `inputs` and the row
    /// of `out`. An input that is `out` itself is read as it was before.
    pub(crate) fn update<const N: usize>(
        &mut self,
        threads: &Threads,
        out: BufferId,
        inputs: [BufferId; N],
        work: impl Fn(usize, [&[f32]; N], &mut [f32]) + Sync,
    ) {
        let Matrix { width, mut values } = std::mem::take(&mut self.0[out.0 as usize]);
        let others = &*self;
        threads.each_row(&mut values, width, |at, row| {
            let before = if inputs.contains(&out) { row.to_vec() } else { Vec::new() };
            let input = |id| if id == out { &before[..] } else { others.row(id, at) };
            work(at, inputs.map(input), row);
        });
        self.0[out.0 as usize] = Matrix { width, values };
    }

    /// Calls `copy` with row `source(at)` of `from` and row `at` of `out`, for every row of `out`.
    pub(crate) fn gather(
        &mut self,
        threads: &Threads,
        (from, out): (BufferId, BufferId),
        source: impl Fn(usize) -> usize + Sync,
        copy: impl Fn(&[f32], &mut [f32]) + Sync,
    ) {
        let Matrix { width, mut values } = std::mem::take(&mut self.0[out.0 as usize]);
        threads.each_row(&mut values, width, |at, row| copy(self.row(from, source(at)), row));
        self.0[out.0 as usize] = Matrix { width, values };
    }
}

/// One segment of a view in a row.
pub(crate) fn segment<'a>(row: &'a [f32], view: &View, head: usize) -> &'a [f32] {
    &row[view.start + head * view.stride..][..view.width]
}

/// One segment of a view in a row, to be written.
pub(crate) fn segment_mut<'a>(row: &'a mut [f32], view: &View, head: usize) -> &'a mut [f32] {
    &mut row[view.start + head * view.stride..][..view.width]
}
