//! Time on the device: of some steps, of every dispatch of them, and of a copy for comparison.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use marlin_kernel::shader::Variant;

use crate::{
    Error, Gpu, GpuPlayer,
    buffers::record,
    device::{BINDINGS, Call, Device, STEP_BYTES},
    pipelines::binding,
};

/// Dispatches timed at once: a set of queries holds two for each.
const TIMED_AT_ONCE: usize = 1024;

/// The time of one dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchTime {
    /// The last step of the plan that it completes.
    pub step: usize,
    /// The kernel's name.
    pub kernel: &'static str,
    /// From its begin to its end on the device.
    pub time: Duration,
}

impl GpuPlayer {
    /// Plays the steps of `range` on the batch taken last in one pass, as a token plays them, and returns
    /// the time from the begin of the first dispatch to the end of the last.
    ///
    /// # Errors
    /// [`Error::Missing`] on a device without timestamps, [`Error::Device`].
    pub fn time(&mut self, range: Range<usize>) -> Result<Duration, Error> {
        let (program, gpu, dims) = self.prepared(range)?;
        let calls = program.calls(dims, 0..program.len());
        let times = gpu.time_passes(1, |pass, _| record(pass, &calls))?;
        Ok(times[0])
    }

    /// Plays the steps of `range` on the batch taken last, each dispatch in a pass of its own between
    /// two timestamps. Slower than [`GpuPlayer::time`]: the device rests in between, for about 5 us each
    /// on an H100.
    ///
    /// # Errors
    /// [`Error::Missing`] on a device without timestamps, [`Error::Device`].
    pub fn profile(&mut self, range: Range<usize>) -> Result<Vec<DispatchTime>, Error> {
        let (program, gpu, dims) = self.prepared(range)?;
        let mut times = Vec::with_capacity(program.len());
        for start in (0..program.len()).step_by(TIMED_AT_ONCE) {
            let range = start..program.len().min(start + TIMED_AT_ONCE);
            let play = |pass: &mut wgpu::ComputePass<'_>, at: usize| {
                record(pass, &program.calls(dims, range.start + at..range.start + at + 1));
            };
            times.extend(gpu.time_passes(range.len(), play)?);
        }
        let labels = program.labels();
        Ok(labels.zip(times).map(|((step, kernel), time)| DispatchTime { step, kernel, time }).collect())
    }

    /// Dispatches that the steps of `range` take with the batch taken last.
    ///
    /// # Errors
    /// As [`GpuPlayer::profile`].
    pub fn dispatches(&mut self, range: Range<usize>) -> Result<usize, Error> {
        let (program, _, dims) = self.prepared(range)?;
        Ok(program.calls(dims, 0..program.len()).len())
    }
}

