//! What can go wrong between a plan and a GPU.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits the wish.
    #[error("device {wanted}: no such GPU; found {found}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters there are, or `none`.
        found: String,
    },
    /// An adapter cannot run the kernels.
    #[error("{device}: has no {missing}, which the kernels need")]
    Missing {
        /// The adapter.
        device: String,
        /// The feature.
        missing: &'static str,
    },
    /// The model does not fit in the device's memory.
    #[error(
        "{device}: {needed} bytes of {what} do not fit: {available} bytes are available, {} are missing",
        needed.saturating_sub(*available)
    )]
    Memory {
        /// The adapter.
        device: String,
        /// What was being allocated: `weights`, `weights, caches and activations`.
        what: &'static str,
        /// Bytes wanted in all.
        needed: u64,
        /// Bytes there are, or that could be had.
        available: u64,
    },
    /// One thing is larger than the device can bind at once, and cannot be cut.
    #[error("{device}: {what} has {found} bytes, one binding holds {limit}")]
    Binding {
        /// The adapter.
        device: String,
        /// What is too large.
        what: String,
        /// Its size.
        found: u64,
        /// The device's limit.
        limit: u64,
    },
    /// The device or its driver failed.
    #[error("{device}: {reason}")]
    Device {
        /// The adapter.
        device: String,
        /// What was reported.
        reason: String,
    },
    /// A kernel takes more workgroup memory than the device has.
    #[error("{device}: kernel {variant} needs {needed} bytes of workgroup memory, found {found}")]
    Workgroup {
        /// The adapter.
        device: String,
        /// The variant's name.
        variant: String,
        /// Bytes it declares.
        needed: u32,
        /// Bytes there are.
        found: u32,
    },
    /// A tuning asks for what no kernel does.
    #[error("tuning, {choice}: found {found}, expected {expected}")]
    Tuning {
        /// The choice's name.
        choice: &'static str,
        /// Its value.
        found: String,
        /// Values there are.
        expected: String,
    },
    /// A kernel cannot be translated.
    #[error("kernel {variant}: {reason}")]
    Emit {
        /// The variant's name.
        variant: String,
        /// What is in the way.
        reason: String,
    },
    /// The plan or the batch is at fault.
    #[error(transparent)]
    Kernel(#[from] marlin_kernel::Error),
}

impl From<Error> for marlin_kernel::Error {
    fn from(error: Error) -> marlin_kernel::Error {
        match error {
            Error::Kernel(error) => error,
            Error::Device { device, reason } => marlin_kernel::Error::Device { device, reason },
            other => {
                let text = other.to_string();
                let (device, reason) = text.split_once(": ").unwrap_or(("gpu", &text));
                marlin_kernel::Error::Device { device: device.to_owned(), reason: reason.to_owned() }
            }
        }
    }
}
