//! Embedding lookup: `out[t] = scale * table[token[t]]`.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | table | `[vocabulary, out.len()]` | any format |
//! | out | `[tokens, out.len()]`, contiguous | f32, written |
//!
//! Token ids are below the vocabulary: [`Batch::check`](crate::Batch::check) refuses others.
//! Moves one table row and one output row a token; one multiplication a value.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, Random, RowRule, case,
    contract::Contract,
    kernel::{Work, single},
    plan::{Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "embed",
    summary: "rows of the embedding table, one a token",
    rows: RowRule::Tokens,
    in_place: false,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Embed { table, scale: _, out } = op else { unreachable!("{op:?} is no embed") };
    c.writes("out", out)?;
    c.contiguous("out", out)?;
    let vocabulary = c.weight("table", *table)?.rows();
    c.require("table", vocabulary > 0, "no rows", "1 or more")?;
    c.matrix("table", *table, vocabulary, out.len())
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Embed { table, out, .. } = op else { unreachable!("{op:?} is no embed") };
    let table = work.plan.weight(*table);
    let row = (table.len_bytes() / table.rows()) as u64;
    let bytes = work.activation_bytes() + work.rows(out) * row;
    Cost { bytes, cache_values: 0, operations: work.words(out) }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (format, cols) in case::formats(65) {
        for (rows, gap) in [(1, 0), (33, 7)] {
            let mut plan = Plan::default();
            let weight = case::weight(&mut Random::new(rows as u64), format, 31, cols);
            let table = plan.add_weight("table", weight);
            let row = plan.add_buffer("out", Rows::Tokens, cols + 2 * gap, Word::F32);
            let out = View::columns(row.buffer, gap, cols);
            plan.add_step("embed", Op::Embed { table, scale: 8.0, out });
            cases.push(Case::rows(format!("rows {rows}, cols {cols}, {}", format.name()), plan, rows));
        }
    }
    cases
}

#[cfg(test)]
mod tests;
