//! What each expert of a layer multiplies: the rows routed to it, and what it makes of them on the
//! way to its down matrix, which no buffer of the model's plan holds.

use marlin_kernel::{
    Player,
    plan::{Activation, BufferId, Expert, Op, Plan, Product, Rows, View, Word},
};

use super::{MakePlayer, text::rows_only};
use crate::{Error, Gram, RoutingReport};

/// Steps of [`hidden_plan`] for one expert.
const STEPS: usize = 2;

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
        let Op::MoeExperts { x, experts, weights, bank, shared, activation, .. } = op else {
            panic!("{layer}: not a step of experts");
        };
        let all: Vec<Expert> = bank.iter().chain(shared).copied().collect();
        let hidden = make(hidden_plan(part, &all, x.len(), *activation), 0).map_err(Error::Player)?;
        let routing = RoutingReport { layer: layer.to_owned(), tokens: vec![0; bank.len()] };
        let (bank, shared) = (bank.len(), shared.is_some());
        let (x, experts, weights) = (*x, *experts, *weights);
        Ok(ExpertInputs { x, experts, weights, bank, shared, first, hidden, routing })
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
        self.hidden.run(STEPS * expert..STEPS * (expert + 1))?;
        Ok(self.hidden.read(GATE)?)
    }
}

const INPUT: BufferId = BufferId(0);
const GATE: BufferId = BufferId(1);

/// For each expert `gate = activation(gate x) * (up x)`, with its biases if it has some, as a plan of
/// [`STEPS`] steps an expert.
fn hidden_plan(part: &Plan, experts: &[Expert], cols: usize, activation: Activation) -> Plan {
    let mut plan = Plan { weights: part.weights.clone(), ..Plan::default() };
    let width = experts.first().map_or(0, |expert| part.weight(expert.gate).rows());
    let x = plan.add_buffer("x", Rows::Tokens, cols, Word::F32);
    let gate = plan.add_buffer("gate", Rows::Tokens, width, Word::F32);
    let up = plan.add_buffer("up", Rows::Tokens, width, Word::F32);
    for expert in experts {
        let product = |weight, bias, out| Product { weight, bias, out, accumulate: false };
        let products = vec![
            product(expert.gate, expert.bias.map(|bias| bias.gate), gate),
            product(expert.up, expert.bias.map(|bias| bias.up), up),
        ];
        plan.add_step("gate_up", Op::MatMul { x, products });
        plan.add_step("act", Op::GatedMul { gate, up, activation, out: gate });
    }
    plan
}

/// The columns of a contiguous view in every row.
fn columns(player: &mut dyn Player, view: &View) -> Result<Vec<f32>, Error> {
    let width = player.plan().buffer(view.buffer).width;
    let values = player.read(view.buffer)?;
    Ok(values.chunks_exact(width).flat_map(|row| &row[view.start..][..view.len()]).copied().collect())
}
