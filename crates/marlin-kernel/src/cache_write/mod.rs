//! Stores columns of each token's row in the key/value cache.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[tokens, x.len()]` | f32 |
//! | cache | rows of a width of `start + x.len()` or more | f32 or f16, the player's choice |
//!
//! Token t of a sequence goes to the cache row [`SequenceRows::slot`](crate::SequenceRows::slot) of
//! its position, columns `start..start + x.len()`; other columns keep what they hold. Moves every
//! value once. Cases read the cache back through attention with a window of one token, whose result
//! is that token's value columns.

pub mod reference;

use crate::{
    Case, Cost, Error, Kernel, RowRule,
    contract::Contract,
    kernel::{Work, single},
    plan::{AttentionShape, Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "cache_write",
    summary: "stores keys, values or latents in the paged cache",
    rows: RowRule::Tokens,
    in_place: false,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::CacheWrite { x, cache, start } = op else { unreachable!("{op:?} is no cache_write") };
    c.reads("x", x)?;
    c.cache("cache", *cache, start.saturating_add(x.len()))
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::CacheWrite { x, .. } = op else { unreachable!("{op:?} is no cache_write") };
    Cost { bytes: work.activation_bytes(), cache_values: work.words(x), operations: 0 }
}

fn cases() -> Vec<Case> {
    let prefill = vec![vec![(0, 0..33)]];
    let chunks =
        vec![vec![(0, 0..15), (1, 0..3)], vec![(1, 3..4), (0, 15..48)], vec![(0, 48..49), (1, 4..5)]];
    let rewritten = vec![vec![(0, 0..20)], vec![(0, 10..31)], vec![(0, 16..17)]];
    let mut cases = Vec::new();
    for (name, plays) in [("one sequence", prefill), ("chunks", chunks), ("positions rewritten", rewritten)] {
        for (heads, width) in [(1, 1), (3, 11), (1, 64)] {
            let name = format!("{name}, heads {heads}, width {width}");
            cases.push(Case::chunks(name, plan(heads, width), &plays));
        }
    }
    cases
}

/// Two writes side by side, from a strided and from a contiguous view, and the reading back.
fn plan(heads: usize, width: usize) -> Plan {
    let mut plan = Plan::default();
    let row = plan.add_buffer("left", Rows::Tokens, heads * (width + 2), Word::F32);
    let left = View { buffer: row.buffer, start: 1, heads, stride: width + 2, width };
    let right = plan.add_buffer("right", Rows::Tokens, 5, Word::F32);
    let q = plan.add_buffer("q", Rows::Tokens, 1, Word::F32);
    let total = left.len() + 5;
    let out = plan.add_buffer("cached", Rows::Tokens, total, Word::F32);
    let cache = plan.add_cache("cache", total + 3);
    plan.add_step("left", Op::CacheWrite { x: left, cache, start: 1 });
    plan.add_step("right", Op::CacheWrite { x: right, cache, start: 1 + left.len() });
    let shape = AttentionShape {
        kv_heads: 1,
        k_start: 1,
        k_width: 1,
        v_start: 1,
        v_width: total,
        scale: 1.0,
        window: Some(1),
    };
    plan.add_step("read back", Op::Attention { q, cache, shape, sinks: None, out });
    plan
}

#[cfg(test)]
mod tests;
