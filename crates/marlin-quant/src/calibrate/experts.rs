//! What each expert of a layer multiplies: the rows routed to it, and what it makes of them on the
//! way to its down matrix, which no buffer of the model's plan holds.

use marlin_kernel::{
    Player,
    plan::{Activation, BufferId, Expert, Op, Plan, Product, Rows, View, Word},
};

use super::{MakePlayer, text::rows_only};
use crate::{Error, Gram, RoutingReport};

/// The inputs of the experts of one layer.
pub(super) struct ExpertInputs {
    x: View,
    experts: View,
    weights: View,
    /// Experts that tokens choose; one more follows if there is a shared one.
    bank: usize,
    shared: bool,
    /// The first Gram matrix: two an expert, of gate and up, and of down.
    first: usize,
    /// Plays [`hidden_plan`].
    hidden: Box<dyn Player>,
    /// Its steps for one expert.
    steps: usize,
    /// How many tokens chose each expert.
    pub routing: RoutingReport,
}

impl ExpertInputs {
    /// Of the step `op` of `part`. Panics if it is another operation.
    ///
    /// # Errors
    /// [`Error::Player`].
    pub fn new(
        part: &Plan,
        layer: &str,
        op: &Op,
        first: usize,
        make: &mut MakePlayer<'_>,
    ) -> Result<ExpertInputs, Error> {
        let Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, .. } = op else {
            panic!("{layer}: not a step of experts");
        };
        let all: Vec<Expert> = bank.iter().chain(shared).copied().collect();
        let plan = hidden_plan(part, &all, x.len(), (*activation, *rotation));
        let steps = plan.steps.len() / all.len();
        let hidden = make(plan, 0).map_err(Error::Player)?;
        let routing = RoutingReport { layer: layer.to_owned(), tokens: vec![0; bank.len()] };
        let (bank, shared) = (bank.len(), shared.is_some());
        let (x, experts, weights) = (*x, *experts, *weights);
        Ok(ExpertInputs { x, experts, weights, bank, shared, first, hidden, steps, routing })
    }

    /// Gathers from a batch played up to the step; each row counts by its `importance`, or all alike.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn gather(
        &mut self,
        player: &mut dyn Player,
        importance: Option<&[f32]>,
        grams: &mut [Gram],
    ) -> Result<(), Error> {
        let x = columns(player, &self.x)?;
        let chosen = columns(player, &self.experts)?;
        let weights = columns(player, &self.weights)?;
        let (width, top_k) = (self.x.len(), self.experts.len());
        let mut lists: Vec<Vec<(usize, f32)>> = vec![Vec::new(); self.bank];
        for (at, (expert, weight)) in chosen.iter().zip(&weights).enumerate() {
            // Routing chooses among the experts of the bank, and `MoeExperts` has as many.
            lists[expert.to_bits() as usize].push((at / top_k, *weight));
        }
        for (tokens, list) in self.routing.tokens.iter_mut().zip(&lists) {
            *tokens += list.len() as u64;
        }
        if self.shared {
            lists.push((0..x.len() / width).map(|row| (row, 1.0)).collect());
        }
        for (expert, list) in lists.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let rows: Vec<f32> =
                list.iter().flat_map(|(row, _)| &x[row * width..][..width]).copied().collect();
            let hidden = self.play(expert, list.len(), &rows)?;
            let first = self.first + 2 * expert;
            let of_row = |row: usize| importance.map_or(1.0, |importance| importance[row]);
            let counts: Vec<f32> = list.iter().map(|(row, weight)| weight * weight * of_row(*row)).collect();
            grams[first].add(&rows, Some(&counts));
            grams[first + 1].add(&hidden, Some(&counts));
        }
        Ok(())
    }

    /// What `expert` feeds to its down matrix for some rows.
    fn play(&mut self, expert: usize, count: usize, rows: &[f32]) -> Result<Vec<f32>, Error> {
        self.hidden.begin(&rows_only(count))?;
        self.hidden.write(INPUT, rows)?;
        self.hidden.run(self.steps * expert..self.steps * (expert + 1))?;
        Ok(self.hidden.read(HIDDEN)?)
    }
}

const INPUT: BufferId = BufferId(0);
const HIDDEN: BufferId = BufferId(1);

/// For each expert `hidden = R (activation(gate x) * (up x))`, with its biases if it has some and the
/// rotation if there is one, as a plan of as many steps an expert.
fn hidden_plan(
    part: &Plan,
    experts: &[Expert],
    cols: usize,
    (activation, rotation): (Activation, Option<usize>),
) -> Plan {
    let mut plan = Plan { weights: part.weights.clone(), ..Plan::default() };
    let width = experts.first().map_or(0, |expert| part.weight(expert.gate).rows());
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let hidden = plan.add_buffer("hidden", Rows::Tokens, width, Word::F32);
    let gate = plan.add_buffer("gate", Rows::Tokens, width, Word::F32);
    let up = plan.add_buffer("up", Rows::Tokens, width, Word::F32);
    for expert in experts {
        let product = |weight, bias, out| Product { weight, bias, out, accumulate: false };
        let products = vec![
            product(expert.gate, expert.bias.map(|bias| bias.gate), gate),
            product(expert.up, expert.bias.map(|bias| bias.up), up),
        ];
        plan.add_step("gate_up", Op::MatMul { x, products });
        let out = if rotation.is_some() { gate } else { hidden };
        plan.add_step("act", Op::GatedMul { gate, up, activation, out });
        if let Some(block) = rotation {
            plan.add_step("rotate", Op::Hadamard { x: gate, block, out: hidden });
        }
    }
    plan
}

/// The columns of a contiguous view in every row.
fn columns(player: &mut dyn Player, view: &View) -> Result<Vec<f32>, Error> {
    let width = player.plan().buffer(view.buffer).width;
    let values = player.read(view.buffer)?;
    Ok(values.chunks_exact(width).flat_map(|row| &row[view.start..][..view.len()]).copied().collect())
}

#[cfg(test)]
mod tests {
    use marlin_format::Weight;
    use marlin_kernel::{ReferencePlayer, hadamard::transform, plan::WeightId};

    use super::*;

    #[test]
    fn what_is_gathered_is_what_down_multiplies() {
        let part = Plan {
            weights: [
                [0.5, 1.0, -1.0, 2.0, 1.5, -0.5, 0.25, 1.0],
                [1.0, 2.0, 3.0, -1.0, 0.5, -2.0, 1.0, 0.0],
            ]
            .map(|values| (String::new(), Weight::from_f32(4, 2, &values).unwrap()))
            .into(),
            ..Plan::default()
        };
        let expert = Expert { gate: WeightId(0), up: WeightId(1), down: WeightId(1), bias: None };
        let hidden = |rotation| {
            let plan = hidden_plan(&part, &[expert, expert], 2, (Activation::Silu, rotation));
            let steps = plan.steps.len() / 2;
            let mut player = ReferencePlayer::new(plan, 1, 1).unwrap();
            player.begin(&rows_only(3)).unwrap();
            player.write(INPUT, &[1.0, 2.0, -0.5, 1.0, 3.0, 0.25]).unwrap();
            player.run(steps..2 * steps).unwrap();
            player.read(HIDDEN).unwrap()
        };
        let mut expected = hidden(None);
        assert!(expected.iter().any(|value| value.abs() > 1.0));
        transform(&mut expected, 2, 1);
        assert!(hidden(Some(2)).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