impl Gpu {
    /// Records `count` passes, submits them and returns how long each took on the device.
    ///
    /// # Errors
    /// [`Error::Missing`] on a device without timestamps, [`Error::Device`].
    fn time_passes(
        &self,
        count: usize,
        record: impl Fn(&mut wgpu::ComputePass<'_>, usize),
    ) -> Result<Vec<Duration>, Error> {
        if !self.info.timestamps {
            return Err(Error::Missing { device: self.info.name.clone(), missing: "timestamps" });
        }
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("times"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * count as u32,
        });
        let bytes = 16 * count as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("times"), size: bytes, usage, mapped_at_creation: false };
        let resolved = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for at in 0..count {
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(2 * at as u32),
                end_of_pass_write_index: Some(2 * at as u32 + 1),
            };
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
            record(&mut encoder.begin_compute_pass(&descriptor), at);
        }
        encoder.resolve_query_set(&queries, 0..2 * count as u32, &resolved, 0);
        let download = self.submit(encoder, &resolved, 0, 4 * count)?;
        let words = self.finish(download)?;
        let ticks: Vec<u64> =
            words.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect();
        let period = f64::from(self.queue.get_timestamp_period());
        let time =
            |pair: &[u64]| Duration::from_nanos((pair[1].saturating_sub(pair[0]) as f64 * period) as u64);
        Ok(ticks.chunks_exact(2).map(time).collect())
    }

    /// Bytes read and written in a second by a kernel that copies `bytes` from one buffer to another,
    /// the median of `repeats`.
    ///
    /// # Errors
    /// [`Error::Memory`] for two buffers of that size, [`Error::Missing`] without timestamps,
    /// [`Error::Device`].
    pub fn copy_bandwidth(&self, bytes: u64, repeats: usize) -> Result<f64, Error> {
        let bytes = bytes.min(self.info.max_binding) / 4096 * 4096;
        let variant = Variant { file: "shader/copy", slots: Vec::new(), constants: Vec::new() };
        let buffers =
            [self.storage("copy", bytes, (0, 2 * bytes))?, self.storage("copy", bytes, (bytes, 2 * bytes))?];
        let groups = (bytes / 4096).min(u64::from(u16::MAX)) as u32;
        let pass = self.bare(&variant, &[(binding::CODES, &buffers[0]), (binding::SCRATCH, &buffers[1])])?;
        let times = self.time_passes(repeats + 2, |target, _| pass.record(target, [groups, 1, 1]))?;
        Ok(2.0 * bytes as f64 / median(times[2..].to_vec()).as_secs_f64())
    }

    /// Operations a second of the device's matrix units, f16 into f32, or of its f32 multiply-adds where
    /// it has none: a kernel that does nothing else, the median of `repeats`.
    ///
    /// # Errors
    /// [`Error::Missing`] without timestamps, [`Error::Device`].
    pub fn peak_operations(&self, repeats: usize) -> Result<f64, Error> {
        let (pass, groups, operations) = self.peak_pass()?;
        let times = self.time_passes(repeats + 2, |target, _| pass.record(target, [groups, 1, 1]))?;
        let total = PEAK_ROUNDS * operations * u64::from(groups);
        Ok(total as f64 / median(times[2..].to_vec()).as_secs_f64())
    }

    /// Computes nothing of use for about `time`, so that what is timed next meets the clocks of a device
    /// at work: an idle one may run at a sixth of them.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn keep_busy(&self, time: Duration) -> Result<(), Error> {
        let (pass, groups, _) = self.peak_pass()?;
        let start = Instant::now();
        while start.elapsed() < time {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut target = encoder.begin_compute_pass(&Default::default());
            for _ in 0..4 {
                pass.record(&mut target, [groups, 1, 1]);
            }
            drop(target);
            let submission = self.queue.submit([encoder.finish()]);
            self.wait(Some(submission))?;
        }
        Ok(())
    }

    /// The kernel that does nothing but compute, its workgroups, and operations of a round of one.
    fn peak_pass(&self) -> Result<(Bare, u32, u64), Error> {
        let (file, slots, operations) = match self.info.matrices {
            Some(crate::Matrices::Size16) => {
                ("shader/peak_matrix", vec![("tile", "matmul/tile16")], 4 * 8 * 2 * 16 * 16 * 16)
            }
            Some(crate::Matrices::Size8) => {
                ("shader/peak_matrix", vec![("tile", "matmul/tile8")], 4 * 8 * 2 * 8 * 8 * 8)
            }
            None => ("shader/peak_fma", Vec::new(), 128 * 8 * 4 * 2),
        };
        let variant = Variant { file, slots, constants: Vec::new() };
        let groups = if self.info.software { 4 } else { 4096 };
        let out = self.storage("peak", 4 * 128 * u64::from(groups), (0, 0))?;
        Ok((self.bare(&variant, &[(binding::SCRATCH, &out)])?, groups, operations))
    }
}

/// Rounds of the kernels that measure peaks: `ROUNDS` there.
const PEAK_ROUNDS: u64 = 1024;

/// The middle one of at least one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A kernel outside any plan, with its buffers.
struct Bare {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl Bare {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, workgroups: [u32; 3]) {
        record(pass, &[Call { pipeline: &self.pipeline, group: &self.group, step: 0, workgroups }]);
    }
}

impl Gpu {
    /// A kernel with `bound` at these bindings, and small buffers at all others.
    fn bare(&self, variant: &Variant, bound: &[(u32, &wgpu::Buffer)]) -> Result<Bare, Error> {
        let unused: Vec<wgpu::Buffer> =
            (1..BINDINGS).map(|_| self.storage("unused", 256, (0, 0))).collect::<Result<_, _>>()?;
        let step = self.steps(&[0; STEP_BYTES / 4])?;
        let mut buffers: [&wgpu::Buffer; BINDINGS] = [&step; BINDINGS];
        for (slot, buffer) in buffers[1..].iter_mut().zip(&unused) {
            *slot = buffer;
        }
        for (binding, buffer) in bound {
            buffers[*binding as usize] = buffer;
        }
        Ok(Bare { pipeline: self.pipeline(variant)?, group: self.group(buffers) })
    }
}
