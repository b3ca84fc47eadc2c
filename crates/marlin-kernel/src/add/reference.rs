//! Addition, one value after another.

use crate::{
    Error,
    plan::{Op, Plan},
    reference::Memory,
};

/// The sums of two views' values.
pub fn add(x: &[f32], out: &[f32]) -> Vec<f64> {
    x.iter().zip(out).map(|(&x, &out)| f64::from(x) + f64::from(out)).collect()
}

pub(crate) fn play(op: &Op, _: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Add { x, out } = op else { unreachable!("{op:?} is no add") };
    let sums = add(&memory.load(x), &memory.load(out));
    memory.store(out, &sums);
    Ok(())
}
