//! Which adapter a wish means, and what is said when there is none.

use super::{GpuInfo, Matrices, Opening, choose, restrict};

fn info(name: &str, backend: &'static str) -> GpuInfo {
    GpuInfo {
        name: name.to_owned(),
        backend,
        driver: String::new(),
        software: false,
        unified: false,
        subgroups: true,
        subgroup_sizes: (32, 32),
        f16: true,
        matrices: None,
        workgroup_memory: 32 << 10,
        max_binding: 1 << 30,
        timestamps: true,
    }
}

#[test]
fn adapters_are_chosen_by_number_backend_or_name() {
    let infos = [info("Apple M4", "metal"), info("NVIDIA H100", "vulkan")];
    for (wish, expected) in [("gpu", 0), ("gpu:1", 1), ("vulkan", 1), ("metal", 0), ("h100", 1)] {
        assert_eq!(choose(&infos, wish).unwrap(), expected, "{wish}");
    }
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let infos = [info("Apple M4", "metal")];
    let error = choose(&infos, "gpu:1").unwrap_err().to_string();
    assert_eq!(error, "device gpu:1: no such GPU; found gpu:0 Apple M4 (metal, subgroups of 32, f16)");
    assert_eq!(choose(&[], "gpu").unwrap_err().to_string(), "device gpu: no such GPU; found none");
}

#[test]
fn an_adapter_without_subgroups_is_refused_by_name() {
    let mut info = GpuInfo { subgroups: false, ..info("Old", "vulkan") };
    let error = restrict(&mut info, &Opening::default()).unwrap_err().to_string();
    assert_eq!(error, "Old: has no subgroup operations, which the kernels need");
}

#[test]
fn without_f16_there_are_no_matrices_either() {
    let mut info = GpuInfo { matrices: Some(Matrices::Size16), ..info("H100", "vulkan") };
    let opening = Opening { f16: false, max_binding: Some(4096), ..Opening::default() };
    restrict(&mut info, &opening).unwrap();
    assert_eq!((info.f16, info.matrices, info.max_binding), (false, None, 4096));
}
