//! What can be computed: plans made of steps, and one folder a kernel with its contract, its plain
//! reference and its SIMD paths.
//!
//! Owns no device and no thread: a [`Player`] does. A kernel's reference is the truth every player
//! is compared with.

mod agree;
mod case;
mod check;
mod compare;
mod contract;
mod error;
mod kernel;
mod part;
pub mod permute;
pub mod plan;
mod player;
mod random;
mod reference;

pub mod add;
pub mod attention;
pub mod cache_write;
pub mod embed;
pub mod gated_mul;
pub mod gather;
pub mod hadamard;
pub mod head_matmul;
pub mod matmul;
pub mod moe_experts;
pub mod moe_route;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod shader;
pub mod simd;

pub use agree::{CaseResult, StepDifference, check_case, check_player, compare_steps};
pub use case::{Case, Play};
pub use compare::{Deviation, Failure};
pub use contract::{Access, Argument};
pub use error::Error;
pub use kernel::{Cost, Kernel, Precision, RowRule, Tolerance};
pub use player::{Batch, Chooser, Player, SequenceRows};
pub use random::Random;
pub use reference::ReferencePlayer;

use plan::Op;

/// Every kernel, in the order a model uses them. Help texts, agreement tests and benches read it.
pub static KERNELS: &[&Kernel] = &[
    &embed::KERNEL,
    &rms_norm::KERNEL,
    &matmul::KERNEL,
    &head_matmul::KERNEL,
    &rope::KERNEL,
    &cache_write::KERNEL,
    &attention::KERNEL,
    &gated_mul::KERNEL,
    &add::KERNEL,
    &hadamard::KERNEL,
    &permute::KERNEL,
    &moe_route::KERNEL,
    &moe_experts::KERNEL,
    &gather::KERNEL,
    &sample::KERNEL,
];

impl Op {
    /// The kernel that computes it.
    pub fn kernel(&self) -> &'static Kernel {
        match self {
            Op::Embed { .. } => &embed::KERNEL,
            Op::RmsNorm { .. } => &rms_norm::KERNEL,
            Op::MatMul { .. } => &matmul::KERNEL,
            Op::HeadMatMul { .. } => &head_matmul::KERNEL,
            Op::Rope { .. } => &rope::KERNEL,
            Op::CacheWrite { .. } => &cache_write::KERNEL,
            Op::Attention { .. } => &attention::KERNEL,
            Op::GatedMul { .. } => &gated_mul::KERNEL,
            Op::Add { .. } => &add::KERNEL,
            Op::Hadamard { .. } => &hadamard::KERNEL,
            Op::Permute { .. } => &permute::KERNEL,
            Op::MoeRoute { .. } => &moe_route::KERNEL,
            Op::MoeExperts { .. } => &moe_experts::KERNEL,
            Op::Gather { .. } => &gather::KERNEL,
            Op::Sample { .. } => &sample::KERNEL,
        }
    }
}
