//! Attention, one head and one cache row after another.

use crate::{
    Error,
    plan::{AttentionShape, Op, Plan},
    reference::{Memory, dot, vector},
};

/// Attention of one token: `q [heads, k_width]` over the cache rows it sees gives `[heads, v_width]`.
/// `sinks` is a score for each head, or empty.
pub fn attention(q: &[f32], rows: &[&[f32]], shape: &AttentionShape, sinks: &[f32]) -> Vec<f64> {
    let heads = q.len() / shape.k_width;
    let mut out = vec![0.0; heads * shape.v_width];
    for (head, out) in out.chunks_exact_mut(shape.v_width).enumerate() {
        let kv_head = head * shape.kv_heads / heads;
        let query = &q[head * shape.k_width..][..shape.k_width];
        let key = |row: &&[f32]| dot(query, &row[shape.k_start + kv_head * shape.k_width..][..shape.k_width]);
        let mut scores: Vec<f64> = rows.iter().map(|row| f64::from(shape.scale) * key(row)).collect();
        scores.extend(sinks.get(head).map(|sink| f64::from(*sink)));
        // The weight of the sink is the last, and has no row.
        for (row, weight) in rows.iter().zip(softmax(&scores)) {
            let value = &row[shape.v_start + kv_head * shape.v_width..][..shape.v_width];
            for (out, &value) in out.iter_mut().zip(value) {
                *out += weight * f64::from(value);
            }
        }
    }
    out
}

/// Exponentials divided by their sum, the largest score subtracted first.
pub fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::Attention { q, cache, shape, sinks, out } = op else { unreachable!("{op:?} is no attention") };
    let sinks = sinks.map(|sinks| vector(plan, sinks)).unwrap_or_default();
    let queries = memory.load(q);
    let mut values = Vec::new();
    for (at, sequence) in memory.batch.sequences.iter().enumerate() {
        for row in sequence.rows.clone() {
            let visible = shape.visible(memory.batch.positions[row] as usize);
            let rows = memory.cache_rows(*cache, at, visible);
            values.extend(attention(&queries[row * q.len()..][..q.len()], &rows, shape, &sinks));
        }
    }
    memory.store(out, &values);
    Ok(())
}
