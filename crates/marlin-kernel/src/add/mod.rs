//! Addition onto another view: `out += x`.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, heads, width]` | f32 |
//! | out | `[rows, heads, width]` | f32, added to |
//!
//! Moves three values and computes one operation an element.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, RowRule,
    contract::Contract,
    kernel::{Work, single},
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "add",
    summary: "adds one view to another",
    rows: RowRule::Same,
    in_place: false,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Add { x, out } = op else { unreachable!("{op:?} is no add") };
    c.reads("x", x)?;
    c.updates("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.equal("width of out", out.width, x.width)
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Add { x, .. } = op else { unreachable!("{op:?} is no add") };
    work.streaming(work.words(x))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, heads, width, gap) in [(1, 1, 1, 0), (3, 3, 31, 2), (33, 1, 65, 1), (65, 5, 16, 0)] {
        let mut plan = Plan::default();
        let x = plan.add_buffer("x", Rows::Tokens, heads * width, Word::F32).split(heads);
        let row = plan.add_buffer("out", Rows::Tokens, heads * (width + gap) + gap, Word::F32);
        let out = View { buffer: row.buffer, start: gap, heads, stride: width + gap, width };
        plan.add_step("add", Op::Add { x, out });
        cases.push(Case::rows(format!("rows {rows}, heads {heads}, width {width}, gap {gap}"), plan, rows));
    }
    cases
}

#[cfg(test)]
mod tests;
