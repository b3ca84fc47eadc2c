//! Embedding lookup, one row after another.

use marlin_format::Weight;

use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// `scale * table[token]` for every token: `[tokens, cols]`.
pub fn embed(table: &Weight, tokens: &[u32], scale: f32) -> Vec<f64> {
    let mut row = vec![0.0; table.cols()];
    let mut out = Vec::new();
    for &token in tokens {
        table.decode_row(token as usize, &mut row);
        out.extend(row.iter().map(|&value| f64::from(scale) * f64::from(value)));
    }
    out
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Embed { table, scale, out } = op else { unreachable!("{op:?} is no embed") };
    let values = embed(plan.weight(*table), &memory.batch.tokens, *scale);
    memory.store(out, &values);
    Ok(())
}
