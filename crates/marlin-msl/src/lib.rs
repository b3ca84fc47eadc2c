//! Executes Metal shaders, as naga translates them, on a CPU, and finds what is wrong with them.
//!
//! A kernel's text is compiled by clang against a `metal_stdlib` of this crate's (`include/`), then run
//! with every thread of a threadgroup as a coroutine: threads really meet at barriers, lanes really
//! exchange their values, and a seed decides in which order they run.
//!
//! # What it finds
//!
//! - Accesses out of a buffer or of threadgroup memory, in every build and without fail: nothing else
//!   lies within reach of a 32-bit index. (A buffer whose size is no multiple of 16 has up to 15 bytes
//!   more.)
//! - Indices past a fixed array, shifts by too much, overflowing signed arithmetic, conversions without
//!   a value: [`Build::Checked`].
//! - Threads that do not meet where they must: at other barriers, or returned; lanes of a simdgroup at
//!   other operations, or with other ideas of a tile.
//! - Accesses that nothing orders, and reads of threadgroup memory that nobody wrote, whatever came of
//!   them: [`Build::Races`].
//! - What missing barriers do to results, with several seeds: threads run in another order each time, and
//!   unwritten threadgroup memory holds numbers that spoil any result.
//! - Infinities and NaNs, where they are made: [`Build::Finite`]. Reliance on them, and on exact rounding:
//!   [`Build::Fast`].
//! - More threadgroup memory, buffers or threads than an Apple GPU has.
//! - What Metal's specification calls undefined in functions that kernels use, such as reading a lane
//!   that has returned; and, by name, functions that are not in `include/`.
//!
//! # What it cannot find
//!
//! - Speed, register pressure, and what Apple's own compiler does.
//! - A thread that skips a barrier in a loop and meets the others at the same barrier one turn later.
//! - What a barrier that names the wrong memory does to results: to threads that take turns every barrier
//!   orders all memory. [`Build::Races`] knows better.
//! - Numbers too small for the normal format, which a GPU may take for zero.
//! - Shifts of vectors by too much: the compiler checks those of scalars.
//! - That a loop has no end: a clock stops it.
//! - Two threads that touch neighbouring bytes of a 16-bit word are taken for a race, and a race that needs
//!   more than a cell of the record remembers (the last write and two unordered accesses) may be missed.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod abi;
pub mod agreement;
pub mod benches;
mod compile;
pub mod device;
mod fault;
mod grid;
mod kernel;
mod lines;
mod machine;
mod memory;
mod races;
mod signature;
mod stack;
mod text;
mod threads;
mod trap;
mod trouble;
mod watchdog;

pub use compile::{Build, Compiler};
pub use fault::{Error, Fault, FaultKind};
pub use kernel::{Kernel, Launch};
pub use memory::Memory;
pub use signature::{Argument, Signature};
