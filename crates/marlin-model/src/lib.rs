//! Models: a configuration and tensors become a plan.
//!
//! A [`Source`] is an opened model whose configuration and tensor names are Hugging Face's, also when
//! the file is a GGUF. [`build`] finds the architecture by its `model_type` and turns the source into
//! a [`Plan`](marlin_kernel::plan::Plan). Every constant comes from the configuration.

#![forbid(unsafe_code)]

mod arch;
mod blocks;
mod builder;
mod config;
mod error;
pub mod gguf;
mod mlx;
mod online;
pub mod published;
mod rope;
mod rotation;
mod source;
mod transform;

pub use arch::{ARCHITECTURES, Architecture, Model, build};
pub use builder::Builder;
pub use config::Config;
pub use error::Error;
pub use source::{Role, Source, Tensors};
