//! Plays a plan on a GPU, Metal or Vulkan, through wgpu.
//!
//! Owns the device, its memory and the order of dispatches; what is computed stands in the WGSL files
//! of `marlin-kernel`.

mod arena;
mod batch;
mod buffers;
pub mod device;
pub mod emit;
mod error;
mod gpu;
mod lower;
mod memory;
mod order;
mod pipelines;
mod player;
mod program;
mod scene;
mod timing;
pub mod tuning;
mod weights;
pub mod work;

pub use error::Error;
pub use gpu::{Gpu, GpuInfo, Matrices, Opening, list};
pub use player::{CacheType, GpuOptions, GpuPlayer};
pub use timing::DispatchTime;
pub use tuning::Tuning;
