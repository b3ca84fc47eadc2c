//! An M-series GPU of the GPU player's whose Metal sources run on this machine's CPU.
//!
//! ```text
//!  plan ─ marlin-gpu: lower, as for a GPU of Apple's ─► dispatches ─► Device: Metal
//!  variant ─ marlin-gpu: emit::metal, what wgpu gives a Mac ─► clang ─► kernel, run by threadgroup.rs
//! ```

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use marlin_gpu::{
    Error, GpuInfo, Matrices,
    device::{BINDINGS, Call, Device},
    emit,
};
use marlin_kernel::shader::Variant;

use crate::{Build, Compiler, Kernel, Launch, Memory};

/// Threads of a simdgroup on every GPU of Apple's (Metal Feature Set Tables, Apple7 and later).
pub const SIMDGROUP: u32 = 32;

/// What an M-series GPU is to wgpu: the least of the family, an M1.
pub fn m_series() -> GpuInfo {
    GpuInfo {
        name: "Metal source on the CPU".to_owned(),
        backend: "metal",
        driver: String::new(),
        software: true,
        unified: true,
        subgroups: true,
        subgroup_sizes: (SIMDGROUP, SIMDGROUP),
        f16: true,
        matrices: Some(Matrices::Size8),
        workgroup_memory: 32 << 10,
        max_binding: 1 << 30,
        timestamps: false,
    }
}

/// A kernel, compiled, and how it is called.
pub struct Source {
    kernel: Kernel,
    metal: Arc<emit::Metal>,
}

/// Made by whoever asks first.
type Once<T> = Arc<OnceLock<Result<Arc<T>, String>>>;

/// Compiled kernels, each made when it is first used; devices share them.
pub struct Sources {
    compiler: Compiler,
    /// Texts in the place of what is emitted: kernels broken on purpose.
    replaced: HashMap<Variant, String>,
    /// As they are emitted.
    texts: Mutex<HashMap<Variant, Once<emit::Metal>>>,
    entries: Mutex<HashMap<(Variant, Build), Once<Source>>>,
}

impl Sources {
    /// Nothing compiled yet.
    pub fn new(compiler: Compiler) -> Sources {
        Sources { compiler, replaced: HashMap::new(), texts: Mutex::default(), entries: Mutex::default() }
    }

    /// The same kernels but for one, whose Metal source is `text`.
    pub fn with(&self, variant: Variant, text: String) -> Sources {
        let mut entries = lock(&self.entries).clone();
        entries.retain(|(known, _), _| *known != variant);
        Sources {
            compiler: self.compiler.clone(),
            replaced: [(variant, text)].into(),
            texts: Mutex::new(lock(&self.texts).clone()),
            entries: Mutex::new(entries),
        }
    }

    fn get(&self, variant: &Variant, build: Build) -> Result<Arc<Source>, String> {
        let entry = lock(&self.entries).entry((variant.clone(), build)).or_default().clone();
        entry.get_or_init(|| self.compile(variant, build)).clone()
    }

    fn compile(&self, variant: &Variant, build: Build) -> Result<Arc<Source>, String> {
        let text = lock(&self.texts).entry(variant.clone()).or_default().clone();
        let emit = || emit::metal(variant).map(Arc::new).map_err(|error| error.to_string());
        let mut metal = text.get_or_init(emit).clone()?;
        if let Some(text) = self.replaced.get(variant) {
            metal = Arc::new(emit::Metal { text: text.clone(), ..(*metal).clone() });
        }
        let kernel = self.compiler.compile(&variant.name(), &metal.text, build);
        Ok(Arc::new(Source { kernel: kernel.map_err(|error| error.to_string())?, metal }))
    }
}

/// Memory of a [`Metal`]: which, and its size.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    at: usize,
    len: usize,
}

/// The device. Plays dispatches at once, one after another.
pub struct Metal {
    info: GpuInfo,
    sources: Arc<Sources>,
    build: Build,
    /// Of the order of threads; each dispatch has another.
    seed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kept for the life of the device.
    memories: Vec<Memory>,
    /// Variants that were executed.
    variants: BTreeSet<String>,
    /// The first thing that went wrong.
    fault: Option<String>,
}

impl fmt::Debug for Metal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metal").field("name", &self.info.name).finish_non_exhaustive()
    }
}

