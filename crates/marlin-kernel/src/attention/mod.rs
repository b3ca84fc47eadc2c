//! Causal softmax attention over a paged cache: grouped, multi-query, windowed and latent heads, sinks.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | q | `[tokens, heads, k_width]` | f32 |
//! | cache | keys and values where [`AttentionShape`] says | f32 or f16, the player's choice |
//! | sinks | `[1, heads]`, or none | f32 |
//! | out | `[tokens, heads, v_width]` | f32, written |
//!
//! `out = sum_j softmax_j(scale * q k_j) v_j` over the positions [`AttentionShape::visible`], scores
//! and sums in f32 or better, the largest score subtracted first. A head's sink is one more score in the
//! sum that the exponentials are divided by, without a value. Latent attention (DeepSeek-V2,
//! arXiv 2405.04434) is the case of one key/value head whose values are the first columns of its
//! keys. Moves q and out once and the visible cache rows of a sequence once;
//! `2 (k_width + v_width)` operations for each head and visible position.

pub mod reference;
pub mod simd;

use std::ops::Range;

use crate::{
    Case, Cost, Error, Kernel, Precision, RowRule, Tolerance, case,
    contract::Contract,
    kernel::Work,
    plan::{AttentionShape, Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "attention",
    summary: "softmax attention over the paged cache: grouped, windowed, latent, with sinks",
    rows: RowRule::Tokens,
    in_place: false,
    tolerance,
    cases,
    contract,
    cost,
    play: reference::play,
};

impl AttentionShape {
    /// The positions a token at `position` sees.
    pub fn visible(&self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }
}

/// An f32 score of 20 is right to 2e-6, and so is its exponential; of f16 operands, to 1e-3 where it
/// is 5.
fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::HalfOperands => Tolerance::relative(2e-3),
        _ => Tolerance::relative(5e-6),
    }
}

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Attention { q, cache, shape, sinks, out } = op else { unreachable!("{op:?} is no attention") };
    c.reads("q", q)?;
    c.writes("out", out)?;
    c.equal("width of q", q.width, shape.k_width)?;
    c.equal("heads of out", out.heads, q.heads)?;
    c.equal("width of out", out.width, shape.v_width)?;
    let divides = shape.kv_heads > 0 && q.heads.is_multiple_of(shape.kv_heads);
    let expected = format!("a divisor of {} heads", q.heads);
    c.require("key/value heads", divides, shape.kv_heads, expected)?;
    c.require("window", shape.window != Some(0), "0", "1 or more")?;
    c.require("scale", shape.scale.is_finite(), shape.scale, "a finite number")?;
    let end = |start: usize, width: usize| start.saturating_add(shape.kv_heads * width);
    c.cache("keys", *cache, end(shape.k_start, shape.k_width))?;
    c.cache("values", *cache, end(shape.v_start, shape.v_width))?;
    sinks.map_or(Ok(()), |sinks| c.vector("sinks", sinks, q.heads))
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Attention { q, shape, .. } = op else { unreachable!("{op:?} is no attention") };
    let (mut rows, mut visible) = (0, 0);
    for sequence in &work.batch.sequences {
        let positions = &work.batch.positions[sequence.rows.clone()];
        let seen = |position: &u32| shape.visible(*position as usize);
        visible += positions.iter().map(|position| seen(position).len()).sum::<usize>();
        let (first, last) = (&positions[0], &positions[positions.len() - 1]);
        rows += seen(last).end - seen(first).start;
    }
    let keys = shape.k_start..shape.k_start + shape.kv_heads * shape.k_width;
    let values = shape.v_start..shape.v_start + shape.kv_heads * shape.v_width;
    let shared = keys.end.min(values.end).saturating_sub(keys.start.max(values.start));
    let operations = visible * q.heads * 2 * (shape.k_width + shape.v_width);
    Cost {
        bytes: work.activation_bytes(),
        cache_values: (rows * (keys.len() + values.len() - shared)) as u64,
        operations: operations as u64,
    }
}

/// What an attention case varies.
struct Heads {
    heads: usize,
    kv_heads: usize,
    k_width: usize,
    /// Values are the first columns of the keys if this is at most `k_width` and `latent`.
    v_width: usize,
    latent: bool,
    scale: f32,
    window: Option<usize>,
    /// Column of the first key: an odd one, or one where values can be read four at once.
    start: usize,
    sinks: bool,
}

/// Heads with keys and values of their own.
fn full(heads: usize, kv_heads: usize, k_width: usize, v_width: usize) -> Heads {
    Heads {
        heads,
        kv_heads,
        k_width,
        v_width,
        latent: false,
        scale: 1.0 / (k_width as f32).sqrt(),
        window: None,
        start: 1,
        sinks: false,
    }
}

