//! Columns in another order: what a weight is multiplied with whose columns were sorted by group (GPTQ's
//! activation order).
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, heads, width]` | f32 |
//! | out | `[rows, heads, width]` | f32, written |
//!
//! `out[j] = x[order[j]]` in each segment; `order` has `width` numbers below it. Moves x and out once.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, Random, RowRule,
    contract::Contract,
    kernel::{Work, copied},
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "permute",
    summary: "columns in another order",
    rows: RowRule::Same,
    in_place: false,
    tolerance: copied,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Permute { x, order, out } = op else { unreachable!("{op:?} is no permute") };
    c.reads("x", x)?;
    c.writes("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.equal("width of out", out.width, x.width)?;
    c.equal("length of order", order.len(), x.width)?;
    let outside = order.iter().find(|col| **col as usize >= x.width);
    c.require("order", outside.is_none(), outside.unwrap_or(&0), format_args!("less than {}", x.width))
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Permute { order, .. } = op else { unreachable!("{op:?} is no permute") };
    let Cost { bytes, .. } = work.streaming(0);
    Cost { bytes: bytes + 4 * order.len() as u64, cache_values: 0, operations: 0 }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, heads, width, gap) in [(1, 1, 1, 0), (3, 2, 31, 1), (33, 1, 65, 2), (1, 1, 2048, 0)] {
        let mut plan = Plan::default();
        let view = |row: View| View { buffer: row.buffer, start: gap, heads, stride: width + gap, width };
        let x = view(plan.add_buffer("x", Rows::Tokens, heads * (width + gap) + gap, Word::F32));
        let out = view(plan.add_buffer("out", Rows::Tokens, heads * (width + gap) + gap, Word::F32));
        let order: Vec<u32> =
            Random::new(width as u64).permutation(width).into_iter().map(|col| col as u32).collect();
        plan.add_step("permute", Op::Permute { x, order: order.into(), out });
        cases.push(Case::rows(format!("rows {rows}, heads {heads}, width {width}, gap {gap}"), plan, rows));
    }
    cases
}

#[cfg(test)]
mod tests;
