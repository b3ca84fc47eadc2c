//! Adapters and the GPU opened on one: what it can do, and what it reported when it failed.
//!
//! The only file of this crate with `unsafe`: cooperative matrices are behind wgpu's experimental gate,
//! and shaders are compiled without the bounds checks that naga would add around every access.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use marlin_kernel::shader::Variant;
use wgpu::{Features, Limits};

use crate::{Error, emit, pipelines::Pipelines};

/// Time after which a submission that has not finished counts as a hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// Cooperative matrices of a device: f16 operands, f32 sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrices {
    /// 16 x 16 x 16.
    Size16,
    /// 8 x 8 x 8.
    Size8,
}

impl Matrices {
    /// Rows and columns.
    pub const fn size(self) -> usize {
        match self {
            Matrices::Size16 => 16,
            Matrices::Size8 => 8,
        }
    }
}

/// What an adapter is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// The adapter's name.
    pub name: String,
    /// `vulkan` or `metal`.
    pub backend: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// Whether it is software on the CPU.
    pub software: bool,
    /// Whether it shares the machine's memory.
    pub unified: bool,
    /// Whether it has subgroup operations, without which no kernel runs.
    pub subgroups: bool,
    /// Smallest and largest subgroup.
    pub subgroup_sizes: (u32, u32),
    /// Whether shaders have f16.
    pub f16: bool,
    /// Cooperative matrices.
    pub matrices: Option<Matrices>,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Bytes one binding can hold.
    pub max_binding: u64,
    /// Whether it has timestamps.
    pub timestamps: bool,
}

impl fmt::Display for GpuInfo {
    /// `NVIDIA H100 (vulkan, subgroups of 32, f16, 16x16 matrices)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.backend)?;
        match (self.subgroups, self.subgroup_sizes) {
            (false, _) => write!(f, ", no subgroups")?,
            (true, (min, max)) if min == max => write!(f, ", subgroups of {min}")?,
            (true, (min, max)) => write!(f, ", subgroups of {min} to {max}")?,
        }
        f.write_str(if self.f16 { ", f16" } else { ", no f16" })?;
        match self.matrices {
            Some(Matrices::Size16) => f.write_str(", 16x16 matrices")?,
            Some(Matrices::Size8) => f.write_str(", 8x8 matrices")?,
            None => {}
        }
        f.write_str(if self.software { ", software)" } else { ")" })
    }
}

/// Which adapter to open, and what not to use of it.
#[derive(Clone, Debug)]
pub struct Opening {
    /// `gpu` for the best, `gpu:1` by number as [`list`] counts, `vulkan`, `metal`, or part of a name.
    pub device: String,
    /// Whether shaders may use f16; without, caches and operands are f32.
    pub f16: bool,
    /// Whether products may use cooperative matrices, that is f16 operands.
    pub matrices: bool,
    /// Bytes of one binding to use at most; `None` for the device's limit.
    pub max_binding: Option<u64>,
}

impl Default for Opening {
    /// The best adapter with all it has.
    fn default() -> Opening {
        Opening { device: "gpu".to_owned(), f16: true, matrices: true, max_binding: None }
    }
}

/// Every adapter, real GPUs first.
pub fn list() -> Vec<GpuInfo> {
    adapters().iter().map(describe).collect()
}

fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::METAL | wgpu::Backends::VULKAN;
    // No validation layers: they are for debugging drivers, and cost time on every call.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
        wgpu::DeviceType::Cpu => 3,
    });
    adapters
}

