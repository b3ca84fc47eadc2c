//! Mixture of experts: routing, and the gated feed-forward of the chosen experts. Which experts are
//! chosen is known to the device alone; grids allow for the most there can be.
//!
//! The matrices of a dispatch have one format and one slab (a kind). A bank whose experts differ takes
//! a dispatch for each kind; where gate and up of an expert differ, their product is a dispatch too.

use std::collections::HashMap;

use marlin_kernel::{
    plan::{Expert, Op, Rows, Scoring, WeightId},
    shader::Variant,
};

use super::{FEW_ROWS, Lowering, NONE, products::units, row_count, rows_word, rowwise::activation_words};
use crate::{
    Error,
    batch::Dims,
    gpu::Matrices,
    order::Order,
    program::{Dispatch, Grid},
    weights::Piece,
};

/// Words of an expert's record in `tables`.
const RECORD: usize = 13;
/// Pairs of a tile, as `lists.wgsl` has it.
const TILE_ROWS: usize = 64;

/// What the matrices of a dispatch have in common: order and slab.
type Kind = (Order, usize);

/// One step of experts on its way to dispatches.
struct Bank<'a> {
    step: usize,
    experts: Vec<&'a Expert>,
    rows: Rows,
    slots: usize,
    /// Whether gate and up have dispatches of their own.
    split: bool,
    cols: usize,
    inner: usize,
    outs: usize,
    /// Of the activation.
    limit: f32,
    /// Columns of the blocks that are rotated before down.
    rotation: Option<usize>,
    /// Words of `Step` that do not depend on the kind.
    words: Vec<u32>,
    /// First word of the records of each kind.
    tables: HashMap<Kind, u32>,
}

impl Bank<'_> {
    /// The most tiles of pairs there can be in a batch: the same as `most_tiles` of `lists.wgsl`.
    fn most_tiles(&self) -> impl Fn(&Dims) -> usize + Copy + Send + Sync + use<> {
        let (rows, slots, count) = (self.rows, self.slots, self.experts.len());
        move |dims| {
            let pairs = row_count(rows, dims) * slots;
            pairs / TILE_ROWS + count.min(pairs)
        }
    }

    /// The words of `Step` after the columns.
    fn last_words(&self) -> [u32; 4] {
        let biased = u32::from(self.experts[0].bias.is_some());
        [self.outs as u32, self.limit.to_bits(), biased, self.rotation.unwrap_or(0) as u32]
    }

    /// `Step` for a dispatch that reads no weights.
    fn sizes(&self) -> Vec<u32> {
        let mut words = self.words.clone();
        for cols in [self.cols, self.inner] {
            words.extend([cols as u32, Order::blocks(cols) as u32, 0, 0]);
        }
        words.extend(self.last_words());
        words
    }
}

