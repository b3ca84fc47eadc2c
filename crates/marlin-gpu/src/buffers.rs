//! Buffers on the device: allocated with out-of-memory reported, filled through bounded staging, read
//! back.

use std::sync::mpsc;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::{Error, Gpu};

/// Bytes that wait in staging memory at once while weights are uploaded.
pub(crate) const STAGING_BYTES: usize = 32 << 20;

/// Storage that kernels use and copies reach.
const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);

impl Gpu {
    /// Whether `needed` bytes can be had at all: within `limit`, and within three quarters of the
    /// machine's memory where the device shares it, so that a model that is too large never takes the
    /// whole machine down.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub(crate) fn admit(&self, needed: u64, limit: Option<u64>) -> Result<(), Error> {
        let total = || {
            let memory = MemoryRefreshKind::nothing().with_ram();
            let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
            system.total_memory() / 4 * 3
        };
        let shared = if self.info.unified { total() } else { u64::MAX };
        let available = limit.unwrap_or(u64::MAX).min(shared);
        if needed <= available {
            return Ok(());
        }
        let (device, what) = (self.info.name.clone(), "weights, caches and activations");
        Err(Error::Memory { device, what, needed, available })
    }

    /// A storage buffer of `bytes`, at least 16, rounded up to a multiple of 16. Its contents are zero.
    ///
    /// # Errors
    /// [`Error::Binding`] when it is larger than one binding; [`Error::Memory`] when there is no room, where
    /// `taken` bytes of `what` have been allocated before and `needed` are wanted in all.
    pub(crate) fn storage(
        &self,
        what: &'static str,
        bytes: u64,
        (taken, needed): (u64, u64),
    ) -> Result<wgpu::Buffer, Error> {
        let size = bytes.max(16).next_multiple_of(16);
        if size > self.info.max_binding {
            let (device, what) = (self.info.name.clone(), what.to_owned());
            return Err(Error::Binding { device, what, found: size, limit: self.info.max_binding });
        }
        let out_of_memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor =
            wgpu::BufferDescriptor { label: Some(what), size, usage: USAGE, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        if pollster::block_on(out_of_memory.pop()).is_some() {
            let device = self.info.name.clone();
            return Err(Error::Memory { device, what, needed, available: taken });
        }
        self.check()?;
        Ok(buffer)
    }

    /// A storage buffer with contents, in words.
    ///
    /// # Errors
    /// As [`Gpu::storage`].
    pub(crate) fn filled(&self, what: &'static str, words: &[u32]) -> Result<wgpu::Buffer, Error> {
        let bytes = size_of_val(words) as u64;
        let buffer = self.storage(what, bytes, (0, bytes))?;
        if !words.is_empty() {
            self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        }
        Ok(buffer)
    }

    /// Copies `words` words from word `at` of `buffer` to the host, after everything submitted so far.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub(crate) fn read(&self, buffer: &wgpu::Buffer, at: u64, words: usize) -> Result<Vec<u32>, Error> {
        if words == 0 {
            return Ok(Vec::new());
        }
        let encoder = self.device.create_command_encoder(&Default::default());
        let download = self.submit(encoder, buffer, at, words)?;
        self.finish(download)
    }

    /// Submits what has been recorded and after it a copy to the host, without waiting for either.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) fn submit(
        &self,
        mut encoder: wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        at: u64,
        words: usize,
    ) -> Result<Download, Error> {
        let size = 4 * words as u64;
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("read"), size, usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        encoder.copy_buffer_to_buffer(buffer, 4 * at, &staging, 0, size);
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, mapped) = mpsc::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // Nobody listens any more when the wait has failed.
            let _ = sender.send(result);
        });
        self.check()?;
        Ok(Download { staging, submission, mapped })
    }

    /// Waits for a download.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) fn finish(&self, download: Download) -> Result<Vec<u32>, Error> {
        self.wait(Some(download.submission))?;
        let mapped = download.mapped.try_recv().map_err(|_| self.error("did not return a result"))?;
        mapped.map_err(|error| self.error(error))?;
        let range = download.staging.slice(..).get_mapped_range().map_err(|error| self.error(error))?;
        let words = bytemuck::pod_collect_to_vec(&range[..]);
        drop(range);
        download.staging.unmap();
        Ok(words)
    }
}

/// A copy to the host on its way.
#[derive(Debug)]
pub(crate) struct Download {
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
}
