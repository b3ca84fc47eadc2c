//! Picks the player: a GPU's or the CPU's.

use std::sync::Arc;

use anyhow::bail;
use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_gpu::{Gpu, GpuOptions, GpuPlayer, Opening};
use marlin_kernel::{Player, Precision, plan::Plan};

use crate::{
    cli::{Activations, Kv, PlayOptions},
    output::Output,
    tuning,
};

/// What a model is played for, which decides the precisions the user left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Speed: 8-bit or f16 activations, f16 cache.
    Generate,
    /// Exactness: f32 both.
    Evaluate,
}

/// Makes a player with caches for `context` tokens on the device the options name: see [`Device`].
///
/// # Errors
/// When there is no such device, or it does not have the memory.
pub fn make(
    plan: Plan,
    options: &PlayOptions,
    purpose: Purpose,
    context: usize,
    output: Output,
) -> anyhow::Result<Box<dyn Player>> {
    Device::open(options, purpose, output)?.player(plan, context)
}

/// The device the options name, opened, to make any number of players on; `auto` is a GPU if there is a real
/// one, and the CPU otherwise.
pub struct Device<'a> {
    options: &'a PlayOptions,
    purpose: Purpose,
    /// `None` for the CPU.
    gpu: Option<(Arc<Gpu>, GpuOptions)>,
}

impl Device<'_> {
    /// Opens it; a GPU compiles its kernels once for all players.
    ///
    /// # Errors
    /// When there is no such device, or it cannot do what the options ask for.
    pub fn open(options: &PlayOptions, purpose: Purpose, output: Output) -> anyhow::Result<Device<'_>> {
        let gpu = gpu_wish(&options.device).map(|device| open_gpu(options, purpose, device, output));
        Ok(Device { options, purpose, gpu: gpu.transpose()? })
    }

    /// A player with caches for `context` tokens.
    ///
    /// # Errors
    /// When the device does not have the memory.
    pub fn player(&self, plan: Plan, context: usize) -> anyhow::Result<Box<dyn Player>> {
        let Some((gpu, options)) = &self.gpu else {
            return on_cpu(plan, self.options, self.purpose, context);
        };
        let pages = context.div_ceil(options.page_size);
        Ok(Box::new(GpuPlayer::new(plan, gpu, &GpuOptions { pages, ..options.clone() })?))
    }
}

/// The GPU that a wish means; `None` for the CPU.
fn gpu_wish(device: &str) -> Option<&str> {
    match device {
        "cpu" => None,
        "auto" => marlin_gpu::list().iter().any(|info| info.subgroups && !info.software).then_some("gpu"),
        device => Some(device),
    }
}

fn open_gpu(
    options: &PlayOptions,
    purpose: Purpose,
    device: &str,
    output: Output,
) -> anyhow::Result<(Arc<Gpu>, GpuOptions)> {
    let exact = purpose == Purpose::Evaluate;
    let activations = options.activations.unwrap_or(if exact { Activations::F32 } else { Activations::F16 });
    if activations == Activations::Int8 {
        bail!("--activations int8: found device {device}, expected cpu; a gpu takes f32 or f16");
    }
    let matrices = activations == Activations::F16;
    let opening = Opening { device: device.to_owned(), matrices, ..Opening::default() };
    let gpu = Gpu::open(&opening)?;
    let cache = match options.kv {
        Some(Kv::F32) => Some(marlin_gpu::CacheType::F32),
        Some(Kv::F16) => Some(marlin_gpu::CacheType::F16),
        None if exact => Some(marlin_gpu::CacheType::F32),
        None => None,
    };
    let memory = options.device_memory.map(|gigabytes| (gigabytes * 1e9) as u64);
    let tuning = tuning::load(&gpu.info, output);
    Ok((gpu, GpuOptions { cache, memory, tuning, ..GpuOptions::default() }))
}

fn on_cpu(
    plan: Plan,
    options: &PlayOptions,
    purpose: Purpose,
    context: usize,
) -> anyhow::Result<Box<dyn Player>> {
    let exact = purpose == Purpose::Evaluate;
    let activations = options.activations.unwrap_or(if exact { Activations::F32 } else { Activations::Int8 });
    let kv = options.kv.unwrap_or(if exact { Kv::F32 } else { Kv::F16 });
    let precision = match activations {
        Activations::F32 => Precision::Exact,
        Activations::Int8 => Precision::Int8Activations,
        Activations::F16 => {
            bail!("--activations f16: found device cpu, expected a gpu; a cpu takes f32 or int8")
        }
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
