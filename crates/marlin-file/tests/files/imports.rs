//! Weights as other programs store them against the values that their own code gives: every folder of
//! goldens/imports, bit for bit.

use std::path::{Path, PathBuf};

use marlin_file::{Checkpoint, Safetensors, check_finite};
use serde_json::json;

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

/// Modules may have settings of their own, by patterns: the shapes of their tensors say the same, and say it
/// whatever stands there.
#[test]
fn mixed_checkpoints_need_no_patterns() {
    let group = |name: &str, bits: u8, size: i8, format: &str| {
        let weights = json!({"num_bits": bits, "group_size": size, "type": "int", "strategy": "group"});
        json!({"targets": [format!("re:.*{name}.*")], "format": format, "weights": weights})
    };
    let groups = json!({
        "group_0": group("two", 2, 32, "pack-quantized"),
        "group_1": group("three", 3, 32, "pack-quantized"),
        "group_2": group("six", 6, 64, "pack-quantized"),
        "group_3": group("eight", 8, 32, "pack-quantized"),
        "group_4": group("bytes", 8, -1, "int-quantized"),
        "group_5": group("fp4", 4, 16, "nvfp4-pack-quantized"),
    });
    let dynamic = json!({
        "+:.*eight": {"bits": 8, "group_size": 32},
        "+:.*three": {"bits": 3, "group_size": 32, "desc_act": false},
        "+:.*four-row": {"group_size": -1},
        "-:.*lm_head": {},
    });
    let configs = [
        ("gptq-v1", json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": dynamic})),
        (
            "compressed-tensors",
            json!({"format": "mixed-precision", "ignore": ["lm_head", "re:.*gate"], "config_groups": groups}),
        ),
    ];
    for (folder, quantization) in configs {
        let config = json!({"quantization_config": quantization});
        let model =
            Checkpoint::open(&goldens().join(folder)).unwrap().with_config(config.as_object().unwrap());
        let expected = Safetensors::open(&goldens().join(folder).join("expected.safetensors")).unwrap();
        for tensor in expected.tensors().iter() {
            compare(&model, tensor, &format!("{folder}, mixed: {}", tensor.name));
        }
    }
}
