//! Executes Metal shaders, as naga translates them, on a CPU, and finds what is wrong with them.
//!
//! A kernel's text is compiled by clang against a `metal_stdlib` of this crate's (`include/`), then run
//! with every thread of a threadgroup as a coroutine. Nothing of it is emulated loosely: threads really
//! meet at barriers, lanes really exchange their values, and the order in which they run is decided by a
//! seed.
//!
//! # What it finds
//!
//! - Accesses out of a buffer or of threadgroup memory, in every build and without fail: nothing else
//!   lies within
//!   reach of a 32-bit index.
//! - Indices past a fixed array, shifts by too much, overflowing signed arithmetic, conversions without
//!   a value:
//!   [`Build::Checked`].
//! - Threads that do not meet where they must: other barriers, returned threads, lanes that disagree on
//!   a tile.
//! - Missing barriers, with several seeds: threads run in another order each time, and threadgroup
//!   memory that nobody
//!   has written holds numbers that spoil any result.
//! - Reliance on infinity, NaN and exact rounding: [`Build::Fast`].
//! - More threadgroup memory, buffers or threads than an Apple GPU has.
//! - What Metal's specification calls undefined in the functions that kernels use.
//!
//! # What it cannot find
//!
//! - Speed, register pressure, and what Apple's own compiler does.
//! - A thread that skips a barrier in a loop and meets the others at the same barrier one turn later.
//! - Shifts of vectors by too much: the compiler checks those of scalars.
//! - A loop without end is stopped by a clock, not recognized.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod abi;
mod compile;
mod fault;
mod grid;
mod kernel;
mod lines;
mod machine;
mod memory;
mod signature;
mod stack;
mod threads;
mod trap;
mod watchdog;

pub use compile::{Build, Compiler};
pub use fault::{Error, Fault, FaultKind};
pub use kernel::{Kernel, Launch};
pub use memory::Memory;
pub use signature::{Argument, Signature};
