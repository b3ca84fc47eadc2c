//! Routing, one token after another.

use std::cmp::Ordering;

use crate::{
    Error,
    attention::reference::softmax,
    plan::{Op, Plan, Routing, Scoring},
    reference::{Memory, vector},
};

/// The chosen experts of one token with their weights, best first.
pub fn moe_route(logits: &[f32], bias: Option<&[f32]>, routing: &Routing) -> Vec<(u32, f64)> {
    let scores = scores(logits, routing.scoring);
    let choices: Vec<f32> = scores
        .iter()
        .enumerate()
        .map(|(at, &score)| score as f32 + bias.map_or(0.0, |bias| bias[at]))
        .collect();
    let size = logits.len() / routing.groups;
    let group_choice = |group: &[f32]| best(group, 2).into_iter().map(|at| group[at]).sum();
    let groups: Vec<f32> = choices.chunks_exact(size).map(group_choice).collect();
    let kept = best(&groups, routing.top_groups);
    let masked = |at| if kept.contains(&(at / size)) { choices[at] } else { f32::NEG_INFINITY };
    let masked: Vec<f32> = (0..choices.len()).map(masked).collect();
    let chosen = best(&masked, routing.top_k);
    let sum: f64 = chosen.iter().map(|&at| scores[at]).sum();
    let divisor = if routing.normalize { sum + f64::from(routing.denominator_eps) } else { 1.0 };
    chosen.into_iter().map(|at| (at as u32, scores[at] / divisor * f64::from(routing.scale))).collect()
}

fn scores(logits: &[f32], scoring: Scoring) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    match scoring {
        Scoring::Sigmoid => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        Scoring::Softmax => softmax(&logits),
    }
}

/// Indices of the `count` largest values, largest first; ties to the lower index, NaN last.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let key = |at: usize| if values[at].is_nan() { f32::NEG_INFINITY } else { values[at] };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    order.truncate(count);
    order
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::MoeRoute { logits, bias, routing, experts, weights } = op else {
        unreachable!("{op:?} is no moe_route")
    };
    let bias = bias.map(|bias| vector(plan, bias));
    let (chosen, values): (Vec<u32>, Vec<f64>) = memory
        .load(logits)
        .chunks_exact(logits.len())
        .flat_map(|logits| moe_route(logits, bias.as_deref(), routing))
        .unzip();
    memory.store_words(experts, &chosen);
    memory.store(weights, &values);
    Ok(())
}
