//! Translates the kernels into what a device's driver is given: MSL on a Mac, SPIR-V on Vulkan.
//!
//! Needs no device. The options are those of wgpu's backends under `CHECKS` and
//! `ZERO_WORKGROUP_MEMORY`, with which this crate makes every pipeline, and they stand only here. Where
//! wgpu takes them from is named beside them; the structs are written out in full, so that a naga with
//! another option does not compile, and a test fails when the version of wgpu-hal changes.

use marlin_kernel::shader::{Needs, Variant};
use naga::{
    AddressSpace, Module, ResourceBinding, ShaderStage,
    back::{msl, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use crate::{Error, pipelines};

/// What wgpu adds to shaders: nothing.
pub(crate) const CHECKS: wgpu::ShaderRuntimeChecks = wgpu::ShaderRuntimeChecks::unchecked();

/// Whether workgroup memory is set to zero before a kernel starts.
pub(crate) const ZERO_WORKGROUP_MEMORY: bool = false;

/// The entry point of every shader.
pub(crate) const ENTRY: &str = "main";

/// The language versions that wgpu asks for on a Mac with Apple silicon: macOS 13, 14, 15 and 26
/// (wgpu-hal, `metal/adapter.rs`, `msl_version`). The translation differs by its first line only.
const METAL_VERSIONS: [(u8, u8); 4] = [(3, 0), (3, 1), (3, 2), (4, 0)];

/// The version of SPIR-V on Vulkan 1.3 and later (wgpu-hal, `vulkan/adapter.rs`, `lang_version`).
const SPIRV_VERSION: (u8, u8) = (1, 6);

/// A language to translate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Metal Shading Language.
    Msl,
    /// SPIR-V, little-endian words.
    SpirV,
    /// WGSL, composed: what wgpu is given.
    Wgsl,
}

impl Target {
    /// How its files end.
    pub const fn extension(self) -> &'static str {
        match self {
            Target::Msl => "metal",
            Target::SpirV => "spv",
            Target::Wgsl => "wgsl",
        }
    }

    /// Whether a device that takes this language can have what a shader needs.
    pub fn can_have(self, needs: Needs) -> bool {
        // simdgroup_matrix is 8 x 8 only (Metal Shading Language Specification, section 2.3).
        !(self == Target::Msl && needs == Needs::Matrix16)
    }
}

/// Variants that could be translated to Metal, and that no GPU of Apple's is given: their names, and why.
pub const UNTAKEN: [(&str, &str); 2] = [
    ("convert_tiles", "prepares operands of 16x16 matrices"),
    (
        "matrix-matrix8-pairs32-positions32-k_width128-v_width128-latent0",
        "for less than the 32 KiB of threadgroup memory that they all have",
    ),
];

/// What a variant takes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Threads of a workgroup.
    pub threads: u32,
    /// Variables in workgroup memory.
    pub workgroup_variables: u32,
    /// Bytes of workgroup memory; each variable starts at a multiple of 16 bytes (wgpu-hal,
    /// `metal/command.rs`, `setThreadgroupMemoryLength`).
    pub workgroup_bytes: u32,
    /// Buffers that it declares.
    pub buffers: u32,
}

/// The file that the driver of a device is given for a variant.
///
/// # Errors
/// [`Error::Emit`] when naga refuses it or the target has no such matrices.
pub fn emit(variant: &Variant, target: Target) -> Result<Vec<u8>, Error> {
    if target == Target::Wgsl {
        return Ok(variant.source().text.into_bytes());
    }
    Translation::of(variant)?.write(target)
}

/// What wgpu gives a Mac's driver for a variant, and how it then calls the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metal {
    /// The source. Buffers have the slots of their bindings.
    pub text: String,
    /// Threads of a threadgroup.
    pub threads: [u32; 3],
    /// The slot of a buffer of words: for each runtime-sized array, in this order of bindings, its bytes
    /// (wgpu-hal, `metal/command.rs`, `make_sizes_buffer_update`).
    pub sizes: (u32, Vec<u32>),
}

