//! Root-mean-square norm of each segment: `x * rsqrt(mean(x^2) + eps) * weight` (arXiv 1910.07467).
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, heads, width]` | f32 |
//! | weight | `[1, width]` | f32 |
//! | out | `[rows, heads, width]`, may equal x | f32, written |
//!
//! The mean is over one segment and taken in f32 or better. Moves x, weight and out once; four
//! operations a value.

pub mod reference;
pub mod simd;

use crate::{
    Case, Cost, Error, Kernel, RowRule, case,
    contract::Contract,
    kernel::{Work, single},
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "rms_norm",
    summary: "root-mean-square norm of each segment of a row",
    rows: RowRule::Same,
    in_place: true,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::RmsNorm { x, weight, eps, out } = op else { unreachable!("{op:?} is no rms_norm") };
    c.reads("x", x)?;
    c.writes("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.equal("width of out", out.width, x.width)?;
    c.require("eps", eps.is_finite() && *eps >= 0.0, eps, "a finite number, 0 or more")?;
    c.vector("weight", *weight, x.width)
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::RmsNorm { x, .. } = op else { unreachable!("{op:?} is no rms_norm") };
    work.streaming(4 * work.words(x))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, heads, width, gap) in
        [(1, 1, 1, 0), (3, 1, 31, 2), (31, 5, 33, 1), (33, 1, 65, 0), (65, 3, 16, 5), (2, 1, 2049, 0)]
    {
        for in_place in [false, true] {
            let mut plan = Plan::default();
            let row = plan.add_buffer("x", Rows::Tokens, heads * (width + gap) + gap, Word::F32);
            let x = View { buffer: row.buffer, start: gap, heads, stride: width + gap, width };
            let out = match in_place {
                true => x,
                false => plan.add_buffer("out", Rows::Tokens, heads * width, Word::F32).split(heads),
            };
            let values: Vec<f32> = (0..width).map(|col| 0.5 + (col % 7) as f32 / 4.0).collect();
            let weight = plan.add_weight("weight", case::vector(&values));
            plan.add_step("norm", Op::RmsNorm { x, weight, eps: 1e-5, out });
            let place = if in_place { ", in place" } else { "" };
            cases.push(Case::rows(format!("rows {rows}, heads {heads}, width {width}{place}"), plan, rows));
        }
    }
    cases.push(small_values());
    cases.push(after_one_another());
    cases
}

/// Norms of a whole row, of its segments and of the whole row again, in one buffer: what one makes the next
/// one reads, on a device in other threads.
fn after_one_another() -> Case {
    let mut plan = Plan::default();
    let row = plan.add_buffer("x", Rows::Tokens, 264, Word::F32);
    for heads in [1, 3, 1] {
        let x = row.split(heads);
        let values: Vec<f32> = (0..x.width).map(|col| 0.5 + (col % 7) as f32 / 4.0).collect();
        let weight = plan.add_weight("weight", case::vector(&values));
        plan.add_step("norm", Op::RmsNorm { x, weight, eps: 1e-5, out: x });
    }
    Case::rows("one after another, rows 2", plan, 2)
}

/// Values so small that eps decides.
fn small_values() -> Case {
    let mut plan = Plan::default();
    let x = plan.add_buffer("x", Rows::Tokens, 48, Word::F32);
    let out = plan.add_buffer("out", Rows::Tokens, 48, Word::F32);
    let weight = plan.add_weight("weight", case::vector(&[1.0; 48]));
    plan.add_step("norm", Op::RmsNorm { x, weight, eps: 1e-5, out });
    let values = |rows| (0..rows * 48).map(|at| 1e-4 * ((at % 11) as f32 - 5.0)).collect();
    Case::rows("values below eps", plan, 3).with_input(x, values)
}

#[cfg(test)]
mod tests;
