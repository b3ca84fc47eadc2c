//! Row gathering, one row after another.

use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// Rows `rows` of `x [_, width]`, in the order asked for.
pub fn gather(x: &[f32], width: usize, rows: &[u32]) -> Vec<f64> {
    rows.iter().flat_map(|&row| &x[row as usize * width..][..width]).map(|&value| f64::from(value)).collect()
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Gather { x, out } = op else { unreachable!("{op:?} is no gather") };
    let values = gather(&memory.load(x), x.len(), &memory.batch.outputs);
    memory.store(out, &values);
    Ok(())
}
