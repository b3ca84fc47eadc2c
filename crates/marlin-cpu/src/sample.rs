//! Sampling on a CPU: the reference is fast enough, with a row for each thread.

use marlin_kernel::{
    Batch,
    plan::View,
    sample::{
        NO_TOKEN,
        reference::{Scratch, choose},
    },
};

use crate::{
    buffers::{Buffers, segment_mut},
    threads::Threads,
};

/// [`marlin_kernel::plan::Op::Sample`].
pub(crate) fn sample(threads: &Threads, buffers: &mut Buffers, batch: &Batch, logits: &View, out: &View) {
    if batch.choices.is_empty() {
        return;
    }
    buffers.update(threads, out.buffer, [logits.buffer], |row, [logits_row], out_row| {
        let (choice, own) = (&batch.choices[row], batch.tokens[batch.outputs[row] as usize]);
        let logits = &logits_row[logits.start..][..logits.len()];
        let token = choose(logits, choice, own, &mut Scratch::default()).unwrap_or(NO_TOKEN);
        segment_mut(out_row, out, 0)[0] = f32::from_bits(token);
    });
}
