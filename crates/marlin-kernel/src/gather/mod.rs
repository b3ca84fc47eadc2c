//! Copies the rows whose logits are wanted: `out[i] = x[outputs[i]]`.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[tokens, heads, width]` | f32 |
//! | out | `[outputs, heads, width]` | f32, written |
//!
//! Outputs may come in any order, repeat, or be none. Moves every copied value twice.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, RowRule,
    contract::Contract,
    kernel::{Work, copied},
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "gather",
    summary: "copies the rows whose logits are wanted",
    rows: RowRule::Gather,
    in_place: false,
    tolerance: copied,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Gather { x, out } = op else { unreachable!("{op:?} is no gather") };
    c.reads("x", x)?;
    c.writes("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.equal("width of out", out.width, x.width)
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Gather { out, .. } = op else { unreachable!("{op:?} is no gather") };
    Cost { bytes: 8 * work.words(out), cache_values: 0, operations: 0 }
}

fn cases() -> Vec<Case> {
    let outputs: [(&str, usize, &[u32]); 5] = [
        ("the only row", 1, &[0]),
        ("the last row", 33, &[32]),
        ("no row", 3, &[]),
        ("any order", 31, &[30, 0, 17, 3]),
        ("repeated", 5, &[2, 2, 4]),
    ];
    let mut cases = Vec::new();
    for (name, rows, outputs) in outputs {
        for (width, gap) in [(1, 0), (65, 3)] {
            let mut plan = Plan::default();
            let row = plan.add_buffer("x", Rows::Tokens, width + 2 * gap, Word::F32);
            let x = View::columns(row.buffer, gap, width);
            let row = plan.add_buffer("out", Rows::Outputs, width + gap, Word::F32);
            let out = View::columns(row.buffer, gap, width);
            plan.add_step("gather", Op::Gather { x, out });
            let mut case = Case::rows(format!("{name}, width {width}"), plan, rows);
            case.plays[0].batch.outputs = outputs.to_vec();
            cases.push(case);
        }
    }
    cases
}

#[cfg(test)]
mod tests;
