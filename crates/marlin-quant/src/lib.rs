//! Quantization: which format each tensor gets, which codes, and what that costs.
//!
//! A [`Recipe`] gives every tensor a format, [`round`] chooses its codes, [`quantize`] streams a whole
//! model through both, and a [`Report`] says what was measured on the way. Nothing here is estimated:
//! every error is computed from the codes that are written.
//!
//! With calibration, a [`Gram`] sums up the inputs of a matrix. It weighs columns for [`round`], becomes a
//! [`Hessian`] for [`gptq`], and measures what either costs in the outputs. From such costs, [`allocate`]
//! chooses a format for every tensor under a budget of bytes.

#![forbid(unsafe_code)]

mod allocate;
mod budget;
mod calibrate;
mod cholesky;
mod codes;
pub mod convert;
mod dense;
mod error;
mod gptq;
mod gram;
mod hessian;
mod page;
mod quantize;
mod recipe;
mod report;
mod round;
mod solve;
mod streams;
mod tasks;

pub use allocate::{Allocation, Cost, allocate, together};
pub use budget::Budget;
pub use calibrate::{Calibration, MakePlayer, Speed, calibrate};
pub use error::Error;
pub use gptq::{Compensated, gptq};
pub use gram::Gram;
pub use hessian::{ColumnOrder, Damping, Fallback, Hessian};
pub use quantize::{Event, quantize};
pub use recipe::Recipe;
pub use report::{CalibrationReport, FormatRow, Measured, Report, RoutingReport, TensorReport};
pub use round::{Rounded, SquaredError, round};
