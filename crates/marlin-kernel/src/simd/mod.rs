//! Vector instructions: which ones this machine has, and the loops several kernels share.
//!
//! A kernel's `simd.rs` writes its loops once over the `Simd` trait as a `Task` and starts it with
//! `Isa::run`, which compiles the task once per instruction set. Everything is eight lanes wide on
//! every machine and each sum has one fixed order, so a result depends neither on the number of rows
//! computed together nor on the threads, and integer products agree to the last bit everywhere.
//!
//! All `unsafe` of this crate is in this folder. Intrinsics (`avx2.rs`, `avx512.rs`, `neon.rs`): a value
//! of an instruction set's type is the proof that the machine has it. Unchecked indices (`tile.rs`,
//! `rows.rs`): each tile checks its lengths once, before its loop. Registers (`upper.rs`): each function
//! asks whether the machine has them.

pub(crate) mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod rows;
mod scalar;
pub(crate) mod tile;
mod upper;
mod vector;

pub use activation::{Activation, Forms};
pub use isa::Isa;
pub use rows::Scratch;
pub use upper::{clear_upper_halves, upper_halves_in_use};
pub(crate) use vector::{Simd, Task};

#[cfg(test)]
mod tests;
