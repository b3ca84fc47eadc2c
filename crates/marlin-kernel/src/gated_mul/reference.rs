//! The gate of a feed-forward layer, one value after another.

use std::f64::consts::PI;

use crate::{
    Error,
    plan::{Activation, Op, Plan},
    reference::Memory,
};

/// The gate's function of one value.
pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
    }
}

/// `activation(gate) * up`, value by value.
pub fn gated_mul(gate: &[f32], up: &[f32], activation: Activation) -> Vec<f64> {
    gate.iter().zip(up).map(|(&gate, &up)| activate(activation, f64::from(gate)) * f64::from(up)).collect()
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::GatedMul { gate, up, activation, out } = op else { unreachable!("{op:?} is no gated_mul") };
    let values = gated_mul(&memory.load(gate), &memory.load(up), *activation);
    memory.store(out, &values);
    Ok(())
}