/// The Metal source of a variant, with what is needed to run it.
///
/// # Errors
/// [`Error::Emit`] when naga refuses it or Metal has no such matrices.
pub fn metal(variant: &Variant) -> Result<Metal, Error> {
    let translation = Translation::of(variant)?;
    let text = translation.write(Target::Msl)?;
    let module = &translation.module;
    let sized = module.global_variables.iter().filter_map(|(_, variable)| {
        let runtime = module.types[variable.ty].inner.is_dynamically_sized(&module.types);
        variable.binding.filter(|_| runtime).map(|binding| binding.binding)
    });
    let threads = module.entry_points[0].workgroup_size;
    let slot = metal_resources().sizes_buffer.unwrap_or_default();
    let text = String::from_utf8(text).map_err(|error| refused(variant, error))?;
    Ok(Metal { text, threads, sizes: (slot.into(), sized.collect()) })
}

/// What a variant takes of a device.
///
/// # Errors
/// [`Error::Emit`] when naga refuses it.
pub fn footprint(variant: &Variant) -> Result<Footprint, Error> {
    Ok(Footprint::of(&parse(variant, &variant.source().text)?))
}

impl Footprint {
    fn of(module: &Module) -> Footprint {
        let threads = module.entry_points.iter().map(|entry| entry.workgroup_size.iter().product()).max();
        let mut footprint = Footprint {
            threads: threads.unwrap_or(0),
            workgroup_variables: 0,
            workgroup_bytes: 0,
            buffers: 0,
        };
        for (_, variable) in module.global_variables.iter() {
            match variable.space {
                AddressSpace::WorkGroup => {
                    let bytes = module.types[variable.ty].inner.size(module.to_ctx());
                    footprint.workgroup_variables += 1;
                    footprint.workgroup_bytes += bytes.next_multiple_of(16);
                }
                AddressSpace::Uniform | AddressSpace::Storage { .. } => footprint.buffers += 1,
                _ => {}
            }
        }
        footprint
    }
}

/// A variant that naga has parsed and validated.
struct Translation<'a> {
    variant: &'a Variant,
    module: Module,
    info: ModuleInfo,
}

impl Translation<'_> {
    fn of(variant: &Variant) -> Result<Translation<'_>, Error> {
        let text = variant.source().text;
        let module = parse(variant, &text)?;
        let mut validator = Validator::new(ValidationFlags::all(), capabilities(variant, &text));
        let info =
            validator.validate(&module).map_err(|error| refused(variant, error.emit_to_string(&text)))?;
        Ok(Translation { variant, module, info })
    }

    fn write(&self, target: Target) -> Result<Vec<u8>, Error> {
        if !target.can_have(self.variant.shader().needs) {
            return Err(refused(self.variant, "needs 16x16 matrices, Metal has 8x8"));
        }
        match target {
            Target::Msl => Ok(self.msl(METAL_VERSIONS[2])?.into_bytes()),
            Target::SpirV => Ok(self.spirv()?.into_iter().flat_map(u32::to_le_bytes).collect()),
            Target::Wgsl => Ok(self.variant.source().text.into_bytes()),
        }
    }

    /// As `load_shader` in wgpu-hal's `metal/device.rs` does it.
    fn msl(&self, lang_version: (u8, u8)) -> Result<String, Error> {
        let options = msl::Options {
            lang_version,
            per_entry_point_map: [(ENTRY.to_owned(), metal_resources())].into(),
            inline_samplers: Vec::new(),
            spirv_cross_compatibility: false,
            fake_missing_bindings: false,
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: ZERO_WORKGROUP_MEMORY,
            force_loop_bounding: CHECKS.force_loop_bounding,
            task_dispatch_limits: None,
            mesh_shader_primitive_indices_clamp: CHECKS.mesh_shader_primitive_indices_clamp,
            emit_int_div_checks: CHECKS.int_div_checks,
            ray_query_initialization_tracking: CHECKS.ray_query_initialization_tracking,
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, ENTRY.to_owned())),
            allow_and_force_point_size: false,
            vertex_pulling_transform: true,
            vertex_buffer_mappings: Vec::new(),
            binding_array_length_map: Default::default(),
        };
        let (text, info) = msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map_err(|error| refused(self.variant, error))?;
        for name in info.entry_point_names {
            name.map_err(|error| refused(self.variant, error))?;
        }
        Ok(text)
    }

    /// As `compile_stage` in wgpu-hal's `vulkan/device.rs` and `naga_options` in its `vulkan/adapter.rs`
    /// do it on a device that has all the features this crate asks for.
    fn spirv(&self) -> Result<Vec<u32>, Error> {
        let binding = |at| {
            (resource(at), spv::BindingInfo { descriptor_set: 0, binding: at, binding_array_size: None })
        };
        let options = spv::Options {
            lang_version: SPIRV_VERSION,
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            fake_missing_bindings: false,
            binding_map: pipelines::entries().iter().map(|entry| binding(entry.binding)).collect(),
            capabilities: Some(SPIRV_CAPABILITIES.iter().copied().collect()),
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: match ZERO_WORKGROUP_MEMORY {
                true => spv::ZeroInitializeWorkgroupMemoryMode::Native,
                false => spv::ZeroInitializeWorkgroupMemoryMode::None,
            },
            force_loop_bounding: CHECKS.force_loop_bounding,
            ray_query_initialization_tracking: CHECKS.ray_query_initialization_tracking,
            trace_ray_argument_validation: true,
            use_storage_input_output_16: true,
            debug_info: None,
            task_dispatch_limits: None,
            mesh_shader_primitive_indices_clamp: CHECKS.mesh_shader_primitive_indices_clamp,
            emit_int_div_checks: CHECKS.int_div_checks,
        };
        let pipeline =
            spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: ENTRY.to_owned() };
        spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|error| refused(self.variant, error))
    }
}