fn describe(adapter: &wgpu::Adapter) -> GpuInfo {
    let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
    let f16 = features.contains(Features::SHADER_F16);
    let usable = f16 && features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    let has = |size: u32| {
        let half = wgpu::CooperativeScalarType::F16;
        let single = wgpu::CooperativeScalarType::F32;
        adapter.cooperative_matrix_properties().iter().any(|shape| {
            (shape.m_size, shape.n_size, shape.k_size) == (size, size, size)
                && shape.ab_type == half
                && shape.cr_type == single
        })
    };
    let matrices = match usable {
        true if has(16) => Some(Matrices::Size16),
        true if has(8) => Some(Matrices::Size8),
        _ => None,
    };
    GpuInfo {
        name: info.name.clone(),
        backend: match info.backend {
            wgpu::Backend::Metal => "metal",
            wgpu::Backend::Vulkan => "vulkan",
            _ => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        software: info.device_type == wgpu::DeviceType::Cpu,
        unified: matches!(info.device_type, wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::Cpu),
        subgroups: features.contains(Features::SUBGROUP),
        subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        f16,
        matrices,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        max_binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        timestamps: features.contains(Features::TIMESTAMP_QUERY),
    }
}

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    /// What it is, and which of it is used.
    pub info: GpuInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pipelines: Pipelines,
    failure: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the adapter that `opening` names.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Missing`] when it has no subgroup operations, [`Error::Device`].
    pub fn open(opening: &Opening) -> Result<Arc<Gpu>, Error> {
        let adapters = adapters();
        let infos: Vec<GpuInfo> = adapters.iter().map(describe).collect();
        let at = choose(&infos, &opening.device)?;
        let (adapter, mut info) = (&adapters[at], infos[at].clone());
        restrict(&mut info, opening)?;
        let mut features = Features::SUBGROUP;
        features.set(Features::SHADER_F16, info.f16);
        features.set(Features::TIMESTAMP_QUERY, info.timestamps);
        features.set(Features::EXPERIMENTAL_COOPERATIVE_MATRIX, info.matrices.is_some());
        let available = adapter.limits();
        let limits = Limits {
            max_storage_buffer_binding_size: available.max_storage_buffer_binding_size,
            max_buffer_size: available.max_buffer_size,
            max_compute_workgroup_storage_size: available.max_compute_workgroup_storage_size,
            ..Limits::default()
        };
        let experimental = match info.matrices {
            // SAFETY: wgpu asks for this where using an experimental feature wrongly could be undefined
            // behaviour. Cooperative matrices are loaded from and stored to places inside their arrays
            // only, by every thread of a subgroup, in the shapes that the adapter lists.
            Some(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
            None => wgpu::ExperimentalFeatures::disabled(),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("metal-marlin"),
            required_features: features,
            required_limits: limits,
            experimental_features: experimental,
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let failed = |reason: String| Error::Device { device: info.name.clone(), reason };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| failed(format!("cannot be opened: {error}")))?;
        let failure = Arc::new(Mutex::new(None));
        let record = |failure: &Arc<Mutex<Option<String>>>, reason: String| {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        };
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            record(&lost, format!("the device was lost ({reason:?}) {message}"));
        });
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            record(&uncaptured, error.to_string());
        }));
        let pipelines = Pipelines::new(&device);
        Ok(Arc::new(Gpu { info, device, queue, pipelines, failure }))
    }

    /// An error about this device.
    pub(crate) fn error(&self, reason: impl fmt::Display) -> Error {
        Error::Device { device: self.info.name.clone(), reason: reason.to_string() }
    }

    /// What the device has reported since it was opened, if anything.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) fn reported(&self) -> Result<(), Error> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map_or(Ok(()), |reason| Err(self.error(reason)))
    }

    /// Waits until a submission, or everything submitted, is done.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost or takes longer than two minutes.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), Error> {
        self.reported()?;
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: Some(PATIENCE) };
        self.device.poll(wait).map_err(|error| self.error(format!("did not finish: {error}")))?;
        self.reported()
    }

    /// Compiles WGSL that the build has validated.
    pub(crate) fn shader(&self, label: &str, text: &str) -> wgpu::ShaderModule {
        let source = wgpu::ShaderSource::Wgsl(Cow::Borrowed(text));
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(label), source };
        // SAFETY: the shaders are this project's own. They read and write what their `Step` names, which
        // the player takes from a checked plan and a checked batch; every kernel is compared with its
        // reference on odd sizes with guard words around its results.
        unsafe { self.device.create_shader_module_trusted(descriptor, emit::CHECKS) }
    }

    /// The variants of kernels that it has compiled so far, in no order.
    pub fn variants(&self) -> Vec<Variant> {
        self.pipelines.variants()
    }

    /// Takes the device away, as a crash of its driver would: for tests of what happens then.
    pub fn lose(&self) {
        self.device.destroy();
    }
}

/// Takes away what is not to be used of an adapter.
///
/// # Errors
/// [`Error::Missing`] when what is left does not run the kernels.
fn restrict(info: &mut GpuInfo, opening: &Opening) -> Result<(), Error> {
    if !info.subgroups {
        return Err(Error::Missing { device: info.name.clone(), missing: "subgroup operations" });
    }
    info.f16 &= opening.f16;
    info.matrices = info.matrices.filter(|_| info.f16 && opening.matrices);
    info.max_binding = info.max_binding.min(opening.max_binding.unwrap_or(u64::MAX));
    Ok(())
}

/// The place in the list of the adapter that `wanted` means.
fn choose(infos: &[GpuInfo], wanted: &str) -> Result<usize, Error> {
    let wish = wanted.to_lowercase();
    let number = wish.strip_prefix("gpu:").and_then(|number| number.parse::<usize>().ok());
    let found = match (wish.as_str(), number) {
        ("gpu", _) => (!infos.is_empty()).then_some(0),
        (_, Some(number)) => (number < infos.len()).then_some(number),
        ("vulkan" | "metal", _) => infos.iter().position(|info| info.backend == wish),
        _ => infos.iter().position(|info| info.name.to_lowercase().contains(&wish)),
    };
    found.ok_or_else(|| {
        let names: Vec<String> =
            infos.iter().enumerate().map(|(at, info)| format!("gpu:{at} {info}")).collect();
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::NoAdapter { wanted: wanted.to_owned(), found }
    })
}

#[cfg(test)]
mod tests;
