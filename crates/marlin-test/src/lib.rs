//! The agreement harness for `cargo test`: a player that passes [`agree`] and [`keeps_its_promises`]
//! may play models.
//!
//! Development only. What is compared and how is in `marlin-kernel`; here is what a test needs on
//! top: known exceptions, a tiny model that uses every kernel, and players that are wrong on purpose.

#![forbid(unsafe_code)]

mod agree;
mod promises;
mod saboteur;
mod tiny;

pub use agree::{Exception, agree};
pub use promises::{Make, keeps_its_promises, play_in_chunks};
pub use saboteur::{Sabotage, Saboteur};
pub use tiny::tiny_model;
