//! What a kernel is: the row type of [`KERNELS`](crate::KERNELS), its cost and its tolerance.

use std::fmt;

use crate::{
    Batch, Case, Error,
    contract::{Argument, Contract},
    plan::{Op, Plan, View, WeightId},
    reference::Memory,
};

/// How a player computes matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 activations and f32 accumulation.
    #[default]
    Exact,
    /// Activations rounded to 8-bit integers before a product with a quantized weight.
    Int8Activations,
    /// Activations and decoded weights rounded to f16 as operands of a product, f32 accumulation: what
    /// matrix units multiply.
    HalfOperands,
}

/// How far a player may be from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest `norm(a - b) / norm(b)` over all written columns of a buffer.
    pub relative: f64,
    /// Largest `|a - b| / max |b|` of one value.
    pub peak: f64,
}

impl Tolerance {
    /// `relative` overall, four times that for one value.
    pub const fn relative(relative: f64) -> Tolerance {
        Tolerance { relative, peak: 4.0 * relative }
    }
}

/// Which rows the arguments of a kernel have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowRule {
    /// All a row per token: the kernel needs tokens or positions.
    Tokens,
    /// All the same, whichever.
    Same,
    /// Inputs a row per token, `out` a row per output.
    Gather,
    /// All a row per output.
    Outputs,
}

/// What a step costs on a batch, for benches: divide by time and compare with the machine's peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of activations (f32), weights and tables that must move at least once.
    pub bytes: u64,
    /// Cache values that must move at least once; their size is the player's choice.
    pub cache_values: u64,
    /// Additions and multiplications; a transcendental function counts as one.
    pub operations: u64,
}

/// One kernel: a folder of this crate, a row of [`KERNELS`](crate::KERNELS).
pub struct Kernel {
    /// Its name and its folder's name.
    pub name: &'static str,
    /// One line for help texts and tables.
    pub summary: &'static str,
    /// Which rows its arguments have.
    pub rows: RowRule,
    /// Whether an output may be exactly one of the inputs.
    pub in_place: bool,
    /// How far a player of a precision may be from the reference.
    pub tolerance: fn(Precision) -> Tolerance,
    /// Cases to check a player with, odd sizes first.
    pub cases: fn() -> Vec<Case>,
    /// Names the arguments of a step and what must hold for them.
    pub(crate) contract: fn(&Op, &mut Contract<'_>) -> Result<(), Error>,
    /// What a checked step costs on a checked batch.
    pub(crate) cost: fn(&Op, &Work<'_>) -> Cost,
    /// Plays a checked step with the reference.
    pub(crate) play: fn(&Op, &Plan, &mut Memory) -> Result<(), Error>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The tolerance of kernels whose result does not depend on the precision of products: room for a
/// few f32 roundings and another order of summation.
pub(crate) fn single(_: Precision) -> Tolerance {
    Tolerance::relative(2e-6)
}

/// The tolerance of kernels that only copy.
pub(crate) fn copied(_: Precision) -> Tolerance {
    Tolerance::relative(0.0)
}

/// A checked step on a checked batch, for [`Kernel`] costs.
pub(crate) struct Work<'a> {
    pub plan: &'a Plan,
    pub batch: &'a Batch,
    arguments: Vec<Argument>,
    weights: Vec<WeightId>,
}

impl Work<'_> {
    /// Rows of the batch in the view's buffer.
    pub fn rows(&self, view: &View) -> u64 {
        self.batch.rows(self.plan.buffer(view.buffer).rows) as u64
    }

    /// Words of the view in this batch.
    pub fn words(&self, view: &View) -> u64 {
        self.rows(view) * view.len() as u64
    }

    /// Bytes of all activation arguments; what is added to is both read and written.
    pub fn activation_bytes(&self) -> u64 {
        let bytes = |argument: &Argument| {
            let times = if argument.access == crate::Access::Update { 8 } else { 4 };
            times * self.words(&argument.view)
        };
        self.arguments.iter().map(bytes).sum()
    }

    /// Bytes of all weights, each counted once.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|id| self.plan.weight(*id).len_bytes() as u64).sum()
    }

    /// A cost without cache traffic in which every argument moves once.
    pub fn streaming(&self, operations: u64) -> Cost {
        Cost { bytes: self.activation_bytes() + self.weight_bytes(), cache_values: 0, operations }
    }
}

impl Plan {
    /// What a step costs on a batch; both must have been checked.
    ///
    /// # Errors
    /// [`Error::Step`] if the step does not fit the plan. Panics if there is no such step.
    pub fn cost(&self, step: usize, batch: &Batch) -> Result<Cost, Error> {
        let contract = self.contract(step)?;
        let (arguments, weights) = (contract.arguments, contract.weights);
        let op = &self.steps[step].op;
        Ok((op.kernel().cost)(op, &Work { plan: self, batch, arguments, weights }))
    }
}

#[cfg(test)]
mod tests;
