//! Plays a plan on a GPU, Metal or Vulkan, through wgpu.
//!
//! Owns the device, its memory and the order of dispatches; what is computed stands in the WGSL files
//! of `marlin-kernel`.

mod arena;
mod batch;
mod buffers;
mod device;
pub mod emit;
mod error;
mod lower;
mod order;
mod pipelines;
mod player;
mod program;
mod timing;
pub mod tuning;
mod weights;
pub mod work;

pub use device::{Gpu, GpuInfo, Matrices, Opening, list};
pub use error::Error;
pub use player::{CacheType, GpuOptions, GpuPlayer};
pub use timing::DispatchTime;
pub use tuning::Tuning;
