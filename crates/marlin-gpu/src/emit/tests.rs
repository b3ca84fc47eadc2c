//! Every variant of every shader, translated to both languages and held against Apple's limits.

mod finite;

use std::{collections::BTreeMap, fs, path::Path};

use marlin_kernel::shader::{Needs, SHADERS, Variant};
use rayon::prelude::*;

use super::{Footprint, METAL_VERSIONS, Target, Translation, emit, metal, metal_resources};
use finite::suspicious;

/// Apple, Metal Feature Set Tables, the column of Apple7 (M1) and all later.
mod apple {
    /// Bytes of threadgroup memory.
    pub const THREADGROUP_BYTES: u32 = 32 << 10;
    /// Threads of a threadgroup.
    pub const THREADS: u32 = 1024;
    /// Entries of the buffer argument table.
    pub const BUFFERS: usize = 31;
    /// Entries of the threadgroup memory argument table.
    pub const THREADGROUP_ARGUMENTS: usize = 31;
}

/// Workgroup memory of the devices with 16x16 matrices: what Vulkan gives on NVIDIA since Volta.
const NVIDIA_WORKGROUP_BYTES: u32 = 48 << 10;

fn variants() -> Vec<Variant> {
    SHADERS.iter().flat_map(|shader| shader.variants()).collect()
}

#[test]
fn every_variant_is_within_the_limits_of_the_devices_it_is_for() {
    let variants = variants();
    let found: Vec<(String, String)> = variants.par_iter().flat_map_iter(problems).collect();
    println!("{} variants of {} shaders", variants.len(), SHADERS.len());
    // Variants of one shader mostly say the same.
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, problem) in found {
        groups.entry(problem).or_default().push(name);
    }
    let line = |(problem, names): (&String, &Vec<String>)| {
        format!("{problem}: {} variants, the first is {}", names.len(), names[0])
    };
    let lines: Vec<String> = groups.iter().map(line).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// The name of a variant with everything that is wrong with it.
fn problems(variant: &Variant) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    match Translation::of(variant) {
        Ok(translation) => {
            problems.extend(suspicious(&translation.module));
            problems.extend(unused(&translation));
            problems.extend(beyond(Footprint::of(&translation.module), variant.shader().needs));
            problems.extend(translation.spirv().err().map(|error| error.to_string()));
            if Target::Msl.can_have(variant.shader().needs) {
                match translation.msl(METAL_VERSIONS[2]) {
                    Ok(text) => problems.extend(beyond_apple(&text)),
                    Err(error) => problems.push(error.to_string()),
                }
            }
        }
        Err(error) => problems.push(error.to_string()),
    }
    problems.into_iter().map(|problem| (variant.name(), problem)).collect()
}

/// What of a footprint is beyond the devices that have what a shader needs.
fn beyond(footprint: Footprint, needs: Needs) -> Vec<String> {
    let bytes = match needs {
        Needs::Matrix16 => NVIDIA_WORKGROUP_BYTES,
        _ => apple::THREADGROUP_BYTES,
    };
    // `Gpu::open` asks for no more threads and buffers than every device has.
    let opened = wgpu::Limits::default();
    let threads = apple::THREADS.min(opened.max_compute_invocations_per_workgroup);
    let buffers = opened.max_storage_buffers_per_shader_stage + opened.max_uniform_buffers_per_shader_stage;
    let limits = [
        (footprint.workgroup_bytes, "bytes of workgroup memory", bytes),
        (footprint.threads, "threads", threads),
        (footprint.buffers, "buffers", buffers),
    ];
    let beyond = limits.iter().filter(|(found, _, limit)| found > limit);
    beyond.map(|(found, what, limit)| format!("{found} {what}, limit {limit}")).collect()
}

#[test]
fn only_matrices_of_nvidia_may_take_more_workgroup_memory() {
    let footprint = Footprint { threads: 256, workgroup_variables: 1, workgroup_bytes: 32784, buffers: 9 };
    assert_eq!(beyond(footprint, Needs::Matrix16), [""; 0]);
    for needs in [Needs::Subgroups, Needs::F16, Needs::Matrix8] {
        assert_eq!(beyond(footprint, needs), ["32784 bytes of workgroup memory, limit 32768"]);
    }
    let footprint = Footprint { threads: 257, workgroup_bytes: 0, ..footprint };
    assert_eq!(beyond(footprint, Needs::F16), ["257 threads, limit 256"]);
}

#[test]
fn footprints_round_each_variable_up_to_sixteen_bytes() {
    let text =
        "var<workgroup> a: array<f32, 3>; var<workgroup> b: u32; var<workgroup> c: array<vec4<f32>, 5>;
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(8, 4) fn main() { out[0] = b + u32(a[0] + c[0].x); }";
    let footprint = Footprint::of(&naga::front::wgsl::parse_str(text).unwrap());
    let expected =
        Footprint { threads: 32, workgroup_variables: 3, workgroup_bytes: 16 + 16 + 80, buffers: 1 };
    assert_eq!(footprint, expected);
}

/// Workgroup variables that the entry point never touches: [`footprint`] counts every one.
fn unused(translation: &Translation<'_>) -> Vec<String> {
    let entry = translation.info.get_entry_point(0);
    let unused = translation.module.global_variables.iter().filter(|(handle, variable)| {
        variable.space == naga::AddressSpace::WorkGroup && entry[*handle].is_empty()
    });
    unused.map(|(_, variable)| format!("workgroup variable {:?} is never used", variable.name)).collect()
}

