//! A compiled kernel, and what it takes to run one.

use std::{
    ffi::c_void,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use libloading::Library;

use crate::{
    Build, Error, Fault, FaultKind, Memory,
    abi::{Exports, Invocation},
    grid::Grid,
    signature::Signature,
    threads,
};

/// Threadgroup memory of an Apple GPU.
const SHARED_BYTES: usize = 32 * 1024;
/// Threadgroup variables begin at multiples of this.
const SHARED_ALIGNMENT: usize = 16;
/// Entries of an Apple GPU's table of buffer arguments.
const BUFFERS: usize = 31;
/// Threads of a threadgroup on an Apple GPU.
const THREADS: usize = 1024;

/// A kernel as machine code. Clones share it; it may run on several threads of the host at once.
#[derive(Clone)]
pub struct Kernel(Arc<Loaded>);

struct Loaded {
    name: String,
    signature: Signature,
    build: Build,
    code: Code,
    shared: Vec<(usize, usize)>,
    /// Keeps the code where it is.
    _library: Library,
}

/// The machine code of a kernel.
pub(crate) struct Code {
    /// Runs one thread.
    pub entry: Entry,
    /// The file it was loaded from.
    pub object: PathBuf,
    /// An address of its own.
    pub anchor: *const c_void,
}

/// The function that runs one thread.
pub(crate) type Entry = unsafe extern "C" fn(*const Invocation);

// SAFETY: the exports are constants of the library, and what its code remembers between calls is the table of
// callbacks alone, written once before any call.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// Slot, memory, and the byte of it that the kernel sees first.
    pub buffers: &'a [(u32, &'a Memory, usize)],
    /// Threadgroups.
    pub grid: [u32; 3],
    /// Threads of a threadgroup.
    pub threads: [u32; 3],
    /// Lanes of a simdgroup: 32 on Apple GPUs.
    pub simdgroup: u32,
    /// Decides the order of threads and threadgroups, and what unwritten threadgroup memory holds.
    pub seed: u64,
    /// How long one threadgroup may run.
    pub patience: Duration,
}

impl<'a> Launch<'a> {
    /// A dispatch as an Apple GPU would do it.
    pub fn new(buffers: &'a [(u32, &'a Memory, usize)], grid: [u32; 3], threads: [u32; 3]) -> Self {
        Self { buffers, grid, threads, simdgroup: 32, seed: 0, patience: Duration::from_secs(20) }
    }
}

impl Kernel {
    pub(crate) fn load(name: &str, signature: Signature, build: Build, object: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Load { kernel: name.into(), source };
        // SAFETY: the object was made by this crate's compiler; loading it runs no code of its own.
        let library = unsafe { Library::new(object) }.map_err(fail)?;
        // SAFETY: the trampoline defines this symbol as the record that `Exports` mirrors.
        let exports = unsafe { *library.get::<*const Exports>(b"marlin_exports\0").map_err(fail)? };
        // SAFETY: the record lives as long as the library, which is kept beside it.
        let exports = unsafe { &*exports };
        let count = signature.shared().count();
        let shared = (0..count)
            // SAFETY: the trampoline writes one size and one alignment for each variable of the threadgroup.
            .map(|at| unsafe {
                (*exports.shared_sizes.add(at) as usize, *exports.shared_alignments.add(at) as usize)
            })
            .collect();
        // SAFETY: the table is a constant of this program.
        unsafe { (exports.attach)(&threads::HOST) };
        let anchor = (&raw const *exports).cast();
        let code = Code { entry: exports.run, object: object.into(), anchor };
        Ok(Self(Arc::new(Loaded { name: name.into(), signature, build, code, shared, _library: library })))
    }

    /// Its name, as given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it asks for.
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// Threadgroup memory it takes, each variable rounded up as Metal does.
    pub fn threadgroup_bytes(&self) -> usize {
        self.0.shared.iter().map(|(size, _)| size.next_multiple_of(SHARED_ALIGNMENT)).sum()
    }

    /// Runs all threads of all threadgroups.
    ///
    /// # Panics
    /// Where a buffer is bound past the end of its memory.
    pub fn run(&self, launch: &Launch) -> Result<(), Box<Fault>> {
        let fault = |kind| {
            Box::new(Fault { kernel: self.0.name.clone(), threadgroup: None, thread: None, line: None, kind })
        };
        self.check_limits(launch).map_err(fault)?;
        let shared = self.0.signature.shared().zip(&self.0.shared).map(|(name, (size, alignment))| {
            Memory::aligned(*size, *alignment).map(|memory| (format!("threadgroup {name}"), memory))
        });
        let shared = shared.collect::<Result<Vec<_>, _>>().expect("address space for threadgroup memory");
        let mut table = vec![std::ptr::null_mut::<c_void>(); BUFFERS];
        let mut buffers = Vec::new();
        for (slot, name) in self.0.signature.buffers() {
            let bound = launch.buffers.iter().find(|(at, ..)| *at == slot);
            let named = format!("buffer({slot}) {name}");
            let Some((_, memory, offset)) = bound else {
                return Err(fault(FaultKind::Unbound { buffer: named }));
            };
            assert!(*offset <= memory.len(), "{named} is bound past the end of its memory");
            table[slot as usize] = memory.address().cast::<u8>().wrapping_add(*offset).cast();
            buffers.push((named, *memory));
        }
        let recorded = (self.0.build == Build::Races).then(|| self.written(&buffers));
        let finite = self.0.build == Build::Finite;
        Grid { kernel: &self.0.name, code: &self.0.code, launch, table, buffers, finite, recorded, shared }
            .run()
    }

    /// Which buffers the kernel may write, each memory once: nobody else's accesses can race.
    fn written(&self, buffers: &[(String, &Memory)]) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut which = Vec::new();
        for (at, (writable, (_, memory))) in self.0.signature.writable().zip(buffers).enumerate() {
            if writable && !seen.contains(&memory.address()) {
                seen.push(memory.address());
                which.push(at);
            }
        }
        which
    }

    fn check_limits(&self, launch: &Launch) -> Result<(), FaultKind> {
        let signature = &self.0.signature;
        let threads = launch.threads.iter().map(|n| *n as usize).product();
        let slots = signature.buffers().map(|(slot, _)| slot as usize + 1).max().unwrap_or(0);
        let own = signature.max_threads.map_or(THREADS, |most| most as usize);
        let limits = [
            ("threads in a threadgroup", threads, THREADS),
            ("threads in a threadgroup", threads, own),
            ("bytes of threadgroup memory", self.threadgroup_bytes(), SHARED_BYTES),
            ("buffers", slots, BUFFERS),
        ];
        for (what, found, most) in limits {
            if found > most {
                return Err(FaultKind::Limit { what, found, most });
            }
        }
        Ok(())
    }
}
