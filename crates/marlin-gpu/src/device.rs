//! What a player needs of a device: memory, pipelines and dispatches.
//!
//! [`Gpu`](crate::Gpu) is what users have, through wgpu. Everything above this trait (orders of weights,
//! lowering, programs, the player) is the same on any other device that takes the shaders; `marlin-msl`
//! makes one that runs the Metal sources on a CPU.

use std::fmt;

use marlin_kernel::shader::Variant;

use crate::{Error, GpuInfo};

/// Bytes of a step's constants; also their distance in a buffer of steps, which suits every device.
pub const STEP_BYTES: usize = 256;

/// Bindings of the one layout that all kernels share; see `marlin_kernel::shader`.
pub const BINDINGS: usize = 9;

/// A device that takes the shaders of `marlin-kernel`.
///
/// Whatever is written, copied or played happens in the order of the calls. What goes wrong on the
/// device after a call has returned is reported by a later one.
pub trait Device: fmt::Debug + Send + Sync + Sized + 'static {
    /// Memory on the device.
    type Buffer: fmt::Debug + Send;
    /// A variant of a kernel, compiled.
    type Pipeline: Clone + Send;
    /// Buffers bound for a kernel.
    type Group: Send;
    /// A copy to the host on its way.
    type Download: Send;

    /// What it is and can do, and which of it is used.
    fn info(&self) -> &GpuInfo;

    /// What the device has reported since it was opened, if anything.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn check(&self) -> Result<(), Error>;

    /// A storage buffer of `bytes`, at least 16, rounded up to a multiple of 16. Its contents are zero.
    ///
    /// # Errors
    /// [`Error::Binding`] when it is larger than one binding; [`Error::Memory`] when there is no room, where
    /// so many bytes of `memory` have been taken before, and so many are needed in all.
    fn storage(&self, what: &'static str, bytes: u64, memory: (u64, u64)) -> Result<Self::Buffer, Error>;

    /// Constants of steps, [`STEP_BYTES`] of them each.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn steps(&self, words: &[u32]) -> Result<Self::Buffer, Error>;

    /// Bytes of a buffer.
    fn len_bytes(buffer: &Self::Buffer) -> u64;

    /// Copies `bytes`, a multiple of 4, to byte `at` of a buffer, a multiple of 4.
    fn write(&self, buffer: &Self::Buffer, at: u64, bytes: &[u8]);

    /// Waits until all that was written is on the device, so that nothing of it waits in memory.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn flush(&self) -> Result<(), Error>;

    /// Copies `bytes` from one place, a buffer and a byte of it, to another.
    fn copy(&self, from: (&Self::Buffer, u64), to: (&Self::Buffer, u64), bytes: u64);

    /// The pipeline of a variant, compiled when it is first asked for.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Workgroup`] when the device lacks what it needs, [`Error::Device`]
    /// when it refuses it.
    fn pipeline(&self, variant: &Variant) -> Result<Self::Pipeline, Error>;

    /// Binds buffers, in the order of their bindings. The first holds steps: a call says which.
    fn group(&self, buffers: [&Self::Buffer; BINDINGS]) -> Self::Group;

    /// Plays dispatches one after another.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn play(&self, calls: &[Call<'_, Self>]) -> Result<(), Error>;

    /// Plays dispatches and starts a copy of `words` words, from word `at` of `buffer`, without waiting.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn play_and_read(
        &self,
        calls: &[Call<'_, Self>],
        buffer: &Self::Buffer,
        at: u64,
        words: usize,
    ) -> Result<Self::Download, Error>;

    /// Waits for a copy to the host.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn finish(&self, download: Self::Download) -> Result<Vec<u32>, Error>;

    /// Copies `words` words from word `at` of `buffer` to the host.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn read(&self, buffer: &Self::Buffer, at: u64, words: usize) -> Result<Vec<u32>, Error> {
        if words == 0 {
            return Ok(Vec::new());
        }
        self.finish(self.play_and_read(&[], buffer, at, words)?)
    }

    /// A storage buffer with contents, in words.
    ///
    /// # Errors
    /// As [`Device::storage`].
    fn filled(&self, what: &'static str, words: &[u32]) -> Result<Self::Buffer, Error> {
        let bytes = size_of_val(words) as u64;
        let buffer = self.storage(what, bytes, (0, bytes))?;
        if !words.is_empty() {
            self.write(&buffer, 0, bytemuck::cast_slice(words));
        }
        Ok(buffer)
    }
}

/// One dispatch.
#[derive(Debug)]
pub struct Call<'a, D: Device> {
    /// The kernel.
    pub pipeline: &'a D::Pipeline,
    /// Its buffers.
    pub group: &'a D::Group,
    /// Byte of the buffer of steps at which its constants start.
    pub step: u32,
    /// Workgroups, none of the three 0.
    pub workgroups: [u32; 3],
}
