//! Plays a plan on the threads of a CPU, with the loops of `marlin-kernel`.
//!
//! This crate decides who computes what and where results go; it holds buffers, caches and threads
//! but no arithmetic worth a kernel. Every result has one fixed order of summation: it depends neither
//! on the number of threads nor on how a prompt was cut into batches.

#![forbid(unsafe_code)]

mod attention;
mod buffers;
mod caches;
mod experts;
mod player;
mod products;
mod rowwise;
mod sample;
mod threads;

pub use caches::CacheType;
pub use player::{CpuOptions, CpuPlayer};
