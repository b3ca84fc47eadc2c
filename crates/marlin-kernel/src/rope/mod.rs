//! Rotary position embedding: turns pairs of dimensions by angles that grow with the position
//! (arXiv 2104.09864).
//!
//! | argument | shape | type |
//! |---|---|---|
//! | x | `[tokens, heads, width]`, width even | f32 |
//! | frequencies | `[1, width / 2]`, radians per position | f32 |
//! | out | `[tokens, heads, width]`, may equal x | f32, written |
//!
//! For pair i of a token at position p, with angle `a = p * frequencies[i]` in f32 or better:
//! `(u, v)` becomes `scale * (u cos a - v sin a, v cos a + u sin a)`. Pair i is dimensions
//! `(2i, 2i + 1)` or `(i, i + width / 2)`; the result stays where the pair was.
//! Moves x and out once; four operations a value.

pub mod reference;
pub mod simd;

use crate::{
    Case, Cost, Error, Kernel, Precision, RowRule, Tolerance, case,
    contract::Contract,
    kernel::{Work, single},
    plan::{Op, Plan, RopeStyle, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "rope",
    summary: "rotary position embedding, interleaved or half-split pairs",
    rows: RowRule::Tokens,
    in_place: true,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Rope { x, frequencies, style: _, scale, out } = op else { unreachable!("{op:?} is no rope") };
    c.reads("x", x)?;
    c.writes("out", out)?;
    c.equal("heads of out", out.heads, x.heads)?;
    c.equal("width of out", out.width, x.width)?;
    c.require("width of x", x.width.is_multiple_of(2), x.width, "an even number")?;
    c.require("scale", scale.is_finite(), scale, "a finite number")?;
    c.vector("frequencies", *frequencies, x.width / 2)
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Rope { x, .. } = op else { unreachable!("{op:?} is no rope") };
    work.streaming(4 * work.words(x))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for style in [RopeStyle::Interleaved, RopeStyle::Half] {
        for (heads, width, gap, in_place) in
            [(1, 2, 0, false), (5, 64, 0, true), (3, 10, 6, true), (7, 34, 3, false), (20, 16, 48, false)]
        {
            let plan = plan(style, heads, width, gap, in_place);
            let name = format!("{style:?}, heads {heads}, width {width}, gap {gap}, in place {in_place}");
            let chunks = vec![(1, 0..1), (0, 3..36), (2, 90..93)];
            cases.push(Case::chunks(name, plan, &[chunks]));
        }
        // An f32 angle of 4000 radians is right to 2e-4.
        let far = Case::chunks(
            format!("{style:?}, positions near 4000"),
            plan(style, 2, 32, 0, false),
            &[vec![(0, 3990..4001)]],
        );
        cases.push(far.with_tolerance(|_: Precision| Tolerance::relative(3e-4)));
    }
    cases
}

fn plan(style: RopeStyle, heads: usize, width: usize, gap: usize, in_place: bool) -> Plan {
    let mut plan = Plan::default();
    let radians: Vec<f32> = (0..width / 2).map(|i| 1e4f32.powf(-2.0 * i as f32 / width as f32)).collect();
    let frequencies = plan.add_weight("frequencies", case::vector(&radians));
    let row = plan.add_buffer("x", Rows::Tokens, heads * (width + gap), Word::F32);
    let x = View { buffer: row.buffer, start: gap, heads, stride: width + gap, width };
    let out = match in_place {
        true => x,
        false => plan.add_buffer("out", Rows::Tokens, heads * width, Word::F32).split(heads),
    };
    plan.add_step("rope", Op::Rope { x, frequencies, style, scale: 1.25, out });
    plan
}

#[cfg(test)]
mod tests;
