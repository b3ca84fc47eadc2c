//! Memory on the device that programs bind, and whether there can be enough of it.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::{Error, GpuInfo, device::Device, weights::Weights};

/// Everything on the device that programs bind.
#[derive(Debug)]
pub(crate) struct Memory<D: Device> {
    pub weights: Weights<D>,
    /// Rows of each cache.
    pub caches: Vec<D::Buffer>,
    pub arena: D::Buffer,
    pub batch: D::Buffer,
    pub scratch: D::Buffer,
    /// Bound where a kernel uses nothing: read only, read and write.
    pub unused: [D::Buffer; 2],
}

/// Whether `needed` bytes can be had at all: within `limit`, and within three quarters of the machine's
/// memory where the device shares it, so that a model that is too large never takes the whole machine
/// down.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn admit(info: &GpuInfo, needed: u64, limit: Option<u64>) -> Result<(), Error> {
    let total = || {
        let memory = MemoryRefreshKind::nothing().with_ram();
        let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
        system.total_memory() / 4 * 3
    };
    let shared = if info.unified { total() } else { u64::MAX };
    let available = limit.unwrap_or(u64::MAX).min(shared);
    if needed <= available {
        return Ok(());
    }
    let (device, what) = (info.name.clone(), "weights, caches and activations");
    Err(Error::Memory { device, what, needed, available })
}
