//! The GPU player: keeps a plan's memory on a device and plays its programs there.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    ops::Range,
    sync::Arc,
};

use marlin_kernel::{
    Batch, Chooser, Error as PlayError, Player,
    plan::{BufferId, Plan},
};

use crate::{
    Error, Gpu, Tuning,
    arena::{Arena, Capacity},
    batch::{self, Dims, Rotations},
    device::Device,
    lower::{Lowering, RowClass},
    memory::{Memory, admit},
    program::Program,
    scene::Scene,
    weights::{Layout, Weights},
};

/// What caches hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// Exact.
    F32,
    /// Half the bytes; needs f16 in shaders.
    F16,
}

impl CacheType {
    /// Bytes of a value.
    const fn bytes(self) -> u64 {
        match self {
            CacheType::F32 => 4,
            CacheType::F16 => 2,
        }
    }
}

/// How a plan is played.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Values of the caches; `None` for f16 where the device has it.
    pub cache: Option<CacheType>,
    /// Tokens of a cache page.
    pub page_size: usize,
    /// Pages of the caches.
    pub pages: usize,
    /// Bytes of the device's memory to use at most; `None` for what there is.
    pub memory: Option<u64>,
    /// Which of several variants of a kernel is taken.
    pub tuning: Tuning,
}

impl Default for GpuOptions {
    /// f16 caches where possible, 4096 tokens in pages of 32.
    fn default() -> GpuOptions {
        GpuOptions { cache: None, page_size: 32, pages: 128, memory: None, tuning: Tuning::default() }
    }
}

/// Plays plans on a GPU, or on another device that takes the shaders.
pub struct GpuPlayer<D: Device = Gpu> {
    plan: Plan,
    device: Arc<D>,
    scene: Scene,
    memory: Memory<D>,
    rotations: Rotations,
    arena: Arena,
    capacity: Capacity,
    page_size: usize,
    pages: usize,
    dims: Dims,
    programs: HashMap<(Range<usize>, RowClass), Program<D>>,
    /// Chosen tokens on their way and how many they are, oldest first.
    submitted: VecDeque<(D::Download, usize)>,
}

impl<D: Device> fmt::Debug for GpuPlayer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuPlayer").field("device", &self.scene.info.name).finish_non_exhaustive()
    }
}

impl<D: Device> GpuPlayer<D> {
    /// Puts a plan on a device: uploads its weights, allocates its caches.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the plan does not hold together, [`Error::Missing`] for f16 caches on a device
    /// without, [`Error::Tuning`], [`Error::Memory`] and [`Error::Binding`] when it does not fit,
    /// [`Error::Device`].
    pub fn new(plan: Plan, device: &Arc<D>, options: &GpuOptions) -> Result<GpuPlayer<D>, Error> {
        plan.check()?;
        options.tuning.check()?;
        let info = device.info().clone();
        let f16 = info.f16;
        let cache_type = options.cache.unwrap_or(if f16 { CacheType::F16 } else { CacheType::F32 });
        if cache_type == CacheType::F16 && !f16 {
            return Err(Error::Missing { device: info.name, missing: "f16 for its caches" });
        }
        let weights = Layout::new(&plan, &info)?;
        let capacity = Capacity::default().grown(1, 1);
        let arena = Arena::new(&plan, capacity);
        let slots = (options.page_size * options.pages) as u64;
        let cache_strides: Vec<usize> =
            plan.caches.iter().map(|cache| cache.width.next_multiple_of(8)).collect();
        let cache_bytes = |stride: usize| slots * stride as u64 * cache_type.bytes();
        let caches_total: u64 = cache_strides.iter().map(|stride| cache_bytes(*stride)).sum();
        let needed = weights.bytes() + caches_total + 4 * arena.words;
        admit(&info, needed, options.memory)?;
        let mut taken = 0;
        let mut caches = Vec::new();
        for stride in &cache_strides {
            let bytes = cache_bytes(*stride);
            caches.push(device.storage("caches", bytes, (taken, needed))?);
            taken += bytes;
        }
        let (places, weights) = Weights::upload(weights, &plan, &**device, (taken, needed))?;
        let memory = Memory {
            weights,
            caches,
            arena: device.storage("activations", 4 * arena.words, (needed, needed))?,
            batch: device.storage("batch", 4 << 10, (0, 0))?,
            scratch: device.storage("scratch", 4 << 10, (0, 0))?,
            unused: [device.storage("unused", 16, (0, 0))?, device.storage("unused", 16, (0, 0))?],
        };
        let scene = Scene { info, places, cache_strides, cache_type, tuning: options.tuning };
        let rotations = Rotations::new(&plan);
        Ok(GpuPlayer {
            plan,
            device: device.clone(),
            scene,
            memory,
            rotations,
            arena,
            capacity,
            page_size: options.page_size,
            pages: options.pages,
            dims: Dims::default(),
            programs: HashMap::new(),
            submitted: VecDeque::new(),
        })
    }

    /// The device.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// Takes other variants from now on.
    ///
    /// # Errors
    /// [`Error::Tuning`].
    pub(crate) fn retune(&mut self, tuning: Tuning) -> Result<(), Error> {
        tuning.check()?;
        self.scene.tuning = tuning;
        self.programs.clear();
        Ok(())
    }

