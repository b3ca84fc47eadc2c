//! Runs a model for many sequences at once: pages, scheduling, sampling, and scoring of given text.
//!
//! Knows models as plans and players only; owns no device. Five parts, after nano-vllm: sequences
//! ([`Request`]), pages, the scheduler ([`Limits`]), [`Sampler`] and [`Engine`]. Around them,
//! [`Generation`] makes text and [`score`] measures instead of generating.

#![forbid(unsafe_code)]

mod engine;
mod error;
mod flight;
mod generate;
mod pages;
mod sampler;
mod sampling;
mod scheduler;
pub mod score;
mod sequence;
mod text;

pub use engine::{Engine, Event};
pub use error::Error;
pub use generate::{Generation, Timings};
pub use sampler::{Logprobs, Sampler, Scratch};
pub use sampling::Sampling;
pub use scheduler::{Limits, Usage};
pub use sequence::{Finish, Request, SequenceId};
pub use text::{Piece, TextStream};

pub use marlin_kernel::sample::BadLogits;
