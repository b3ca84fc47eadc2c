//! What config.json says of the weights that were written.

use marlin_format::by_name;
use serde_json::{Value, json};

use crate::quantized::{arbitrary, write};

/// The `quantization_config` written for these matrices.
fn config(list: &[(&str, &str, usize)]) -> Value {
    let weights: Vec<_> = list
        .iter()
        .map(|(name, format, cols)| ((*name).to_owned(), arbitrary(by_name(format).unwrap(), 2, *cols, 1)))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let model = write(&dir.path().join("out"), &weights, u64::MAX);
    model.config_json().unwrap().unwrap().remove("quantization_config").unwrap_or(Value::Null)
}

#[test]
fn the_config_describes_formats_to_compressed_tensors() {
    let one = config(&[
        ("model.embed_tokens", "bf16", 64),
        ("model.layers.0.mlp.up_proj", "fp4", 64),
        ("model.layers.11.mlp.up_proj", "fp4", 64),
        ("model.layers.0.mlp.experts.3.up_proj", "fp4", 64),
    ]);
    let expected = json!({
        "quant_method": "compressed-tensors",
        "format": "nvfp4-pack-quantized",
        "quantization_status": "compressed",
        "config_groups": { "group_0": {
            "targets": [
                r"re:^model\.layers\.\d+\.mlp\.up_proj$",
                r"re:^model\.layers\.\d+\.mlp\.experts\.\d+\.up_proj$"
            ],
            "weights": {
                "num_bits": 4, "type": "float", "symmetric": true, "strategy": "tensor_group",
                "group_size": 16, "dynamic": false
            },
            "input_activations": null, "output_activations": null,
            "format": "nvfp4-pack-quantized"
        } },
        "ignore": ["model.embed_tokens"],
        "kv_cache_scheme": null,
        "global_compression_ratio": null
    });
    assert_eq!(one, expected);
    assert_eq!(config(&[("a", "bf16", 64)]), Value::Null);
}

#[test]
fn mixed_formats_are_told_apart_by_name() {
    let mixed = config(&[
        ("model.embed_tokens", "int8", 128),
        ("model.layers.0.q-proj", "int4", 128),
        ("model.layers.1.q-proj", "mxfp4", 128),
        ("model.layers.2.q-proj", "bf16", 128),
        ("model.layers.0.k", "int4", 128),
        ("model.layers.1.k", "int4", 128),
        ("lm_head", "int4-sym", 128),
    ]);
    assert_eq!(mixed["format"], "mixed-precision");
    let groups = mixed["config_groups"].as_object().unwrap();
    let facts: Vec<_> = groups
        .values()
        .map(|group| {
            let weights = &group["weights"];
            json!([
                group["targets"],
                group["format"],
                weights["num_bits"],
                weights["type"],
                weights["symmetric"],
                weights["strategy"],
                weights["group_size"]
            ])
        })
        .collect();
    let pack = "pack-quantized";
    let mx = "mxfp4-pack-quantized";
    let expected = [
        json!([["model.embed_tokens"], pack, 8, "int", true, "group", 128]),
        json!([
            ["model.layers.0.q-proj", r"re:^model\.layers\.\d+\.k$"],
            pack,
            4,
            "int",
            false,
            "group",
            128
        ]),
        json!([["model.layers.1.q-proj"], mx, 4, "float", true, "group", 32]),
        json!([["lm_head"], pack, 4, "int", true, "group", 128]),
    ];
    assert_eq!(facts, expected);
    assert_eq!(mixed["ignore"], json!(["model.layers.2.q-proj"]));
}

#[test]
fn what_compressed_tensors_cannot_say_is_ours() {
    // A format of our own, and columns that are no whole number of groups.
    for (format, cols) in [("fp4-g64", 128), ("fp4", 40), ("int4", 192)] {
        let found = config(&[("a", "int8", 128), ("b", format, cols), ("c", "f16", 8)]);
        let expected = json!({
            "quant_method": "metal-marlin",
            "config_groups": {
                "group_0": { "targets": ["a"], "format": "int8" },
                "group_1": { "targets": ["b"], "format": format }
            },
            "ignore": ["c"]
        });
        assert_eq!(found, expected, "{format} {cols}");
    }
}
