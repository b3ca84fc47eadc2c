//! Operations on each row by itself: norms, rotation, gates, sums, copies, routing.

use std::collections::HashMap;

use marlin_kernel::{
    Batch,
    gated_mul::simd::gated_mul,
    hadamard::transform,
    moe_route::reference::moe_route,
    plan::{Activation, Plan, RopeStyle, Routing, View, WeightId},
    rms_norm::simd::rms_norm,
    rope::simd::Angles,
    simd::Isa,
};

use crate::{
    buffers::{Buffers, segment, segment_mut},
    player::Vectors,
    threads::Threads,
};

/// Rotation angles of the rows of a batch, made when first asked for.
#[derive(Debug, Default)]
pub(crate) struct AngleTable(HashMap<(WeightId, u32), Vec<Angles>>);

impl AngleTable {
    /// Forgets the angles of the last batch.
    pub(crate) fn begin(&mut self) {
        self.0.clear();
    }

    fn get(&mut self, batch: &Batch, id: WeightId, frequencies: &[f32], scale: f32) -> &[Angles] {
        let angles = |position: &u32| Angles::new(*position, frequencies, scale);
        let make = || batch.positions.iter().map(angles).collect();
        self.0.entry((id, scale.to_bits())).or_insert_with(make)
    }
}

/// Where rowwise operations run: instructions, threads, buffers.
pub(crate) struct Rowwise<'a> {
    pub isa: Isa,
    pub threads: &'a Threads,
    pub buffers: &'a mut Buffers,
}

impl Rowwise<'_> {
    /// [`marlin_kernel::plan::Op::Embed`].
    pub(crate) fn embed(&mut self, plan: &Plan, batch: &Batch, table: WeightId, scale: f32, out: &View) {
        let table = plan.weight(table);
        self.buffers.update(self.threads, out.buffer, [], |row, [], out_row| {
            let out = segment_mut(out_row, out, 0);
            table.decode_row(batch.tokens[row] as usize, out);
            out.iter_mut().for_each(|value| *value *= scale);
        });
    }

    /// [`marlin_kernel::plan::Op::RmsNorm`].
    pub(crate) fn rms_norm(&mut self, x: &View, weight: &[f32], eps: f32, out: &View) {
        let isa = self.isa;
        self.buffers.update(self.threads, out.buffer, [x.buffer], |_, [x_row], out_row| {
            for head in 0..x.heads {
                rms_norm(isa, segment(x_row, x, head), weight, eps, segment_mut(out_row, out, head));
            }
        });
    }

    /// [`marlin_kernel::plan::Op::Rope`].
    pub(crate) fn rope(&mut self, angles: &[Angles], style: RopeStyle, x: &View, out: &View) {
        let isa = self.isa;
        self.buffers.update(self.threads, out.buffer, [x.buffer], |row, [x_row], out_row| {
            for head in 0..x.heads {
                let (x, out) = (segment(x_row, x, head), segment_mut(out_row, out, head));
                angles[row].rotate(isa, style, x, out);
            }
        });
    }

    /// [`marlin_kernel::plan::Op::GatedMul`].
    pub(crate) fn gated_mul(&mut self, activation: Activation, gate: &View, up: &View, out: &View) {
        let isa = self.isa;
        let inputs = [gate.buffer, up.buffer];
        self.buffers.update(self.threads, out.buffer, inputs, |_, [gate_row, up_row], out_row| {
            for head in 0..out.heads {
                let (gate, up) = (segment(gate_row, gate, head), segment(up_row, up, head));
                gated_mul(isa, activation, gate, up, segment_mut(out_row, out, head));
            }
        });
    }

    /// [`marlin_kernel::plan::Op::Add`].
    pub(crate) fn add(&mut self, x: &View, out: &View) {
        self.buffers.update(self.threads, out.buffer, [x.buffer], |_, [x_row], out_row| {
            for head in 0..x.heads {
                let pairs = segment_mut(out_row, out, head).iter_mut().zip(segment(x_row, x, head));
                pairs.for_each(|(out, x)| *out += x);
            }
        });
    }

    /// [`marlin_kernel::plan::Op::Hadamard`].
    pub(crate) fn hadamard(&mut self, x: &View, block: usize, out: &View) {
        self.buffers.update(self.threads, out.buffer, [x.buffer], |_, [x_row], out_row| {
            for head in 0..x.heads {
                let out = segment_mut(out_row, out, head);
                out.copy_from_slice(segment(x_row, x, head));
                transform(out, block, 1);
            }
        });
    }

    /// [`marlin_kernel::plan::Op::Permute`].
    pub(crate) fn permute(&mut self, x: &View, order: &[u32], out: &View) {
        self.buffers.update(self.threads, out.buffer, [x.buffer], |_, [x_row], out_row| {
            for head in 0..x.heads {
                let x = segment(x_row, x, head);
                let pairs = segment_mut(out_row, out, head).iter_mut().zip(order);
                pairs.for_each(|(out, &col)| *out = x[col as usize]);
            }
        });
    }

    /// [`marlin_kernel::plan::Op::MoeRoute`]: some hundred scores a row, not worth a loop of its own.
    pub(crate) fn moe_route(
        &mut self,
        logits: &View,
        bias: Option<&[f32]>,
        routing: &Routing,
        experts: &View,
        weights: &View,
    ) {
        let rows = self.buffers.rows(logits.buffer);
        let mut chosen = vec![Vec::new(); rows];
        let buffers = &*self.buffers;
        self.threads.each_item(&mut chosen, 64 * logits.len(), |row, chosen| {
            *chosen = moe_route(buffers.columns(logits, row), bias, routing);
        });
        self.buffers.update(self.threads, experts.buffer, [], |row, [], out_row| {
            for (out, (expert, _)) in segment_mut(out_row, experts, 0).iter_mut().zip(&chosen[row]) {
                *out = f32::from_bits(*expert);
            }
        });
        self.buffers.update(self.threads, weights.buffer, [], |row, [], out_row| {
            for (out, (_, weight)) in segment_mut(out_row, weights, 0).iter_mut().zip(&chosen[row]) {
                *out = *weight as f32;
            }
        });
    }

    /// [`marlin_kernel::plan::Op::Gather`].
    pub(crate) fn gather(&mut self, batch: &Batch, x: &View, out: &View) {
        let source = |row: usize| batch.outputs[row] as usize;
        self.buffers.gather(self.threads, (x.buffer, out.buffer), source, |x_row, out_row| {
            for head in 0..x.heads {
                segment_mut(out_row, out, head).copy_from_slice(segment(x_row, x, head));
            }
        });
    }
}

/// Angles for a rotation, and the vector they come from.
pub(crate) fn angles<'a>(
    table: &'a mut AngleTable,
    vectors: &Vectors,
    batch: &Batch,
    frequencies: WeightId,
    scale: f32,
) -> &'a [Angles] {
    table.get(batch, frequencies, vectors.get(frequencies), scale)
}
