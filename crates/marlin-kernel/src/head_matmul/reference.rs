//! A product per head, one head after another.

use marlin_format::Weight;

use crate::{
    Error,
    matmul::reference::matmul,
    plan::{Op, Plan},
    reference::Memory,
};

/// `x [rows, heads, weight.cols()]` to `[rows, heads, weight.rows() / heads]`.
pub fn head_matmul(x: &[f32], weight: &Weight, heads: usize) -> Vec<f64> {
    let (width, outs) = (weight.cols(), weight.rows() / heads);
    let rows = x.len() / (heads * width);
    let mut out = vec![0.0; rows * heads * outs];
    for head in 0..heads {
        let weight = weight.slice_rows(head * outs..(head + 1) * outs);
        for row in 0..rows {
            let at = row * heads + head;
            let values = matmul(&x[at * width..][..width], &weight, None);
            out[at * outs..][..outs].copy_from_slice(&values);
        }
    }
    out
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::HeadMatMul { x, weight, out } = op else { unreachable!("{op:?} is no head_matmul") };
    let values = head_matmul(&memory.load(x), plan.weight(*weight), x.heads);
    memory.store(out, &values);
    Ok(())
}
