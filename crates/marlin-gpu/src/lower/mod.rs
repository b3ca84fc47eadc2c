//! From steps to dispatches. One file a family of kernels; this one walks the plan.
//!
//! Row-wise steps that follow one another become one dispatch, and a norm directly before a product of
//! few rows is made while the product loads its input, so that a layer of GLM-4.7 takes 14 dispatches
//! at decode.

mod attention;
mod experts;
mod products;
mod rowwise;
mod sample;

use std::ops::Range;

use marlin_kernel::plan::{Op, Plan, Rows, View};

use crate::{
    Error,
    arena::{Arena, Place},
    batch::{Dims, Rotations},
    program::{Dispatch, Listing},
    scene::Scene,
};

/// The place of a vector that a step does without.
const NONE: u32 = u32::MAX;

/// Rows up to which a product is a matrix-vector product.
pub(crate) const FEW_ROWS: usize = 16;

/// What of a batch decides which kernels are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowClass {
    /// Token rows: 1, 2, 4, 8 or 16 for up to that many; more are 17.
    pub tokens: usize,
    /// Output rows, likewise.
    pub outputs: usize,
    /// Whether every sequence has one row.
    pub decode: bool,
}

impl RowClass {
    pub fn of(dims: &Dims) -> RowClass {
        let class = |rows: usize| {
            if rows > FEW_ROWS { FEW_ROWS + 1 } else { rows.max(1).next_power_of_two() }
        };
        let decode = dims.row_counts.iter().all(|rows| *rows <= 1);
        RowClass { tokens: class(dims.tokens), outputs: class(dims.outputs), decode }
    }

    /// The class of a view's rows.
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens,
            Rows::Outputs => self.outputs,
        }
    }
}

/// The walk over a range of steps.
pub(crate) struct Lowering<'a> {
    pub plan: &'a Plan,
    pub scene: &'a Scene,
    pub rotations: &'a Rotations,
    pub arena: &'a Arena,
    pub class: RowClass,
    pub listing: Listing,
    /// Row-wise operations that have no dispatch yet.
    micros: rowwise::List,
}

impl<'a> Lowering<'a> {
    pub fn new(
        plan: &'a Plan,
        scene: &'a Scene,
        rotations: &'a Rotations,
        arena: &'a Arena,
        class: RowClass,
    ) -> Lowering<'a> {
        let (listing, micros) = (Listing::default(), rowwise::List::default());
        Lowering { plan, scene, rotations, arena, class, listing, micros }
    }

    /// The dispatches of the steps `range`.
    ///
    /// # Errors
    /// [`Error::Binding`] for a weight that no kernel can take in pieces.
    pub fn lower(mut self, range: Range<usize>) -> Result<Listing, Error> {
        let plan = self.plan;
        for at in range {
            match &plan.steps[at].op {
                Op::MatMul { x, products } => {
                    let norm = self.take_norm(x, products);
                    self.flush();
                    self.matmul(at, x, products, norm);
                }
                op if is_rowwise(op) => self.rowwise(at, op),
                op => {
                    self.flush();
                    self.single(at, op)?;
                }
            }
        }
        self.flush();
        Ok(self.listing)
    }

    /// Takes a step that shares its dispatches with no other.
    fn single(&mut self, step: usize, op: &Op) -> Result<(), Error> {
        match op {
            Op::Embed { table, scale, out } => self.embed(step, *table, *scale, out),
            Op::HeadMatMul { .. } => self.head_matmul(step, op)?,
            Op::Attention { .. } => self.attention(step, op),
            Op::MoeRoute { .. } => self.moe_route(step, op),
            Op::MoeExperts { .. } => self.moe_experts(step, op)?,
            Op::Sample { logits, out } => self.sample(step, logits, out),
            _ => unreachable!("{op:?} is lowered elsewhere"),
        }
        Ok(())
    }

    /// Where a view lies in the arena.
    pub fn place(&self, view: &View) -> Place {
        self.arena.place(self.plan, view)
    }

    /// Which rows a view has.
    pub fn rows_of(&self, view: &View) -> Rows {
        self.plan.buffer(view.buffer).rows
    }

    pub fn push(&mut self, dispatch: Dispatch) {
        self.listing.dispatches.push(dispatch);
    }
}

/// Whether a step is part of a list of row-wise operations.
fn is_rowwise(op: &Op) -> bool {
    matches!(
        op,
        Op::RmsNorm { .. }
            | Op::Rope { .. }
            | Op::GatedMul { .. }
            | Op::Add { .. }
            | Op::Hadamard { .. }
            | Op::Permute { .. }
            | Op::Gather { .. }
            | Op::CacheWrite { .. }
    )
}

/// The word that tells a kernel which rows its step has.
pub(crate) fn rows_word(rows: Rows) -> u32 {
    match rows {
        Rows::Tokens => 0,
        Rows::Outputs => 1,
    }
}

/// The rows of a batch.
pub(crate) fn row_count(rows: Rows, dims: &Dims) -> usize {
    match rows {
        Rows::Tokens => dims.tokens,
        Rows::Outputs => dims.outputs,
    }
}
