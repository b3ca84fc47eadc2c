//! Picks the player: the CPU's.

use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_kernel::{Player, Precision, plan::Plan};

use crate::cli::{Activations, Kv, PlayOptions};

/// What a model is played for, which decides the precisions the user left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Speed: 8-bit activations, f16 cache.
    Generate,
    /// Exactness: f32 both.
    Evaluate,
}

/// Makes a player with caches for `context` tokens.
///
/// # Errors
/// When the machine does not have the memory.
pub fn make(
    plan: Plan,
    options: PlayOptions,
    purpose: Purpose,
    context: usize,
) -> anyhow::Result<Box<dyn Player>> {
    let exact = purpose == Purpose::Evaluate;
    let activations = options.activations.unwrap_or(if exact { Activations::F32 } else { Activations::Int8 });
    let kv = options.kv.unwrap_or(if exact { Kv::F32 } else { Kv::F16 });
    let precision = match activations {
        Activations::F32 => Precision::Exact,
        Activations::Int8 => Precision::Int8Activations,
    };
    let cache = match kv {
        Kv::F32 => CacheType::F32,
        Kv::F16 => CacheType::F16,
    };
    let defaults = CpuOptions::default();
    let pages = context.div_ceil(defaults.page_size);
    let threads = threads(options.threads);
    let settings = CpuOptions { threads, precision, cache: Some(cache), pages, ..defaults };
    Ok(Box::new(CpuPlayer::new(plan, &settings)?))
}

/// The number of threads to use: the user's choice, at most the cores there are.
pub fn threads(wanted: Option<u16>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    wanted.map_or(cores, |wanted| usize::from(wanted).min(cores))
}

/// Runs `work` with that many threads for everything parallel inside it.
///
/// # Errors
/// When the threads cannot be started.
pub fn in_pool<T: Send>(wanted: Option<u16>, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads(wanted)).build()?;
    Ok(pool.install(work))
}
