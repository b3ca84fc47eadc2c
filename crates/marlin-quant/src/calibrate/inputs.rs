//! What the products of a stage multiply: gathered step by step while the stage is played.
//!
//! Tensors of one step share a Gram matrix; each head of a batched product has its own, and so has
//! each expert, over the rows that were routed to it. A row of an expert counts by the square of its
//! routing weight, as its error does in the sum of experts.

use std::{collections::HashMap, ops::Range};

use marlin_kernel::{
    Player,
    plan::{Op, Plan, View, WeightId},
};

use super::{MakePlayer, experts::ExpertInputs};
use crate::{Error, Gram, RoutingReport};

/// The inputs of a stage's products.
pub(super) struct Inputs {
    taps: Vec<Tap>,
    grams: Vec<Gram>,
    /// The Gram matrices of each tensor: one, or one a head.
    owners: HashMap<WeightId, Range<usize>>,
}

/// Where inputs are gathered: just before a step is played.
struct Tap {
    step: usize,
    input: Input,
}

/// What is gathered there.
enum Input {
    /// Segments of rows, a Gram matrix each, from `first` on.
    Rows { x: View, first: usize },
    /// The rows of each expert.
    Experts(Box<ExpertInputs>),
}

impl Inputs {
    /// The taps of a part's steps that the tensors for which `wanted` holds are multiplied in.
    ///
    /// # Errors
    /// [`Error::Player`] when there is no player for the experts.
    pub fn new(
        part: &Plan,
        wanted: impl Fn(WeightId) -> bool,
        make: &mut MakePlayer<'_>,
    ) -> Result<Inputs, Error> {
        let mut inputs = Inputs { taps: Vec::new(), grams: Vec::new(), owners: HashMap::new() };
        for (step, op) in part.steps.iter().map(|step| &step.op).enumerate() {
            let first = inputs.grams.len();
            let input = match op {
                Op::MatMul { x, products } if products.iter().any(|product| wanted(product.weight)) => {
                    inputs.own(products.iter().map(|product| product.weight), &[x.len()]);
                    // The input of a product is contiguous: one segment, however it was made.
                    Input::Rows { x: View::columns(x.buffer, x.start, x.len()), first }
                }
                Op::HeadMatMul { x, weight, .. } if wanted(*weight) => {
                    inputs.own([*weight].into_iter(), &vec![x.width; x.heads]);
                    Input::Rows { x: *x, first }
                }
                Op::MoeExperts { bank, shared, .. } if bank.iter().any(|expert| wanted(expert.gate)) => {
                    for expert in bank.iter().chain(shared) {
                        inputs.own([expert.gate, expert.up].into_iter(), &[part.weight(expert.gate).cols()]);
                        inputs.own([expert.down].into_iter(), &[part.weight(expert.down).cols()]);
                    }
                    let layer = &part.steps[step].label;
                    Input::Experts(Box::new(ExpertInputs::new(part, layer, op, first, make)?))
                }
                _ => continue,
            };
            inputs.taps.push(Tap { step, input });
        }
        Ok(inputs)
    }

    /// Adds Gram matrices of `widths` that all of `weights` share.
    fn own(&mut self, weights: impl Iterator<Item = WeightId>, widths: &[usize]) {
        let range = self.grams.len()..self.grams.len() + widths.len();
        self.grams.extend(widths.iter().map(|width| Gram::new(*width)));
        weights.for_each(|weight| {
            self.owners.insert(weight, range.clone());
        });
    }

    /// Enters Gram matrices that were gathered elsewhere as those of a tensor.
    pub fn enter(&mut self, weight: WeightId, grams: &[Gram]) {
        let first = self.grams.len();
        self.grams.extend_from_slice(grams);
        self.owners.insert(weight, first..self.grams.len());
    }

    /// Steps that must be played for everything to be gathered: the last tap needs those before it.
    pub fn steps(&self) -> usize {
        self.taps.last().map_or(0, |tap| tap.step)
    }

    /// Whether there is nothing to gather.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// Plays a batch that has begun as far as needed and gathers on the way; each row counts by its
    /// `importance`, or all alike.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn gather(&mut self, player: &mut dyn Player, importance: Option<&[f32]>) -> Result<(), Error> {
        let mut next = 0;
        for tap in &mut self.taps {
            player.run(next..tap.step)?;
            next = tap.step;
            match &mut tap.input {
                Input::Rows { x, first } => {
                    let width = player.plan().buffer(x.buffer).width;
                    let values = player.read(x.buffer)?;
                    for head in 0..x.heads {
                        let start = x.start + head * x.stride;
                        let rows = values.chunks_exact(width).flat_map(|row| &row[start..][..x.width]);
                        self.grams[*first + head].add(&rows.copied().collect::<Vec<f32>>(), importance);
                    }
                }
                Input::Experts(experts) => experts.gather(player, importance, &mut self.grams)?,
            }
        }
        Ok(())
    }

    /// The Gram matrices of a tensor and the number of the first, one for each equal part of its rows;
    /// nothing if it is multiplied in no step of the stage.
    pub fn of(&self, weight: WeightId) -> (usize, &[Gram]) {
        self.owners.get(&weight).map_or((0, &[]), |range| (range.start, &self.grams[range.clone()]))
    }

    /// How tokens were routed.
    pub fn routing(self) -> Vec<RoutingReport> {
        let routing = self.taps.into_iter().filter_map(|tap| match tap.input {
            Input::Experts(experts) => Some(experts.routing),
            Input::Rows { .. } => None,
        });
        routing.collect()
    }
}
