//! Weights as other programs store them against the values that their own code gives: every folder of
//! goldens/imports, bit for bit.

use std::path::{Path, PathBuf};

use marlin_file::{Checkpoint, Safetensors, check_finite};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/imports")
}

/// What each weight becomes: folder, weight, format.
const FORMATS: &[(&str, &str, &str)] = &[
    ("awq", "odd-groups", "affine4-g16"),
    ("awq", "row", "int4"),
    ("awq", "square", "int4-g32"),
    ("gptq-v1", "eight", "int8-g32"),
    ("gptq-v1", "eight-order", "int8"),
    ("gptq-v1", "eight-zeros", "affine8-g32"),
    ("gptq-v1", "four", "int4-sym-g32"),
    ("gptq-v1", "four-order", "int4-g32"),
    ("gptq-v1", "four-row", "int4"),
    ("gptq-v1", "four-zeros", "int4-g32"),
    ("gptq-v1", "three", "int3-g32"),
    ("gptq-v1", "three-order", "int3"),
    ("gptq-v1", "two", "int2-g32"),
    ("compressed-tensors", "four", "int4-sym-g32"),
    ("compressed-tensors", "four-order", "int4-g32"),
    ("compressed-tensors", "four-row", "int4-sym"),
    ("compressed-tensors", "eight-zeros", "affine8-g32"),
    ("compressed-tensors", "six", "affine8-g32"),
    ("compressed-tensors", "bytes", "int8"),
    ("compressed-tensors", "bytes-tensor", "int8"),
    ("compressed-tensors", "nvfp4", "fp4"),
    ("compressed-tensors", "mxfp4", "mxfp4"),
    ("compressed-tensors-padded", "three-zeros", "int3-g32"),
    ("bitsandbytes", "nf4-nested", "lut4"),
    ("bitsandbytes", "nf4-across", "lut4-g32"),
    ("bitsandbytes", "nf4-odd", "f32"),
    ("float-quantized", "row", "fp8-e4m3"),
    ("fp8-blocks", "columns", "fp8-e4m3-g128"),
    ("fp8-blocks", "powers", "fp8-e4m3-g128"),
    ("gpt-oss", "experts.gate_up_proj", "mxfp4"),
    ("mlx", "two", "affine4-g32"),
    ("mlx", "four", "affine4-g64"),
    ("mlx", "six", "affine8"),
    ("mlx", "eight", "affine8-g32"),
    ("mlx", "mxfp4", "mxfp4"),
    ("mlx", "nvfp4", "fp4"),
    ("mlx", "mxfp8", "bf16"),
    ("mmfp4", "rows", "fp4-g128"),
    ("mmfp4", "groups", "fp4-g128"),
    ("modelopt-nvfp4", "w", "fp4"),
];

#[test]
fn every_value_is_the_owners() {
    let mut folders = 0;
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("expected.safetensors").exists() {
            continue;
        }
        folders += 1;
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let model = Checkpoint::open(&folder).unwrap();
        let expected = Safetensors::open(&folder.join("expected.safetensors")).unwrap();
        let mut names: Vec<&str> = expected.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        let mut listed = model.weight_names();
        listed.extend(model.stack_names());
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, names, "{name}");
        for weight in names {
            compare(&model, expected.tensors().get(weight).unwrap(), &format!("{name}: {weight}"));
        }
    }
    assert!(folders >= 12, "{folders} folders");
}

fn compare(model: &Checkpoint, expected: &marlin_file::TensorView, place: &str) {
    let shape = [expected.shape[0], expected.shape[1]];
    let weight = model.weight(&expected.name).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(model.weight_shape(&expected.name).unwrap(), (shape[0], shape[1]), "{place}");
    assert_eq!([weight.rows(), weight.cols()], shape, "{place}");
    check_finite(place, &expected.name, &weight).unwrap();
    let values = expected.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    for (at, (found, expected)) in weight.to_f32().into_iter().zip(values).enumerate() {
        // A zero has no sign worth keeping.
        let same = found.to_bits() == expected.to_bits() || (found == 0.0 && expected == 0.0);
        assert!(same, "{place}: value {at} is {found:e}, expected {expected:e}");
    }
}

#[test]
fn formats_are_the_smallest_that_hold_the_values() {
    for (folder, name, format) in FORMATS {
        let model = Checkpoint::open(&goldens().join(folder)).unwrap();
        let ordered = model.ordered_weight(name).unwrap();
        assert_eq!(ordered.weight.format().name(), *format, "{folder}: {name}");
        assert_eq!(ordered.order.is_some(), name.ends_with("order"), "{folder}: {name}");
    }
}
