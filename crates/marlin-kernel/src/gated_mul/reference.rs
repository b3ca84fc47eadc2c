//! The gate of a feed-forward layer, one value after another.

use std::f64::consts::PI;

use crate::{
    Error,
    plan::{Activation, Op, Plan},
    reference::Memory,
};

/// One value of gate and up.
pub fn activate(activation: Activation, gate: f64, up: f64) -> f64 {
    let silu = |x: f64, slope: f64| x / (1.0 + (-slope * x).exp());
    match activation {
        Activation::Silu => silu(gate, 1.0) * up,
        Activation::GeluTanh => {
            let inner = (2.0 / PI).sqrt() * (gate + 0.044715 * gate * gate * gate);
            0.5 * gate * (1.0 + inner.tanh()) * up
        }
        Activation::ClampedSwiglu { limit } => {
            let limit = f64::from(limit);
            silu(gate.min(limit), 1.702) * (up.clamp(-limit, limit) + 1.0)
        }
    }
}

/// [`activate`], value by value.
pub fn gated_mul(gate: &[f32], up: &[f32], activation: Activation) -> Vec<f64> {
    let pairs = gate.iter().zip(up);
    pairs.map(|(&gate, &up)| activate(activation, f64::from(gate), f64::from(up))).collect()
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::GatedMul { gate, up, activation, out } = op else { unreachable!("{op:?} is no gated_mul") };
    let values = gated_mul(&memory.load(gate), &memory.load(up), *activation);
    memory.store(out, &values);
    Ok(())
}
