//! Rotary position embedding, one pair after another.

use crate::{
    Error,
    plan::{Op, Plan, RopeStyle},
    reference::{Memory, vector},
};

/// The dimensions of pair `pair` in a segment of `2 * pairs`.
pub fn pair_dims(style: RopeStyle, pair: usize, pairs: usize) -> (usize, usize) {
    match style {
        RopeStyle::Interleaved => (2 * pair, 2 * pair + 1),
        RopeStyle::Half => (pair, pair + pairs),
    }
}

/// Rotates every segment of `2 * frequencies.len()` values of one token at `position`.
pub fn rope(x: &[f32], position: u32, frequencies: &[f32], style: RopeStyle, scale: f32) -> Vec<f64> {
    let pairs = frequencies.len();
    let mut out = vec![0.0; x.len()];
    for (segment, out) in x.chunks_exact(2 * pairs).zip(out.chunks_exact_mut(2 * pairs)) {
        for (pair, &frequency) in frequencies.iter().enumerate() {
            let (sin, cos) = (f64::from(position) * f64::from(frequency)).sin_cos();
            let (first, second) = pair_dims(style, pair, pairs);
            let (u, v) = (f64::from(segment[first]), f64::from(segment[second]));
            out[first] = f64::from(scale) * (u * cos - v * sin);
            out[second] = f64::from(scale) * (v * cos + u * sin);
        }
    }
    out
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Rope { x, frequencies, style, scale, out } = op else { unreachable!("{op:?} is no rope") };
    let (values, frequencies) = (memory.load(x), vector(plan, *frequencies));
    let tokens = values.chunks_exact(x.len()).zip(&memory.batch.positions);
    let rotated: Vec<f64> =
        tokens.flat_map(|(values, &position)| rope(values, position, &frequencies, *style, *scale)).collect();
    memory.store(out, &rotated);
    Ok(())
}
