//! A product per head: `out[h] = W[h] x[h]`. Latent attention uses it on both sides of its cache.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, heads, x.width]` | f32 |
//! | weight | `[heads * out.width, x.width]` | any format |
//! | out | `[rows, heads, out.width]` | f32, written |
//!
//! Head h owns weight rows `h * out.width..(h + 1) * out.width`. Weights move once. Two operations
//! for each weight and row.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, Random, RowRule, case,
    contract::Contract,
    kernel::Work,
    matmul,
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "head_matmul",
    summary: "a matrix product per attention head",
    rows: RowRule::Same,
    in_place: false,
    tolerance: matmul::tolerance,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::HeadMatMul { x, weight, out } = op else { unreachable!("{op:?} is no head_matmul") };
    c.reads("x", x)?;
    c.writes("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.matrix("weight", *weight, out.len(), x.width)
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::HeadMatMul { x, out, .. } = op else { unreachable!("{op:?} is no head_matmul") };
    work.streaming(2 * work.words(x) * out.width as u64)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, heads, width, outs, gap) in
        [(1, 5, 24, 33, 8), (3, 1, 33, 7, 0), (33, 3, 17, 16, 3), (7, 20, 48, 65, 1)]
    {
        for (format, width) in case::formats(width) {
            let mut plan = Plan::default();
            let values = case::weight(&mut Random::new(width as u64), format, heads * outs, width);
            let weight = plan.add_weight("weight", values);
            let view =
                |row: View, width| View { buffer: row.buffer, start: gap, heads, stride: width + gap, width };
            let x = plan.add_buffer("x", Rows::Tokens, heads * (width + gap) + gap, Word::F32);
            let out = plan.add_buffer("out", Rows::Tokens, heads * (outs + gap) + gap, Word::F32);
            let (x, out) = (view(x, width), view(out, outs));
            plan.add_step("product", Op::HeadMatMul { x, weight, out });
            let name = format!("rows {rows}, heads {heads}, [{outs}, {width}], {}", format.name());
            cases.push(Case::rows(name, plan, rows));
        }
    }
    cases
}

#[cfg(test)]
mod tests;