/// Arguments of the kernel function beyond Apple's tables.
fn beyond_apple(text: &str) -> Vec<String> {
    let arguments = arguments(text);
    let mut problems = Vec::new();
    let count = |mark: &str| arguments.iter().filter(|argument| argument.contains(mark)).count();
    let slots = arguments.iter().filter_map(|argument| slot(argument));
    let buffers = slots.max().map_or(0, |slot| slot + 1);
    if buffers > apple::BUFFERS {
        problems.push(format!("{buffers} buffers, limit {}", apple::BUFFERS));
    }
    let shared = count("threadgroup ");
    if shared > apple::THREADGROUP_ARGUMENTS {
        problems.push(format!("{shared} threadgroup arguments, limit {}", apple::THREADGROUP_ARGUMENTS));
    }
    if arguments.is_empty() {
        problems.push("no kernel function in the translation".to_owned());
    }
    problems
}

/// The arguments of the kernel function in MSL.
fn arguments(text: &str) -> Vec<&str> {
    let Some((_, rest)) = text.split_once("kernel void ") else { return Vec::new() };
    let Some((_, rest)) = rest.split_once("(\n") else { return Vec::new() };
    let Some((list, _)) = rest.split_once("\n) {") else { return Vec::new() };
    list.lines().map(|line| line.trim_start_matches([' ', ','])).collect()
}

/// 3 of an argument with `[[buffer(3)]]`.
fn slot(argument: &str) -> Option<usize> {
    argument.split_once("[[buffer(")?.1.split_once(')')?.0.parse().ok()
}

#[test]
fn arguments_beyond_apples_tables_are_found() {
    let list = |count: usize, argument: &str| vec![argument; count].join("\n, ");
    let kernel = |arguments: String| format!("kernel void main_(\n  {arguments}\n) {{\n}}\n");
    assert_eq!(beyond_apple(&kernel(list(31, "threadgroup uint& a"))), [""; 0]);
    assert_eq!(beyond_apple(&kernel(list(32, "threadgroup uint& a"))).len(), 1);
    assert_eq!(beyond_apple(&kernel("device uint& a [[buffer(30)]]".into())), [""; 0]);
    assert_eq!(beyond_apple(&kernel("device uint& a [[buffer(31)]]".into())), ["32 buffers, limit 31"]);
    assert_eq!(beyond_apple("vertex void main_() {}").len(), 1);
}

#[test]
fn metal_gets_the_slots_that_wgpu_binds() {
    let resources = metal_resources();
    let slots: Vec<_> = resources.resources.values().map(|target| (target.buffer, target.mutable)).collect();
    let mutable = [false, true, false, false, false, false, true, true, false];
    let expected: Vec<_> = (0..9).map(Some).zip(mutable).collect();
    assert_eq!((slots, resources.sizes_buffer), (expected, Some(9)));
    let variant = &variants()[0];
    let text = String::from_utf8(emit(variant, Target::Msl).unwrap()).unwrap();
    let arena = arguments(&text).into_iter().find(|argument| argument.contains(" arena"));
    assert_eq!(arena.and_then(slot), Some(1), "{text}");
}

#[test]
fn sizes_are_asked_for_in_the_order_of_the_variables() {
    let copy = Variant { file: "shader/copy", slots: Vec::new(), constants: Vec::new() };
    let found = metal(&copy).unwrap();
    assert_eq!((found.threads, found.sizes), ([256, 1, 1], (9, vec![4, 7])));
    assert!(found.text.contains("struct _mslBufferSizes {\n    uint size0;\n    uint size1;\n}"));
}

#[test]
fn one_metal_file_stands_for_every_version_of_the_language() {
    for shader in SHADERS.iter().filter(|shader| Target::Msl.can_have(shader.needs)) {
        let variant = &shader.variants()[0];
        let translation = Translation::of(variant).unwrap();
        let body = |version| {
            let text = translation.msl(version).unwrap();
            let (first, rest) = text.split_once('\n').unwrap();
            assert_eq!(first, format!("// language: metal{}.{}", version.0, version.1));
            rest.to_owned()
        };
        let bodies = METAL_VERSIONS.map(body);
        assert!(bodies.iter().all(|other| *other == bodies[0]), "{}", variant.name());
    }
}

#[test]
fn metal_has_no_sixteen_by_sixteen_matrices() {
    let shader = SHADERS.iter().find(|shader| shader.needs == Needs::Matrix16).unwrap();
    let variant = &shader.variants()[0];
    let error = emit(variant, Target::Msl).unwrap_err().to_string();
    assert_eq!(error, format!("kernel {}: needs 16x16 matrices, Metal has 8x8", variant.name()));
}

#[test]
fn files_are_what_their_names_say() {
    let variant = &variants()[0];
    let spirv = emit(variant, Target::SpirV).unwrap();
    assert_eq!((&spirv[..8], spirv.len() % 4), (&[3, 2, 0x23, 7, 0, 6, 1, 0][..], 0));
    let msl = String::from_utf8(emit(variant, Target::Msl).unwrap()).unwrap();
    assert!(msl.starts_with("// language: metal3.2\n"), "{msl}");
    assert_eq!(emit(variant, Target::Wgsl).unwrap(), variant.source().text.into_bytes());
}

/// `emit.rs` repeats what wgpu-hal does: whoever changes its version compares the files named there.
#[test]
fn the_options_are_those_of_the_wgpu_that_is_used() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    for name in ["wgpu-hal", "naga"] {
        let versions: Vec<&str> = lock
            .split("[[package]]")
            .filter(|package| package.contains(&format!("\nname = \"{name}\"\n")))
            .filter_map(|package| package.split("version = \"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(versions, ["30.0.1"], "{name}: compare its options with emit.rs");
    }
}
