//! A program: the dispatches that some steps of a plan become, with everything that does not change
//! from batch to batch on the device already.

use std::ops::Range;

use marlin_kernel::{plan::CacheId, shader::Variant};

use crate::{
    Error,
    batch::Dims,
    device::{BINDINGS, Call, Device, STEP_BYTES},
    memory::Memory,
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

/// A dispatch ready to be played.
struct Ready<D: Device> {
    step: usize,
    kernel: &'static str,
    pipeline: D::Pipeline,
    group: usize,
    offset: u32,
    grid: Grid,
}

/// Dispatches ready to be played, any number of times, until memory moves.
pub(crate) struct Program<D: Device> {
    ready: Vec<Ready<D>>,
    groups: Vec<D::Group>,
    scratch: Vec<Words>,
}

impl<D: Device> Program<D> {
    /// Compiles pipelines, uploads steps and tables, binds memory.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Memory`] or [`Error::Device`].
    pub fn new(listing: Listing, device: &D, memory: &Memory<D>) -> Result<Program<D>, Error> {
        let Listing { dispatches, tables, scratch } = listing;
        let mut steps = vec![0u32; dispatches.len().max(1) * STEP_BYTES / 4];
        for (dispatch, words) in dispatches.iter().zip(steps.chunks_exact_mut(STEP_BYTES / 4)) {
            words[..dispatch.words.len()].copy_from_slice(&dispatch.words);
        }
        let steps = device.steps(&steps)?;
        let tables = device.filled("tables", &tables)?;
        let mut program =
            Program { ready: Vec::with_capacity(dispatches.len()), groups: Vec::new(), scratch };
        let mut bound = Vec::new();
        for (at, dispatch) in dispatches.into_iter().enumerate() {
            let key = (dispatch.slab, dispatch.cache);
            let group = bound.iter().position(|other| *other == key).unwrap_or_else(|| {
                bound.push(key);
                program.groups.push(device.group(bindings(memory, &steps, &tables, key)));
                bound.len() - 1
            });
            program.ready.push(Ready {
                step: dispatch.step,
                kernel: dispatch.kernel,
                pipeline: device.pipeline(&dispatch.variant)?,
                group,
                offset: (at * STEP_BYTES) as u32,
                grid: dispatch.grid,
            });
        }
        device.check()?;
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

    /// The dispatches `range` that are not empty with a batch.
    pub fn calls(&self, dims: &Dims, range: Range<usize>) -> Vec<Call<'_, D>> {
        let call = |ready| {
            let Ready { pipeline, group, offset, grid, .. }: &Ready<D> = ready;
            let workgroups = grid(dims).map(|count| count as u32);
            let played = workgroups.iter().all(|count| *count > 0);
            played.then(|| Call { pipeline, group: &self.groups[*group], step: *offset, workgroups })
        };
        self.ready[range].iter().filter_map(call).collect()
    }

    /// The step and the kernel of every dispatch.
    pub fn labels(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.ready.iter().map(|ready| (ready.step, ready.kernel))
    }
}

/// The buffers of a dispatch in the order of their bindings; what it does not use is bound to a small
/// buffer of its own.
fn bindings<'a, D: Device>(
    memory: &'a Memory<D>,
    steps: &'a D::Buffer,
    tables: &'a D::Buffer,
    (slab, cache): (Option<usize>, Option<CacheId>),
) -> [&'a D::Buffer; BINDINGS] {
    let [unread, unwritten] = &memory.unused;
    let (codes, scales) = match slab {
        Some(slab) => (&memory.weights.slabs[slab].0, &memory.weights.slabs[slab].1),
        None => (unread, unread),
    };
    let cache = cache.map_or(unwritten, |cache| &memory.caches[cache.0 as usize]);
    let vectors = &memory.weights.vectors;
    [steps, &memory.arena, vectors, &memory.batch, codes, scales, cache, &memory.scratch, tables]
}
