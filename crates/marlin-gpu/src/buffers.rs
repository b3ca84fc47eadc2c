//! The GPU as a [`Device`]: buffers allocated with out-of-memory reported, filled through bounded
//! staging, read back; dispatches recorded and submitted.

use std::{num::NonZeroU64, sync::mpsc};

use marlin_kernel::shader::Variant;

use crate::{
    Error, Gpu, GpuInfo,
    device::{BINDINGS, Call, Device, STEP_BYTES},
    pipelines::binding,
};

/// Storage that kernels use and copies reach.
const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);

impl Device for Gpu {
    type Buffer = wgpu::Buffer;
    type Pipeline = wgpu::ComputePipeline;
    type Group = wgpu::BindGroup;
    type Download = Download;

    fn info(&self) -> &GpuInfo {
        &self.info
    }

    fn check(&self) -> Result<(), Error> {
        self.reported()
    }

    fn storage(
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

    fn steps(&self, words: &[u32]) -> Result<wgpu::Buffer, Error> {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("steps"),
            size: size_of_val(words) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.write(&buffer, 0, bytemuck::cast_slice(words));
        self.check()?;
        Ok(buffer)
    }

    fn len_bytes(buffer: &wgpu::Buffer) -> u64 {
        buffer.size()
    }

    fn write(&self, buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) {
        self.queue.write_buffer(buffer, at, bytes);
    }

    fn flush(&self) -> Result<(), Error> {
        self.queue.submit([]);
        self.wait(None)
    }

    fn copy(&self, from: (&wgpu::Buffer, u64), to: (&wgpu::Buffer, u64), bytes: u64) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from.0, from.1, to.0, to.1, bytes);
        self.queue.submit([encoder.finish()]);
    }

    fn pipeline(&self, variant: &Variant) -> Result<wgpu::ComputePipeline, Error> {
        self.pipelines.get(self, variant)
    }

    fn group(&self, buffers: [&wgpu::Buffer; BINDINGS]) -> wgpu::BindGroup {
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| {
                // Steps are bound one at a time.
                let size = NonZeroU64::new(STEP_BYTES as u64).filter(|_| binding == binding::STEP);
                let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
                wgpu::BindGroupEntry { binding, resource }
            })
            .collect();
        let layout = &self.pipelines.group_layout;
        let descriptor = wgpu::BindGroupDescriptor { label: Some("kernels"), layout, entries: &entries };
        self.device.create_bind_group(&descriptor)
    }

    fn play(&self, calls: &[Call<'_, Gpu>]) -> Result<(), Error> {
        self.queue.submit([self.encode(calls).finish()]);
        self.check()
    }

    fn play_and_read(
        &self,
        calls: &[Call<'_, Gpu>],
        buffer: &wgpu::Buffer,
        at: u64,
        words: usize,
    ) -> Result<Download, Error> {
        self.submit(self.encode(calls), buffer, at, words)
    }

    fn finish(&self, download: Download) -> Result<Vec<u32>, Error> {
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

/// Records dispatches into a pass.
pub(crate) fn record(pass: &mut wgpu::ComputePass<'_>, calls: &[Call<'_, Gpu>]) {
    for call in calls {
        let [x, y, z] = call.workgroups;
        pass.set_pipeline(call.pipeline);
        pass.set_bind_group(0, call.group, &[call.step]);
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Gpu {
    /// Dispatches, recorded in one pass; nothing, if there are none.
    fn encode(&self, calls: &[Call<'_, Gpu>]) -> wgpu::CommandEncoder {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        if !calls.is_empty() {
            record(&mut encoder.begin_compute_pass(&Default::default()), calls);
        }
        encoder
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
}

/// A copy to the host on its way.
#[derive(Debug)]
pub struct Download {
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
}