fn cases() -> Vec<Case> {
    let aligned = |heads| Heads { start: 4, ..heads };
    let sinks = |heads| Heads { sinks: true, ..heads };
    let latent = |heads, k_width, v_width| Heads { latent: true, ..full(heads, 1, k_width, v_width) };
    let shapes = [
        ("one head", full(1, 1, 1, 1)),
        ("odd heads", full(5, 5, 24, 24)),
        ("grouped", full(6, 2, 33, 17)),
        ("multi-query", full(7, 1, 64, 64)),
        ("latent, GLM's widths", latent(3, 576, 512)),
        ("latent, odd", latent(5, 35, 27)),
        ("window 1", Heads { window: Some(1), ..full(3, 3, 16, 8) }),
        ("window 17", Heads { window: Some(17), ..full(4, 2, 10, 10) }),
        ("window 33, latent", Heads { window: Some(33), ..latent(5, 24, 16) }),
        // Widths of real models, where devices have kernels of their own; then others that start where four
        // values are read at once, and groups that fill more than a tile.
        ("latent, GLM's heads", aligned(latent(20, 576, 512))),
        ("heads of 128", aligned(full(8, 2, 128, 128))),
        ("heads of 64", aligned(full(3, 3, 64, 64))),
        ("heads of 32", aligned(full(4, 2, 32, 32))),
        ("latent, 7 heads of 36", aligned(latent(7, 36, 32))),
        ("latent, 20 heads of 36", aligned(latent(20, 36, 32))),
        ("latent, 20 odd heads", latent(20, 35, 27)),
        ("large scores", Heads { scale: 2.0, ..full(2, 1, 48, 16) }),
        ("sinks", sinks(full(6, 2, 33, 17))),
        ("sinks, heads of 64, window 9", Heads { window: Some(9), ..sinks(aligned(full(8, 1, 64, 64))) }),
    ];
    let plays = [
        ("prefill 33", vec![vec![(0, 0..33)]]),
        ("chunks and decode", vec![vec![(0, 0..7)], vec![(0, 7..40)], vec![(0, 40..41)], vec![(0, 41..42)]]),
        (
            "sequences",
            vec![
                vec![(0, 0..31), (1, 0..1), (2, 0..16)],
                vec![(2, 16..17), (0, 31..32), (1, 1..20)],
                vec![(0, 32..33), (1, 20..21), (2, 17..18)],
            ],
        ),
    ];
    // Long enough for a device to split the positions of a token among workgroups.
    let long = vec![vec![(0, 0..301), (1, 0..3)], vec![(0, 301..580)], vec![(0, 580..581), (1, 3..4)]];
    let wide = vec![vec![(0, 0..90), (1, 0..3)], vec![(0, 90..140)], vec![(0, 140..141), (1, 3..4)]];
    let longs = [
        ("grouped", full(6, 2, 33, 17), &long),
        ("latent", latent(5, 40, 32), &long),
        ("window 300", Heads { window: Some(300), ..full(4, 2, 16, 16) }, &long),
        ("latent, GLM's heads", aligned(latent(20, 576, 512)), &wide),
        ("heads of 128", Heads { window: Some(100), ..aligned(full(6, 2, 128, 128)) }, &wide),
        ("heads of 64", aligned(full(4, 2, 64, 64)), &wide),
        ("sinks", sinks(full(6, 2, 33, 17)), &long),
        ("sinks, heads of 64", sinks(aligned(full(4, 2, 64, 64))), &wide),
        ("large scores, heads of 64", Heads { scale: 1.0, ..aligned(full(4, 2, 64, 64)) }, &wide),
    ];
    let pairs = shapes.iter().flat_map(|shape| plays.iter().map(move |play| (shape, play)));
    pairs
        .map(|((name, heads), (play, chunks))| Case::chunks(format!("{name}, {play}"), plan(heads), chunks))
        .chain(
            longs.iter().map(|(name, heads, play)| Case::chunks(format!("{name}, long"), plan(heads), play)),
        )
        .collect()
}

/// Writes a cache row for every token, then attends; q and out have gaps between their heads.
fn plan(shape: &Heads) -> Plan {
    let Heads { heads, kv_heads, k_width, v_width, .. } = *shape;
    let mut plan = Plan::default();
    let keys = kv_heads * k_width;
    let width = if shape.latent { keys } else { keys + kv_heads * v_width };
    let row = plan.add_buffer("key/value", Rows::Tokens, width, Word::F32);
    let gapped = |row: View, width| View { buffer: row.buffer, start: 2, heads, stride: width + 3, width };
    let q = gapped(plan.add_buffer("q", Rows::Tokens, heads * (k_width + 3) + 2, Word::F32), k_width);
    let out = gapped(plan.add_buffer("out", Rows::Tokens, heads * (v_width + 3) + 2, Word::F32), v_width);
    let cache = plan.add_cache("cache", width + shape.start);
    plan.add_step("write", Op::CacheWrite { x: row, cache, start: shape.start });
    // Below, among and far above the scores.
    let sinks: Vec<f32> = (0..heads).map(|head| [0.5, -2.0, 30.0, 2.5, -40.0][head % 5]).collect();
    let sinks = shape.sinks.then(|| plan.add_weight("sinks", case::vector(&sinks)));
    let shape = AttentionShape {
        kv_heads,
        k_start: shape.start,
        k_width,
        v_start: shape.start + if shape.latent { 0 } else { keys },
        v_width,
        scale: shape.scale,
        window: shape.window,
    };
    plan.add_step("attention", Op::Attention { q, cache, shape, sinks, out });
    plan
}

#[cfg(test)]
mod tests;
