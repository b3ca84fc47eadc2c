//! Which variants a device is refused, and in which words.

use marlin_kernel::shader::{Needs, SHADERS, Variant};

use crate::{GpuInfo, Matrices, emit};

fn info() -> GpuInfo {
    GpuInfo {
        name: "Apple M1".to_owned(),
        backend: "metal",
        driver: String::new(),
        software: false,
        unified: true,
        subgroups: true,
        subgroup_sizes: (32, 32),
        f16: true,
        matrices: Some(Matrices::Size8),
        workgroup_memory: 32 << 10,
        max_binding: 1 << 30,
        timestamps: true,
    }
}

fn first(needs: Needs) -> Variant {
    let shader = SHADERS.iter().find(|shader| shader.needs == needs).unwrap();
    shader.variants().swap_remove(0)
}

#[test]
fn a_device_is_refused_what_it_cannot_run() {
    let info = info();
    assert!(info.supports(&first(Needs::Subgroups)).is_ok());
    assert!(info.supports(&first(Needs::Matrix8)).is_ok());
    let error = info.supports(&first(Needs::Matrix16)).unwrap_err().to_string();
    assert_eq!(error, "Apple M1: has no 16x16 cooperative matrices, which the kernels need");
}

#[test]
fn workgroup_memory_that_is_not_there_is_refused_by_name() {
    let variant = first(Needs::Matrix8);
    let needed = emit::footprint(&variant).unwrap().workgroup_bytes;
    let enough = GpuInfo { workgroup_memory: needed, ..info() };
    assert!(enough.supports(&variant).is_ok());
    let less = GpuInfo { workgroup_memory: needed - 1, ..info() };
    let error = less.supports(&variant).unwrap_err().to_string();
    let expected = format!(
        "Apple M1: kernel {} needs {needed} bytes of workgroup memory, found {}",
        variant.name(),
        needed - 1
    );
    assert_eq!(error, expected);
}
