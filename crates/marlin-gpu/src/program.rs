//! A program: the dispatches that some steps of a plan become, with everything that does not change
//! from batch to batch on the device already.

use std::ops::Range;

use marlin_kernel::{plan::CacheId, shader::Variant};

use crate::{
    Error,
    batch::Dims,
    pipelines::{STEP_BYTES, binding},
    player::Shared,
};

/// Workgroups of a dispatch, from the sizes of a batch.
pub(crate) type Grid = Box<dyn Fn(&Dims) -> [usize; 3] + Send + Sync>;

/// A number of words, from the sizes of a batch.
pub(crate) type Words = Box<dyn Fn(&Dims) -> usize + Send + Sync>;

/// One dispatch, as lowering describes it.
pub(crate) struct Dispatch {
    /// Index of the last step that it completes.
    pub step: usize,
    /// The kernel, for reports.
    pub kernel: &'static str,
    /// The shader.
    pub variant: Variant,
    /// Its `Step`: at most 64 words.
    pub words: Vec<u32>,
    /// The slab whose weights it reads.
    pub slab: Option<usize>,
    /// The cache it touches.
    pub cache: Option<CacheId>,
    /// Workgroups; none if any is 0.
    pub grid: Grid,
}

/// What lowering makes of a range of steps.
#[derive(Default)]
pub(crate) struct Listing {
    pub dispatches: Vec<Dispatch>,
    /// The `tables` binding.
    pub tables: Vec<u32>,
    /// Words of `scratch`, from the sizes of a batch: the most that any step needs.
    pub scratch: Vec<Words>,
}

/// A dispatch ready to be recorded.
struct Ready {
    step: usize,
    kernel: &'static str,
    pipeline: wgpu::ComputePipeline,
    group: usize,
    offset: u32,
    grid: Grid,
}

/// Dispatches ready to be recorded, any number of times, until memory moves.
pub(crate) struct Program {
    ready: Vec<Ready>,
    groups: Vec<wgpu::BindGroup>,
    scratch: Vec<Words>,
}

impl Program {
    /// Compiles pipelines, uploads steps and tables, binds memory.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Memory`] or [`Error::Device`].
    pub fn new(listing: Listing, shared: &Shared) -> Result<Program, Error> {
        let Listing { dispatches, tables, scratch } = listing;
        let gpu = &shared.gpu;
        let mut steps = vec![0u32; dispatches.len().max(1) * STEP_BYTES / 4];
        for (dispatch, words) in dispatches.iter().zip(steps.chunks_exact_mut(STEP_BYTES / 4)) {
            words[..dispatch.words.len()].copy_from_slice(&dispatch.words);
        }
        let uniform = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("steps"),
            size: size_of_val(&steps[..]) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue.write_buffer(&uniform, 0, bytemuck::cast_slice(&steps));
        let tables = gpu.filled("tables", &tables)?;
        let mut program =
            Program { ready: Vec::with_capacity(dispatches.len()), groups: Vec::new(), scratch };
        let mut bound = Vec::new();
        for (at, dispatch) in dispatches.into_iter().enumerate() {
            let key = (dispatch.slab, dispatch.cache);
            let group = bound.iter().position(|other| *other == key).unwrap_or_else(|| {
                bound.push(key);
                program.groups.push(bind(shared, &uniform, &tables, key));
                bound.len() - 1
            });
            program.ready.push(Ready {
                step: dispatch.step,
                kernel: dispatch.kernel,
                pipeline: gpu.pipelines.get(gpu, &dispatch.variant)?,
                group,
                offset: (at * STEP_BYTES) as u32,
                grid: dispatch.grid,
            });
        }
        gpu.check()?;
        Ok(program)
    }

    /// Dispatches in the program.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Words of scratch memory that a batch needs.
    pub fn scratch_words(&self, dims: &Dims) -> usize {
        self.scratch.iter().map(|words| words(dims)).max().unwrap_or(0)
    }

    /// Records the dispatches `range` into a pass.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, dims: &Dims, range: Range<usize>) {
        for ready in &self.ready[range] {
            let [x, y, z] = (ready.grid)(dims).map(|count| count as u32);
            if x == 0 || y == 0 || z == 0 {
                continue;
            }
            pass.set_pipeline(&ready.pipeline);
            pass.set_bind_group(0, &self.groups[ready.group], &[ready.offset]);
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// Workgroups of a dispatch with a batch.
    pub fn grid(&self, at: usize, dims: &Dims) -> [usize; 3] {
        (self.ready[at].grid)(dims)
    }

    /// The step and the kernel of every dispatch.
    pub fn labels(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.ready.iter().map(|ready| (ready.step, ready.kernel))
    }
}

/// The bindings of a dispatch; what it does not use is bound to a small buffer of its own.
fn bind(
    shared: &Shared,
    uniform: &wgpu::Buffer,
    tables: &wgpu::Buffer,
    (slab, cache): (Option<usize>, Option<CacheId>),
) -> wgpu::BindGroup {
    let step = wgpu::BufferBinding {
        buffer: uniform,
        offset: 0,
        size: std::num::NonZeroU64::new(STEP_BYTES as u64),
    };
    let (codes, scales) = match slab {
        Some(slab) => shared.weights.slab(slab),
        None => (&shared.unused[0], &shared.unused[0]),
    };
    let cache = cache.map_or(&shared.unused[1], |cache| &shared.caches[cache.0 as usize].buffer);
    let buffers = [
        (binding::ARENA, &shared.arena_buffer),
        (binding::VECTORS, shared.weights.vectors()),
        (binding::BATCH, &shared.batch_buffer),
        (binding::CODES, codes),
        (binding::SCALES, scales),
        (binding::CACHE, cache),
        (binding::SCRATCH, &shared.scratch_buffer),
        (binding::TABLES, tables),
    ];
    let mut entries =
        vec![wgpu::BindGroupEntry { binding: binding::STEP, resource: wgpu::BindingResource::Buffer(step) }];
    entries.extend(buffers.iter().map(|(binding, buffer)| wgpu::BindGroupEntry {
        binding: *binding,
        resource: buffer.as_entire_binding(),
    }));
    let layout = &shared.gpu.pipelines.group_layout;
    let descriptor = wgpu::BindGroupDescriptor { label: Some("kernels"), layout, entries: &entries };
    shared.gpu.device.create_bind_group(&descriptor)
}
