//! The gate of a feed-forward layer: `out = activation(gate) * up`, as [`Activation`] says.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | gate, up | `[rows, heads, width]` | f32 |
//! | out | `[rows, heads, width]`, may equal gate or up | f32, written |
//!
//! Values far from zero stay finite: `silu(-200)` is 0. Moves three values and computes about five
//! operations an element.

pub mod reference;
pub mod simd;

use crate::{
    Case, Cost, Error, Kernel, RowRule,
    contract::Contract,
    kernel::{Work, single},
    plan::{Activation, Op, Plan, Rows, View, Word},
};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "gated_mul",
    summary: "SiLU or GELU of the gate times the up projection, clamped SwiGLU",
    rows: RowRule::Same,
    in_place: true,
    tolerance: single,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::GatedMul { gate, up, activation, out } = op else { unreachable!("{op:?} is no gated_mul") };
    activates(*activation, c)?;
    c.reads("gate", gate)?;
    c.reads("up", up)?;
    c.writes("out", out)?;
    c.equal("heads of up", up.heads, gate.heads)?;
    c.equal("width of up", up.width, gate.width)?;
    c.equal("heads of out", out.heads, gate.heads)?;
    c.equal("width of out", out.width, gate.width)
}

/// What must hold for an activation.
pub(crate) fn activates(activation: Activation, c: &Contract<'_>) -> Result<(), Error> {
    match activation {
        Activation::ClampedSwiglu { limit } => {
            c.require("limit", limit.is_finite() && limit > 0.0, limit, "a finite number above 0")
        }
        Activation::Silu | Activation::GeluTanh => Ok(()),
    }
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::GatedMul { gate, .. } = op else { unreachable!("{op:?} is no gated_mul") };
    work.streaming(5 * work.words(gate))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for activation in [Activation::Silu, Activation::GeluTanh, Activation::ClampedSwiglu { limit: 0.75 }] {
        for (rows, width) in [(1, 1), (3, 31), (33, 65), (2, 1025)] {
            for place in ["apart", "gate", "up"] {
                let (plan, _) = plan(activation, width, place);
                let name = format!("{activation:?}, rows {rows}, width {width}, out is {place}");
                cases.push(Case::rows(name, plan, rows));
            }
        }
        // Gate, gap and up: -200 to 200, 0 and 1.
        let (plan, row) = plan(activation, 401, "apart");
        let value = |col: usize| if col < 401 { col as f32 - 200.0 } else { (col - 401).min(1) as f32 };
        let values = |rows| (0..rows).flat_map(|_| (0..803).map(value)).collect();
        cases.push(Case::rows(format!("{activation:?}, far from zero"), plan, 3).with_input(row, values));
    }
    cases
}

/// Gate and up are columns of one buffer, one column apart.
fn plan(activation: Activation, width: usize, place: &str) -> (Plan, View) {
    let mut plan = Plan::default();
    let row = plan.add_buffer("gate and up", Rows::Tokens, 2 * width + 1, Word::F32);
    let gate = View::columns(row.buffer, 0, width);
    let up = View::columns(row.buffer, width + 1, width);
    let out = match place {
        "gate" => gate,
        "up" => up,
        _ => plan.add_buffer("out", Rows::Tokens, width, Word::F32),
    };
    plan.add_step("gate", Op::GatedMul { gate, up, activation, out });
    (plan, row)
}

#[cfg(test)]
mod tests;
