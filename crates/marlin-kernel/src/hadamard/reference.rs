//! The transform by its definition: every output is a signed sum of its block.

use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// The transform of each block of `block` values of `x`.
pub fn hadamard(x: &[f32], block: usize) -> Vec<f64> {
    let factor = (block as f64).powf(-0.5);
    let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let output = |values: &[f32], i: usize| {
        let terms = values.iter().enumerate().map(|(j, &value)| sign(i, j) * f64::from(value));
        factor * terms.sum::<f64>()
    };
    x.chunks_exact(block).flat_map(|values| (0..block).map(move |i| output(values, i))).collect()
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Hadamard { x, block, out } = op else { unreachable!("{op:?} is no hadamard") };
    let values = hadamard(&memory.load(x), *block);
    memory.store(out, &values);
    Ok(())
}