    /// Makes room for a batch and uploads it.
    fn take(&mut self, batch: &Batch) -> Result<(), Error> {
        self.device.check()?;
        batch.check(&self.plan, self.page_size, self.pages)?;
        batch.check_chosen(self.dims.outputs)?;
        self.dims = Dims::of(batch);
        let capacity = self.capacity.grown(self.dims.tokens, self.dims.outputs);
        if capacity != self.capacity {
            self.move_arena(capacity)?;
        }
        let words = batch::words(batch, &self.rotations, self.page_size);
        let bytes = size_of_val(&words[..]) as u64;
        if bytes > D::len_bytes(&self.memory.batch) {
            self.memory.batch = self.device.storage("batch", 2 * bytes, (0, 2 * bytes))?;
            self.programs.clear();
        }
        self.device.write(&self.memory.batch, 0, bytemuck::cast_slice(&words));
        Ok(())
    }

    /// Gives all buffers more rows. Tokens that were chosen move along: the next batch may name them.
    fn move_arena(&mut self, capacity: Capacity) -> Result<(), Error> {
        let (arena, device) = (Arena::new(&self.plan, capacity), &self.device);
        let buffer = device.storage("activations", 4 * arena.words, (0, 4 * arena.words))?;
        if let Some((_, chosen)) = self.plan.sampling() {
            let bytes = 4 * (self.capacity.outputs * self.plan.buffer(chosen.buffer).width) as u64;
            let (old, new) = (4 * self.arena.start(chosen.buffer), 4 * arena.start(chosen.buffer));
            device.copy((&self.memory.arena, old), (&buffer, new), bytes);
        }
        self.memory.arena = buffer;
        (self.capacity, self.arena) = (capacity, arena);
        self.programs.clear();
        Ok(())
    }

    /// Makes sure that the program of `range` for this batch is there, with its scratch memory.
    fn prepare(&mut self, range: &Range<usize>) -> Result<(Range<usize>, RowClass), Error> {
        let key = (range.clone(), RowClass::of(&self.dims));
        for _ in 0..2 {
            if !self.programs.contains_key(&key) {
                let GpuPlayer { plan, scene, rotations, arena, .. } = self;
                let listing = Lowering::new(plan, scene, rotations, arena, key.1).lower(range.clone())?;
                self.programs.insert(key.clone(), Program::new(listing, &*self.device, &self.memory)?);
            }
            let bytes = 4 * self.programs[&key].scratch_words(&self.dims) as u64;
            if bytes <= D::len_bytes(&self.memory.scratch) {
                break;
            }
            // Every program binds the scratch memory that is given up here.
            self.programs.clear();
            self.memory.scratch = self.device.storage("scratch", bytes, (0, bytes))?;
        }
        Ok(key)
    }

    /// The program of `range` with what it runs on.
    pub(crate) fn prepared(&mut self, range: Range<usize>) -> Result<(&Program<D>, &D, &Dims), Error> {
        let key = self.prepare(&range)?;
        Ok((&self.programs[&key], &self.device, &self.dims))
    }

    /// Words of a buffer in this batch.
    fn buffer_words(&self, buffer: BufferId) -> usize {
        let description = self.plan.buffer(buffer);
        let rows = match description.rows {
            marlin_kernel::plan::Rows::Tokens => self.dims.tokens,
            marlin_kernel::plan::Rows::Outputs => self.dims.outputs,
        };
        rows * description.width
    }
}

impl<D: Device> Player for GpuPlayer<D> {
    fn describe(&self) -> String {
        let cache = if self.scene.cache_type == CacheType::F16 { "f16" } else { "f32" };
        format!("{}, {cache} cache", self.scene.info)
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn page_size(&self) -> usize {
        self.page_size
    }

    fn pages(&self) -> usize {
        self.pages
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), PlayError> {
        Ok(self.take(batch)?)
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), PlayError> {
        let (program, device, dims) = self.prepared(range)?;
        Ok(device.play(&program.calls(dims, 0..program.len()))?)
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, PlayError> {
        let (at, words) = (self.arena.start(buffer), self.buffer_words(buffer));
        let words = self.device.read(&self.memory.arena, at, words)?;
        Ok(bytemuck::cast_vec(words))
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), PlayError> {
        let words = self.buffer_words(buffer);
        if values.len() != words {
            let (found, expected) = (values.len().to_string(), words.to_string());
            return Err(PlayError::Batch { what: "values written", found, expected });
        }
        if words > 0 {
            let at = 4 * self.arena.start(buffer);
            self.device.write(&self.memory.arena, at, bytemuck::cast_slice(values));
        }
        self.device.check()?;
        Ok(())
    }

    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        self.plan.sampling().is_some().then_some(self)
    }
}

impl<D: Device> Chooser for GpuPlayer<D> {
    fn submit(&mut self, batch: &Batch) -> Result<(), PlayError> {
        batch.check_submission()?;
        self.take(batch)?;
        let key = self.prepare(&(0..self.plan.steps.len()))?;
        let program = &self.programs[&key];
        let calls = program.calls(&self.dims, 0..program.len());
        let (_, chosen) = self.plan.sampling().ok_or_else(PlayError::nothing_submitted)?;
        // A batch without outputs is waited for like any other, so a word is copied all the same.
        let (at, words) = (self.arena.start(chosen.buffer), self.buffer_words(chosen.buffer).max(1));
        let download = self.device.play_and_read(&calls, &self.memory.arena, at, words)?;
        self.submitted.push_back((download, self.dims.outputs));
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<u32>, PlayError> {
        let (download, outputs) = self.submitted.pop_front().ok_or_else(PlayError::nothing_submitted)?;
        let words = self.device.finish(download)?;
        let Some((_, chosen)) = self.plan.sampling() else { return Ok(words) };
        let width = self.plan.buffer(chosen.buffer).width;
        Ok(words.into_iter().skip(chosen.start).step_by(width).take(outputs).collect())
    }
}

#[cfg(test)]
mod tests;