impl Lowering<'_> {
    /// Takes a `MoeRoute` step.
    pub(super) fn moe_route(&mut self, step: usize, op: &Op) {
        let Op::MoeRoute { logits, bias, routing, experts, weights } = op else {
            unreachable!("{op:?} is no moe_route")
        };
        let rows = self.rows_of(logits);
        let [from, to, by] = [logits, experts, weights].map(|view| self.place(view));
        let words = vec![
            rows_word(rows),
            from.base,
            from.stride,
            bias.map_or(NONE, |bias| self.scene.places.vector(bias)),
            to.base,
            to.stride,
            by.base,
            by.stride,
            logits.len() as u32,
            routing.top_k as u32,
            routing.groups as u32,
            routing.top_groups as u32,
            u32::from(routing.scoring == Scoring::Softmax),
            u32::from(routing.normalize),
            routing.denominator_eps.to_bits(),
            routing.scale.to_bits(),
        ];
        let grid: Grid = Box::new(move |dims| [row_count(rows, dims), 1, 1]);
        self.plain(step, "moe_route", "moe_route/moe_route", words, grid);
    }

    /// Takes a `MoeExperts` step.
    ///
    /// # Errors
    /// [`Error::Binding`] when a matrix of an expert is larger than one binding.
    pub(super) fn moe_experts(&mut self, step: usize, op: &Op) -> Result<(), Error> {
        let Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out } = op else {
            unreachable!("{op:?} is no moe_experts")
        };
        let rows = self.rows_of(x);
        let [from, chosen, by, to] = [x, experts, weights, out].map(|view| self.place(view));
        let slots = experts.len() + usize::from(shared.is_some());
        let (activation, limit) = activation_words(*activation);
        let all: Vec<&Expert> = bank.iter().chain(shared).collect();
        let words = [
            rows_word(rows),
            slots as u32,
            experts.len() as u32,
            all.len() as u32,
            from.base,
            from.stride,
            chosen.base,
            chosen.stride,
            by.base,
            by.stride,
            to.base,
            to.stride,
            0,
            activation,
        ];
        let mut split = false;
        for expert in &all {
            split |= self.kind(expert.gate)? != self.kind(expert.up)?;
        }
        let inner = self.plan.weight(bank[0].gate).rows();
        let mut bank = Bank {
            step,
            experts: all,
            rows,
            slots,
            split,
            cols: x.len(),
            inner,
            outs: out.len(),
            limit,
            rotation: *rotation,
            words: words.into(),
            tables: HashMap::new(),
        };
        match (self.class.rows(rows) <= FEW_ROWS, self.scene.info.matrices) {
            (true, _) => self.few_rows(&mut bank),
            (false, Some(matrices)) if !split => self.many_rows_matrices(&mut bank, matrices),
            (false, _) => self.many_rows(&mut bank),
        }
    }

    /// Gate, up and activation in one dispatch, down and the weighted sum in another.
    fn few_rows(&mut self, bank: &mut Bank<'_>) -> Result<(), Error> {
        let (rows, slots, split, inner, outs) = (bank.rows, bank.slots, bank.split, bank.inner, bank.outs);
        let halves = 1 + usize::from(split);
        let row_words = slots * Order::blocks(inner) * 32 * halves;
        self.listing.scratch.push(Box::new(move |dims| row_count(rows, dims) * row_words));
        let (gate_up, down) = (self.scene.tuning.gate_up, self.scene.tuning.down);
        for kind in self.kinds(bank, |expert| vec![expert.gate, expert.up])? {
            let constants = vec![("OUTS", gate_up as u32), ("SPLIT", u32::from(split))];
            let grid: Grid =
                Box::new(move |dims| [inner.div_ceil(8 * gate_up), row_count(rows, dims) * slots, halves]);
            self.of_kind(bank, kind, "moe_experts/gate_up", Vec::new(), constants, grid)?;
        }
        self.activate(bank, 0);
        self.rotate(bank, 0);
        for kind in self.kinds(bank, |expert| vec![expert.down])? {
            let grid: Grid = Box::new(move |dims| [outs.div_ceil(8 * down), row_count(rows, dims), 1]);
            let constants = vec![("OUTS", down as u32)];
            self.of_kind(bank, kind, "moe_experts/down", Vec::new(), constants, grid)?;
        }
        Ok(())
    }

    /// The pairs of rows and experts sorted on the device, tiles of them, and the sum of their results.
    fn many_rows(&mut self, bank: &mut Bank<'_>) -> Result<(), Error> {
        let (rows, slots, split, inner, outs) = (bank.rows, bank.slots, bank.split, bank.inner, bank.outs);
        let (count, halves) = (bank.experts.len(), 1 + usize::from(split));
        let most_tiles = bank.most_tiles();
        let pair_words = Order::blocks(inner) * 32 * halves + outs;
        self.listing.scratch.push(Box::new(move |dims| {
            let pairs = row_count(rows, dims) * slots;
            4 + pairs.next_multiple_of(4) + 4 * most_tiles(dims) + pairs * pair_words
        }));
        let grid: Grid = Box::new(move |_| [count, 1, 1]);
        self.plain(bank.step, "moe_experts", "moe_experts/moe_sort", bank.words.clone(), grid);
        let width = 32 * halves;
        for kind in self.kinds(bank, |expert| vec![expert.gate, expert.up])? {
            let constants = vec![("SPLIT", u32::from(split))];
            let grid: Grid = Box::new(move |dims| [inner.div_ceil(width), most_tiles(dims), halves]);
            self.of_kind(bank, kind, "moe_experts/experts_tile", Vec::new(), constants, grid)?;
        }
        self.activate(bank, 1);
        self.rotate(bank, 1);
        for kind in self.kinds(bank, |expert| vec![expert.down])? {
            let constants = vec![("SPLIT", u32::from(split))];
            let grid: Grid = Box::new(move |dims| [outs.div_ceil(TILE_ROWS), most_tiles(dims), 1]);
            self.of_kind(bank, kind, "moe_experts/experts_down_tile", Vec::new(), constants, grid)?;
        }
        self.combine(bank, 32 * halves as u32);
        Ok(())
    }

    /// The same with cooperative matrices: x and the values between are halves.
    fn many_rows_matrices(&mut self, bank: &mut Bank<'_>, matrices: Matrices) -> Result<(), Error> {
        let (rows, slots, inner, outs) = (bank.rows, bank.slots, bank.inner, bank.outs);
        let (blocks, inner_blocks) = (Order::blocks(bank.cols), Order::blocks(inner));
        let count = bank.experts.len();
        let most_tiles = bank.most_tiles();
        self.listing.scratch.push(Box::new(move |dims| {
            let rows = row_count(rows, dims);
            let pairs = rows * slots;
            let lists = 4 + pairs.next_multiple_of(4) + 4 * most_tiles(dims);
            lists + 16 * rows * blocks + pairs * (16 * inner_blocks + outs.next_multiple_of(4))
        }));
        let grid: Grid = Box::new(move |_| [count, 1, 1]);
        self.plain(bank.step, "moe_experts", "moe_experts/moe_sort", bank.words.clone(), grid);
        let grid: Grid = Box::new(move |dims| [(4 * blocks).div_ceil(256), row_count(rows, dims), 1]);
        self.plain(bank.step, "moe_experts", "moe_experts/experts_halves", bank.sizes(), grid);
        let (tile, cells) = match matrices {
            Matrices::Size16 => ("matmul/tile16", "matmul/cells4"),
            Matrices::Size8 => ("matmul/tile8", "matmul/cells1"),
        };
        let (side, slots) = (8 * matrices.size(), vec![("tile", tile), ("cells", cells)]);
        for kind in self.kinds(bank, |expert| vec![expert.gate, expert.up])? {
            let grid: Grid = Box::new(move |dims| [inner.div_ceil(side / 2), most_tiles(dims), 1]);
            self.of_kind(bank, kind, "moe_experts/experts_coop", slots.clone(), vec![("PART", 0)], grid)?;
        }
        self.rotate(bank, 2);
        for kind in self.kinds(bank, |expert| vec![expert.down])? {
            let grid: Grid = Box::new(move |dims| [outs.div_ceil(side), most_tiles(dims), 1]);
            self.of_kind(bank, kind, "moe_experts/experts_coop", slots.clone(), vec![("PART", 1)], grid)?;
        }
        self.combine(bank, 16);
        Ok(())
    }

    /// The sum of what the experts of each row made of it.
    fn combine(&mut self, bank: &Bank<'_>, hidden: u32) {
        let (rows, outs) = (bank.rows, bank.outs);
        self.push(Dispatch {
            step: bank.step,
            kernel: "moe_experts",
            variant: Variant {
                file: "moe_experts/combine",
                slots: Vec::new(),
                constants: vec![("WORDS", hidden)],
            },
            words: bank.sizes(),
            slab: None,
            cache: None,
            grid: Box::new(move |dims| [outs.div_ceil(256), row_count(rows, dims), 1]),
        });
    }

    /// The product of gate and up, where they had dispatches of their own.
    fn activate(&mut self, bank: &Bank<'_>, lists: u32) {
        if !bank.split {
            return;
        }
        let (rows, row_words) = (bank.rows, bank.slots * Order::blocks(bank.inner) * 32);
        self.push(Dispatch {
            step: bank.step,
            kernel: "moe_experts",
            variant: Variant {
                file: "moe_experts/activate",
                slots: Vec::new(),
                constants: vec![("LISTS", lists)],
            },
            words: bank.sizes(),
            slab: None,
            cache: None,
            grid: Box::new(move |dims| [(row_count(rows, dims) * row_words).div_ceil(256), 1, 1]),
        });
    }

    /// The rotation of what down multiplies, if there is one.
    fn rotate(&mut self, bank: &Bank<'_>, layout: u32) {
        if bank.rotation.is_none() {
            return;
        }
        let (rows, slots, width) = (bank.rows, bank.slots, Order::blocks(bank.inner) * 32);
        self.push(Dispatch {
            step: bank.step,
            kernel: "moe_experts",
            variant: Variant {
                file: "moe_experts/rotate",
                slots: Vec::new(),
                constants: vec![("LAYOUT", layout)],
            },
            words: bank.sizes(),
            slab: None,
            cache: None,
            grid: Box::new(move |dims| [width.div_ceil(256), row_count(rows, dims) * slots, 1]),
        });
    }

    /// A dispatch over the matrices of one kind.
    fn of_kind(
        &mut self,
        bank: &mut Bank<'_>,
        kind: Kind,
        file: &'static str,
        mut slots: Vec<(&'static str, &'static str)>,
        constants: Vec<(&'static str, u32)>,
        grid: Grid,
    ) -> Result<(), Error> {
        let (order, slab) = kind;
        slots.insert(0, ("format", order.snippet()));
        let mut words = bank.words.clone();
        words[12] = self.table(bank, kind)?;
        for cols in [bank.cols, bank.inner] {
            words.extend([cols as u32, Order::blocks(cols) as u32, order.groups(cols) as u32, order.shift()]);
        }
        words.extend(bank.last_words());
        self.push(Dispatch {
            step: bank.step,
            kernel: "moe_experts",
            variant: Variant { file, slots, constants },
            words,
            slab: Some(slab),
            cache: None,
            grid,
        });
        Ok(())
    }

    /// A dispatch without weights.
    pub(super) fn plain(
        &mut self,
        step: usize,
        kernel: &'static str,
        file: &'static str,
        words: Vec<u32>,
        grid: Grid,
    ) {
        let variant = Variant { file, slots: Vec::new(), constants: Vec::new() };
        self.push(Dispatch { step, kernel, variant, words, slab: None, cache: None, grid });
    }

    /// The kinds of some matrices of all experts, in order of appearance.
    fn kinds(&self, bank: &Bank<'_>, pick: impl Fn(&Expert) -> Vec<WeightId>) -> Result<Vec<Kind>, Error> {
        let mut kinds = Vec::new();
        for id in bank.experts.iter().flat_map(|expert| pick(expert)) {
            let kind = self.kind(id)?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }

    fn kind(&self, id: WeightId) -> Result<Kind, Error> {
        let piece = self.single_piece(id)?;
        Ok((Order::of(self.plan.weight(id).format()), piece.slab))
    }

    /// Where a matrix lies that no kernel can take in pieces.
    ///
    /// # Errors
    /// [`Error::Binding`] when it is larger than one binding.
    pub(super) fn single_piece(&self, id: WeightId) -> Result<&Piece, Error> {
        let [piece] = self.scene.places.pieces(id) else {
            let (info, (label, weight)) = (&self.scene.info, &self.plan.weights[id.0 as usize]);
            return Err(Error::Binding {
                device: info.name.clone(),
                what: label.clone(),
                found: weight.len_bytes() as u64,
                limit: info.max_binding,
            });
        };
        Ok(piece)
    }

    /// First word of the records of a kind, made when first asked for.
    fn table(&mut self, bank: &mut Bank<'_>, kind: Kind) -> Result<u32, Error> {
        if let Some(at) = bank.tables.get(&kind) {
            return Ok(*at);
        }
        let mut records = Vec::with_capacity(RECORD * bank.experts.len());
        for expert in &bank.experts {
            let mut record = [0u32; RECORD];
            for (at, id) in [expert.gate, expert.up, expert.down].into_iter().enumerate() {
                if self.kind(id)? != kind {
                    continue;
                }
                let (piece, (codes, scales)) = (self.single_piece(id)?, units(kind.0));
                record[at] = (piece.codes / codes) as u32;
                record[3 + at] = (piece.scales / scales) as u32;
                record[6 + at] = self.plan.weight(id).parts().tensor_scale.to_bits();
                record[9] |= 1 << at;
            }
            if let Some(bias) = expert.bias {
                let vectors = [bias.gate, bias.up, bias.down].map(|id| self.scene.places.vector(id));
                record[10..].copy_from_slice(&vectors);
            }
            records.extend(record);
        }
        let at = self.listing.tables.len() as u32;
        self.listing.tables.extend(records);
        bank.tables.insert(kind, at);
        Ok(at)
    }
}