impl Metal {
    /// A device that is what `info` says; the order of its threads follows from `seed`.
    pub fn new(info: GpuInfo, sources: &Arc<Sources>, build: Build, seed: u64) -> Arc<Metal> {
        let (seed, state) = (AtomicU64::new(seed << 32), Mutex::default());
        Arc::new(Metal { info, sources: sources.clone(), build, seed, state })
    }

    /// The names of the variants that were executed.
    pub fn variants(&self) -> BTreeSet<String> {
        lock(&self.state).variants.clone()
    }

    fn error(&self, reason: String) -> Error {
        Error::Device { device: self.info.name.clone(), reason }
    }

    fn run(&self, memories: &[Memory], call: &Call<'_, Metal>) -> Result<(), String> {
        let (kernel, metal) = (&call.pipeline.kernel, &*call.pipeline.metal);
        let (slot, sized) = &metal.sizes;
        let length = |binding: &u32| (call.group[*binding as usize].len as u32).to_le_bytes();
        let lengths: Vec<u8> = sized.iter().flat_map(length).collect();
        let sizes = Memory::new(lengths.len()).map_err(|error| error.to_string())?;
        sizes.write(0, &lengths);
        let mut buffers: Vec<(u32, &Memory, usize)> =
            (0..).zip(call.group).map(|(slot, buffer)| (slot, &memories[buffer.at], 0)).collect();
        buffers[0].2 = call.step as usize;
        buffers.push((*slot, &sizes, 0));
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let launch = Launch { seed, ..Launch::new(&buffers, call.workgroups, metal.threads) };
        kernel.run(&launch).map_err(|fault| fault.to_string())
    }
}

impl Device for Metal {
    type Buffer = Buffer;
    type Pipeline = Arc<Source>;
    type Group = [Buffer; BINDINGS];
    type Download = Vec<u32>;

    fn info(&self) -> &GpuInfo {
        &self.info
    }

    fn check(&self) -> Result<(), Error> {
        lock(&self.state).fault.as_ref().map_or(Ok(()), |fault| Err(self.error(fault.clone())))
    }

    fn storage(&self, _what: &'static str, bytes: u64, _memory: (u64, u64)) -> Result<Buffer, Error> {
        let len = bytes.max(16).next_multiple_of(16) as usize;
        let memory = Memory::new(len).map_err(|error| self.error(error.to_string()))?;
        let memories = &mut lock(&self.state).memories;
        memories.push(memory);
        Ok(Buffer { at: memories.len() - 1, len })
    }

    fn steps(&self, words: &[u32]) -> Result<Buffer, Error> {
        self.filled("steps", words)
    }

    fn len_bytes(buffer: &Buffer) -> u64 {
        buffer.len as u64
    }

    fn write(&self, buffer: &Buffer, at: u64, bytes: &[u8]) {
        lock(&self.state).memories[buffer.at].write(at as usize, bytes);
    }

    fn flush(&self) -> Result<(), Error> {
        self.check()
    }

    fn copy(&self, from: (&Buffer, u64), to: (&Buffer, u64), bytes: u64) {
        let memories = &lock(&self.state).memories;
        let mut moved = vec![0; bytes as usize];
        memories[from.0.at].read(from.1 as usize, &mut moved);
        memories[to.0.at].write(to.1 as usize, &moved);
    }

    fn pipeline(&self, variant: &Variant) -> Result<Arc<Source>, Error> {
        self.info.supports(variant)?;
        self.sources.get(variant, self.build).map_err(|reason| self.error(reason))
    }

    fn group(&self, buffers: [&Buffer; BINDINGS]) -> [Buffer; BINDINGS] {
        buffers.map(|buffer| *buffer)
    }

    fn play(&self, calls: &[Call<'_, Metal>]) -> Result<(), Error> {
        self.check()?;
        let State { memories, variants, fault } = &mut *lock(&self.state);
        let played = calls.iter().try_for_each(|call| {
            variants.insert(call.pipeline.kernel.name().to_owned());
            self.run(memories, call)
        });
        played.map_err(|found| self.error(fault.insert(found).clone()))
    }

    fn play_and_read(
        &self,
        calls: &[Call<'_, Metal>],
        buffer: &Buffer,
        at: u64,
        words: usize,
    ) -> Result<Vec<u32>, Error> {
        self.play(calls)?;
        let mut read = vec![0u32; words];
        let memories = &lock(&self.state).memories;
        memories[buffer.at].read(4 * at as usize, bytemuck::cast_slice_mut(&mut read));
        Ok(read)
    }

    fn finish(&self, download: Vec<u32>) -> Result<Vec<u32>, Error> {
        Ok(download)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
