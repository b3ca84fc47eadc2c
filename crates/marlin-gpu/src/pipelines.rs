//! Compute pipelines: compiled when a step first needs them, kept for the life of the device.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use marlin_kernel::shader::{Needs, Variant};

use crate::{Error, Gpu, GpuInfo, Matrices, device::STEP_BYTES, emit};

/// Bindings of the one layout that all kernels share; see `marlin_kernel::shader`.
pub(crate) mod binding {
    pub const STEP: u32 = 0;
    pub const ARENA: u32 = 1;
    pub const VECTORS: u32 = 2;
    pub const BATCH: u32 = 3;
    pub const CODES: u32 = 4;
    pub const SCALES: u32 = 5;
    pub const CACHE: u32 = 6;
    pub const SCRATCH: u32 = 7;
    pub const TABLES: u32 = 8;
}

/// The entries of the one layout, in the order of their bindings.
pub(crate) fn entries() -> [wgpu::BindGroupLayoutEntry; 9] {
    let entry = |binding, ty, dynamic, size| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: size },
        count: None,
    };
    let storage =
        |binding, read_only| entry(binding, wgpu::BufferBindingType::Storage { read_only }, false, None);
    let step_size = std::num::NonZeroU64::new(STEP_BYTES as u64);
    [
        entry(binding::STEP, wgpu::BufferBindingType::Uniform, true, step_size),
        storage(binding::ARENA, false),
        storage(binding::VECTORS, true),
        storage(binding::BATCH, true),
        storage(binding::CODES, true),
        storage(binding::SCALES, true),
        storage(binding::CACHE, false),
        storage(binding::SCRATCH, false),
        storage(binding::TABLES, true),
    ]
}

/// Compiled pipelines of one device.
#[derive(Debug)]
pub(crate) struct Pipelines {
    pub group_layout: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
    compiled: Mutex<HashMap<Variant, wgpu::ComputePipeline>>,
}

impl Pipelines {
    pub fn new(device: &wgpu::Device) -> Pipelines {
        let entries = entries();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some("kernels"), entries: &entries };
        let group_layout = device.create_bind_group_layout(&descriptor);
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("kernels"),
            bind_group_layouts: &[Some(&group_layout)],
            immediate_size: 0,
        });
        Pipelines { group_layout, layout, compiled: Mutex::new(HashMap::new()) }
    }

    /// The variants compiled so far.
    pub fn variants(&self) -> Vec<Variant> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The pipeline of a variant.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Workgroup`] when the device lacks what it needs, [`Error::Device`]
    /// when the driver refuses it.
    pub fn get(&self, gpu: &Gpu, variant: &Variant) -> Result<wgpu::ComputePipeline, Error> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = compiled.get(variant) {
            return Ok(pipeline.clone());
        }
        gpu.info.supports(variant)?;
        let pipeline = self.compile(gpu, &variant.name(), &variant.source().text)?;
        compiled.insert(variant.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Puts another text in the place of a variant's: a kernel broken on purpose.
    #[cfg(test)]
    pub fn replace(&self, gpu: &Gpu, variant: &Variant, text: &str) -> Result<(), Error> {
        let pipeline = self.compile(gpu, "broken on purpose", text)?;
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).insert(variant.clone(), pipeline);
        Ok(())
    }

    fn compile(&self, gpu: &Gpu, name: &str, text: &str) -> Result<wgpu::ComputePipeline, Error> {
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = gpu.shader(name, text);
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&self.layout),
            module: &module,
            entry_point: Some(emit::ENTRY),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: emit::ZERO_WORKGROUP_MEMORY,
                ..Default::default()
            },
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(gpu.error(format!("{name} cannot be compiled: {error}")));
        }
        gpu.reported()?;
        Ok(pipeline)
    }
}

impl GpuInfo {
    /// Whether a device has what a variant needs.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Workgroup`].
    pub fn supports(&self, variant: &Variant) -> Result<(), Error> {
        let missing = match variant.shader().needs {
            Needs::F16 if !self.f16 => "f16 in shaders",
            Needs::Matrix16 if self.matrices != Some(Matrices::Size16) => "16x16 cooperative matrices",
            Needs::Matrix8 if self.matrices != Some(Matrices::Size8) => "8x8 cooperative matrices",
            _ => {
                let (needed, found) = (emit::footprint(variant)?.workgroup_bytes, self.workgroup_memory);
                if needed <= found {
                    return Ok(());
                }
                let (device, variant) = (self.name.clone(), variant.name());
                return Err(Error::Workgroup { device, variant, needed, found });
            }
        };
        Err(Error::Missing { device: self.name.clone(), missing })
    }
}

#[cfg(test)]
mod tests;
