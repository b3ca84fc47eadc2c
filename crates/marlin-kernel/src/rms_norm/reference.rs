//! Root-mean-square norm, one segment after another.

use crate::{
    Error,
    plan::{Op, Plan},
    reference::{Memory, vector},
};

/// Normalises every segment of `weight.len()` values of `x`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mut out = Vec::new();
    for segment in x.chunks_exact(weight.len()) {
        let squares: f64 = segment.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let factor = 1.0 / (squares / weight.len() as f64 + f64::from(eps)).sqrt();
        out.extend(segment.iter().zip(weight).map(|(&value, &w)| f64::from(value) * factor * f64::from(w)));
    }
    out
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::RmsNorm { x, weight, eps, out } = op else { unreachable!("{op:?} is no rms_norm") };
    let values = rms_norm(&memory.load(x), &vector(plan, *weight), *eps);
    memory.store(out, &values);
    Ok(())
}