/// What both backends make of `CHECKS.bounds_checks`.
const UNCHECKED: BoundsCheckPolicies = {
    let policy = match CHECKS.bounds_checks {
        true => BoundsCheckPolicy::Restrict,
        false => BoundsCheckPolicy::Unchecked,
    };
    BoundsCheckPolicies {
        index: policy,
        buffer: policy,
        image_load: policy,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
};

/// The capabilities of wgpu-hal's `vulkan/adapter.rs` that a kernel can use. naga declares those that a
/// module uses and refuses any other.
const SPIRV_CAPABILITIES: [spv::Capability; 15] = [
    spv::Capability::Shader,
    spv::Capability::Matrix,
    spv::Capability::GroupNonUniform,
    spv::Capability::GroupNonUniformVote,
    spv::Capability::GroupNonUniformArithmetic,
    spv::Capability::GroupNonUniformBallot,
    spv::Capability::GroupNonUniformShuffle,
    spv::Capability::GroupNonUniformShuffleRelative,
    spv::Capability::Float16,
    spv::Capability::CooperativeMatrixKHR,
    spv::Capability::VulkanMemoryModel,
    spv::Capability::DotProductInputAllKHR,
    spv::Capability::DotProductInput4x8BitKHR,
    spv::Capability::DotProductInput4x8BitPackedKHR,
    spv::Capability::DotProductKHR,
];

/// What naga may accept: what a device has on which the variant is used (wgpu-naga-bridge,
/// `features_to_naga_capabilities`).
fn capabilities(variant: &Variant, text: &str) -> Capabilities {
    let needs = variant.shader().needs;
    let mut capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    // Variants of one shader differ: a snippet for f16 asks for it by itself.
    let f16 = needs != Needs::Subgroups || text.lines().any(|line| line == "enable f16;");
    capabilities.set(Capabilities::SHADER_FLOAT16, f16);
    let matrices = matches!(needs, Needs::Matrix16 | Needs::Matrix8);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, matrices);
    capabilities
}

/// The slots of buffers, as `create_pipeline_layout` in wgpu-hal's `metal/device.rs` gives them out: in the
/// order of the layout, and one for the sizes of runtime arrays after all.
fn metal_resources() -> msl::EntryPointResources {
    let mut resources = msl::EntryPointResources::default();
    for (slot, entry) in (0..).zip(pipelines::entries()) {
        let wgpu::BindingType::Buffer { ty, .. } = entry.ty else { continue };
        let mutable = ty == wgpu::BufferBindingType::Storage { read_only: false };
        let target = msl::BindTarget { buffer: Some(slot), mutable, ..Default::default() };
        resources.resources.insert(resource(entry.binding), target);
        resources.sizes_buffer = Some(slot + 1);
    }
    resources
}

fn resource(binding: u32) -> ResourceBinding {
    ResourceBinding { group: 0, binding }
}

fn parse(variant: &Variant, text: &str) -> Result<Module, Error> {
    naga::front::wgsl::parse_str(text).map_err(|error| refused(variant, error.emit_to_string(text)))
}

fn refused(variant: &Variant, reason: impl std::fmt::Display) -> Error {
    Error::Emit { variant: variant.name(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
