//! Columns moved one after another.

use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// The columns of each segment of `x` in the order asked for.
pub fn permute(x: &[f32], order: &[u32]) -> Vec<f64> {
    let segments = x.chunks_exact(order.len());
    segments.flat_map(|x| order.iter().map(move |&col| f64::from(x[col as usize]))).collect()
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Permute { x, order, out } = op else { unreachable!("{op:?} is no permute") };
    let values = permute(&memory.load(x), order);
    memory.store(out, &values);
    Ok(())
}
