//! What lowering must know besides the plan: the device's abilities and where things stand on it.

use crate::{CacheType, GpuInfo, Tuning, weights::Places};

/// The device as lowering sees it.
#[derive(Debug)]
pub(crate) struct Scene {
    /// What the device can do.
    pub info: GpuInfo,
    /// Where weights stand.
    pub places: Places,
    /// Values from one row of a cache to the next: its width rounded up to 8.
    pub cache_strides: Vec<usize>,
    /// What caches hold.
    pub cache_type: CacheType,
    /// Which of several variants is taken.
    pub tuning: Tuning,
}
