//! Some steps of a plan as a plan of their own: a model that is played piece by piece, as it is where
//! the whole of it, or all that it computes, is too large to be held at once.

use std::{collections::HashSet, ops::Range};

use marlin_format::Weight;

use crate::{
    Access, Error,
    plan::{BufferId, CacheId, Op, Plan},
};

impl Plan {
    /// The steps of `range` as a plan. Buffers and weights keep their numbers; those that no step of
    /// the range names have no columns, and caches that none names are gone. There are no logits.
    ///
    /// # Errors
    /// [`Error::Step`] for a step that does not fit the plan. Panics if there are no such steps.
    pub fn part(&self, range: Range<usize>) -> Result<Plan, Error> {
        let empty = Weight::from_f32(1, 0, &[]).expect("no values are as many as no columns take");
        let mut part = Plan {
            buffers: self.buffers.clone(),
            weights: self.weights.iter().map(|(label, _)| (label.clone(), empty.clone())).collect(),
            ..Plan::default()
        };
        let mut named = HashSet::new();
        for at in range {
            let contract = self.contract(at)?;
            named.extend(contract.arguments.iter().map(|argument| argument.view.buffer));
            for id in contract.weights {
                part.weights[id.0 as usize].1 = self.weight(id).clone();
            }
            let mut step = self.steps[at].clone();
            if let Op::CacheWrite { cache, .. } | Op::Attention { cache, .. } = &mut step.op {
                *cache = part.share_cache(self, *cache);
            }
            part.steps.push(step);
        }
        for (at, buffer) in part.buffers.iter_mut().enumerate() {
            if !named.contains(&BufferId(at as u32)) {
                buffer.width = 0;
            }
        }
        Ok(part)
    }

    /// The number of a cache of `whole` here, where it is added if it is not there.
    fn share_cache(&mut self, whole: &Plan, id: CacheId) -> CacheId {
        let cache = whole.cache(id);
        match self.caches.iter().position(|known| known.label == cache.label) {
            Some(at) => CacheId(at as u32),
            None => self.add_cache(&cache.label, cache.width),
        }
    }

    /// Buffers that the steps of `range` read before one of them writes to them, in the order of
    /// reading: what must hold something before the first step.
    ///
    /// # Errors
    /// As [`Plan::part`].
    pub fn inputs(&self, range: Range<usize>) -> Result<Vec<BufferId>, Error> {
        let (mut written, mut inputs) = (HashSet::new(), Vec::new());
        for at in range {
            let arguments = self.arguments(at)?;
            for argument in arguments.iter().filter(|argument| argument.access != Access::Write) {
                let buffer = argument.view.buffer;
                if !written.contains(&buffer) && !inputs.contains(&buffer) {
                    inputs.push(buffer);
                }
            }
            written.extend(arguments.iter().filter(|a| a.access != Access::Read).map(|a| a.view.buffer));
        }
        Ok(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Batch, Player, Random, ReferencePlayer, SequenceRows,
        plan::{Product, Rows, View, Word},
    };

    /// Two layers `x += W x`, and a cache that only the second writes.
    fn plan() -> (Plan, View) {
        let (mut plan, mut random) = (Plan::default(), Random::new(7));
        let x = plan.add_buffer("x", Rows::Tokens, 5, Word::F32);
        let y = plan.add_buffer("y", Rows::Tokens, 5, Word::F32);
        plan.add_cache("first", 3);
        let cache = plan.add_cache("second", 5);
        for name in ["a", "b"] {
            let values: Vec<f32> = (0..25).map(|_| random.normal()).collect();
            let weight = plan.add_weight(name, Weight::from_f32(5, 5, &values).unwrap());
            let product = Product { weight, bias: None, out: y, accumulate: false };
            plan.add_step(name, Op::MatMul { x, products: vec![product] });
            plan.add_step(name, Op::Add { x: y, out: x });
        }
        plan.add_step("b", Op::CacheWrite { x, cache, start: 0 });
        (plan, x)
    }

    #[test]
    fn parts_one_after_another_compute_what_the_whole_computes() {
        let (plan, x) = plan();
        let rows = SequenceRows { rows: 0..2, pages: vec![0] };
        let batch =
            Batch { tokens: vec![0; 2], positions: vec![0, 1], sequences: vec![rows], ..Batch::default() };
        let start: Vec<f32> = (0..10).map(|i| i as f32 - 4.5).collect();
        let play = |plan: &Plan, start: &[f32]| {
            let mut player = ReferencePlayer::new(plan.clone(), 4, 1).unwrap();
            player.begin(&batch).unwrap();
            player.write(x.buffer, start).unwrap();
            player.run(0..plan.steps.len()).unwrap();
            player.read(x.buffer).unwrap()
        };
        let (first, second) = (plan.part(0..2).unwrap(), plan.part(2..5).unwrap());
        first.check().unwrap();
        second.check().unwrap();
        assert_eq!(play(&second, &play(&first, &start)), play(&plan, &start));
        assert_eq!((first.caches.len(), second.caches.len()), (0, 1));
        assert_eq!((first.weights[0].1.rows(), first.weights[1].1.cols()), (5, 0));
    }

    #[test]
    fn inputs_are_what_is_read_first() {
        let (plan, x) = plan();
        assert_eq!(plan.inputs(0..2).unwrap(), [x.buffer]);
        assert_eq!(plan.inputs(1..2).unwrap(), [BufferId(1), x.buffer]);
        assert_eq!(plan.inputs(4..5).unwrap(), [x.buffer]);
    }
}
