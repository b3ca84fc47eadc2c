//! A Walsh-Hadamard transform of each block of columns: the rotation that spreads outliers before
//! quantization (QuaRot, arXiv 2404.00456) and its own inverse.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[rows, heads, width]`, width a multiple of `block` | f32 |
//! | out | `[rows, heads, width]` | f32, written |
//!
//! `out[i] = block^-1/2 * sum_j (-1)^popcount(i & j) x[j]` within each block of 2 to 256 columns, a power
//! of two. Moves x and out once; `log2(block)` operations a value.

pub mod reference;

mod butterflies;

pub use butterflies::transform;

use crate::{
    Case, Cost, Error, Kernel, RowRule, case,
    contract::Contract,
    kernel::{Work, single},
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "hadamard",
    summary: "block Walsh-Hadamard transform",
    rows: RowRule::Same,
    in_place: false,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

/// Columns of a block at most.
pub const MAX_BLOCK: usize = 256;

/// Whether a block can have so many columns.
pub fn is_block(columns: usize) -> bool {
    columns.is_power_of_two() && (2..=MAX_BLOCK).contains(&columns)
}

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Hadamard { x, block, out } = op else { unreachable!("{op:?} is no hadamard") };
    c.reads("x", x)?;
    c.writes("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.equal("width of out", out.width, x.width)?;
    c.require("block", is_block(*block), block, format_args!("a power of two from 2 to {MAX_BLOCK}"))?;
    c.require("width of x", x.width.is_multiple_of(*block), x.width, format_args!("a multiple of {block}"))
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Hadamard { x, block, .. } = op else { unreachable!("{op:?} is no hadamard") };
    work.streaming(work.words(x) * u64::from(block.ilog2()))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for block in [2, 32, 64, 128, 256] {
        for (rows, heads, blocks, gap) in [(1, 1, 1, 0), (3, 2, 3, 1), (33, 1, 5, 2)] {
            let width = block * blocks;
            let mut plan = Plan::default();
            let view = |row: View| View { buffer: row.buffer, start: gap, heads, stride: width + gap, width };
            let x = view(plan.add_buffer("x", Rows::Tokens, heads * (width + gap) + gap, Word::F32));
            let out = view(plan.add_buffer("out", Rows::Tokens, heads * (width + gap) + gap, Word::F32));
            plan.add_step("hadamard", Op::Hadamard { x, block, out });
            let name = format!("block {block}, rows {rows}, heads {heads}, {blocks} blocks, gap {gap}");
            cases.push(case::Case::rows(name, plan, rows));
        }
    }
    cases
}

#[cfg(test)]
mod tests;
