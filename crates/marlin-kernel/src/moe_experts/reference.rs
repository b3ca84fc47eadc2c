//! The chosen experts, one token and one expert after another.

use crate::{
    Error,
    gated_mul::reference::activate,
    hadamard::reference::hadamard,
    matmul::reference::matmul,
    plan::{Activation, Expert, Op, Plan, WeightId},
    reference::{Memory, vector},
};

/// One expert: `down R (activation(gate x) * (up x))`, each product with its bias if there are biases; R
/// rotates in blocks of `rotation` columns.
pub fn expert(
    x: &[f32],
    expert: &Expert,
    plan: &Plan,
    activation: Activation,
    rotation: Option<usize>,
) -> Vec<f64> {
    let product = |x: &[f32], weight: WeightId, bias: Option<WeightId>| {
        matmul(x, plan.weight(weight), bias.map(|bias| vector(plan, bias)).as_deref())
    };
    let gate = product(x, expert.gate, expert.bias.map(|bias| bias.gate));
    let up = product(x, expert.up, expert.bias.map(|bias| bias.up));
    let hidden: Vec<f32> =
        gate.iter().zip(up).map(|(&gate, up)| activate(activation, gate, up) as f32).collect();
    let hidden = match rotation {
        Some(block) => hadamard(&hidden, block).into_iter().map(|value| value as f32).collect(),
        None => hidden,
    };
    product(&hidden, expert.down, expert.bias.map(|bias| bias.down))
}

pub(crate) fn play(op: &Op, plan: &Plan, memory: &mut Memory) -> Result<(), Error> {
    let Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out } = op else {
        unreachable!("{op:?} is no moe_experts")
    };
    let (values, chosen) = (memory.load(x), memory.load_words(experts));
    let (factors, top_k) = (memory.load(weights), experts.len());
    let mut sums = Vec::new();
    for (row, x) in values.chunks_exact(x.len()).enumerate() {
        let mut sum = vec![0.0; out.len()];
        let mut uses = Vec::new();
        for at in row * top_k..(row + 1) * top_k {
            let matrices = bank.get(chosen[at] as usize).ok_or_else(|| Error::Device {
                device: "reference".to_owned(),
                reason: format!("row {row} chooses expert {}, there are {}", chosen[at], bank.len()),
            })?;
            uses.push((matrices, factors[at]));
        }
        uses.extend(shared.iter().map(|matrices| (matrices, 1.0)));
        for (matrices, factor) in uses {
            for (sum, value) in sum.iter_mut().zip(expert(x, matrices, plan, *activation, *rotation)) {
                *sum += f64::from(factor) * value;
            }
        }
        sums.extend(sum);
    }
    memory.add(out, &sums);
    Ok(())
}
