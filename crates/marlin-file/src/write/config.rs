//! `quantization_config`, the part of config.json that tells other programs how to read the weights.
//!
//! Where every format of the model is one of compressed-tensors', `quant_method` says so; otherwise
//! it is `metal-marlin`, each group names its format, and only this program reads the directory. Transforms
//! of weights and inputs are written in compressed-tensors' words by both.

use std::collections::{HashMap, HashSet};

use marlin_format::{Code, Format, Layout, ROW, ScaleType};
use serde_json::{Map, Value, json};

use super::plan::{Content, Planned};

/// A format and the names of its matrices.
type Group<'a> = (&'static dyn Format, Vec<&'a str>);

/// Where transforms stand in a `quantization_config`.
const TRANSFORMS: &str = "transform_config";

/// The value of `quantization_config`, with the transforms of the one `before`; `None` if no matrix is
/// quantized or transformed.
pub(super) fn quantization_config(planned: &[Planned], before: Option<&Value>) -> Option<Value> {
    let transforms = before.and_then(|before| before.get(TRANSFORMS));
    let transforms = transforms.filter(|transforms| {
        let groups = transforms.get("config_groups").and_then(Value::as_object);
        groups.is_some_and(|groups| !groups.is_empty())
    });
    // In order of first appearance.
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut dense = Vec::new();
    let mut compatible = true;
    for item in planned {
        let Content::Matrix { format, cols, .. } = &item.content else { continue };
        if matches!(format.layout(), Layout::Dense { .. }) {
            dense.push(item.name.as_str());
            continue;
        }
        compatible &= is_compressed_tensors(*format, *cols);
        match groups.iter_mut().find(|(known, _)| known.name() == format.name()) {
            Some((_, names)) => names.push(&item.name),
            None => groups.push((*format, vec![&item.name])),
        }
    }
    if groups.is_empty() && transforms.is_none() {
        return None;
    }
    let mut classes: Vec<&[&str]> = groups.iter().map(|(_, names)| names.as_slice()).collect();
    classes.push(&dense);
    let mut targets = targets(&classes);
    let ignore = targets.pop().unwrap_or_default();
    let mut config = match compatible {
        true => compressed_tensors(&groups, targets, ignore),
        false => metal_marlin(&groups, targets, ignore),
    };
    if let (Some(config), Some(transforms)) = (config.as_object_mut(), transforms) {
        config.insert(TRANSFORMS.into(), transforms.clone());
    }
    Some(config)
}

/// Whether compressed-tensors has a scheme for matrices in `format` with `cols` columns.
pub fn is_compressed_tensors(format: &dyn Format, cols: usize) -> bool {
    let group = format.layout().group();
    scheme(format).is_some() && (group == ROW || cols.is_multiple_of(group))
}

fn compressed_tensors(groups: &[Group<'_>], targets: Vec<Vec<String>>, ignore: Vec<String>) -> Value {
    let (mut config_groups, mut formats) = (Map::new(), Vec::new());
    for (at, ((format, _), targets)) in groups.iter().zip(targets).enumerate() {
        let Some(Scheme { format, weights }) = scheme(*format) else { continue };
        formats.push(format);
        let group = json!({
            "targets": targets, "weights": weights, "input_activations": null, "output_activations": null,
            "format": format
        });
        config_groups.insert(format!("group_{at}"), group);
    }
    formats.dedup();
    let format = match formats[..] {
        [] => "dense",
        [format] => format,
        _ => "mixed-precision",
    };
    json!({
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": ignore,
        "kv_cache_scheme": null,
        "global_compression_ratio": null
    })
}

fn metal_marlin(groups: &[Group<'_>], targets: Vec<Vec<String>>, ignore: Vec<String>) -> Value {
    let mut config_groups = Map::new();
    for (at, ((format, _), targets)) in groups.iter().zip(targets).enumerate() {
        let group = json!({ "targets": targets, "format": format.name() });
        config_groups.insert(format!("group_{at}"), group);
    }
    json!({ "quant_method": "metal-marlin", "config_groups": config_groups, "ignore": ignore })
}

/// How compressed-tensors describes a format.
struct Scheme {
    format: &'static str,
    weights: Value,
}

fn scheme(format: &dyn Format) -> Option<Scheme> {
    let Layout::Grouped { code, group, scale, zero, tensor_scale, sparse: false } = format.layout() else {
        return None;
    };
    let (format, kind, strategy) = match (code, scale, group, tensor_scale) {
        (Code::E2m1, ScaleType::E4m3, 16, true) => ("nvfp4-pack-quantized", "float", "tensor_group"),
        (Code::E2m1, ScaleType::E8m0, 32, false) => ("mxfp4-pack-quantized", "float", "group"),
        (Code::Uint4 | Code::Uint3 | Code::Uint2 | Code::Int4 | Code::Int8, ScaleType::F16, _, false) => {
            ("pack-quantized", "int", "group")
        }
        (Code::E4m3, ScaleType::F32, ROW, false) => ("float-quantized", "float", "channel"),
        _ => return None,
    };
    let group = (group != ROW).then_some(group);
    let weights = json!({
        "num_bits": code.bits(), "type": kind, "symmetric": !zero, "strategy": strategy,
        "group_size": group, "dynamic": false
    });
    Some(Scheme { format, weights })
}

/// For each class of module names, a list of targets that matches its names and no other class's:
/// one regular expression for all names that differ only in numbers, where they are of one class, and
/// plain names where they are not.
fn targets(classes: &[&[&str]]) -> Vec<Vec<String>> {
    // The class of each pattern, `None` once two classes share it.
    let mut owner: HashMap<String, Option<usize>> = HashMap::new();
    for (class, names) in classes.iter().enumerate() {
        for name in *names {
            let owner = owner.entry(pattern(name)).or_insert(Some(class));
            if *owner != Some(class) {
                *owner = None;
            }
        }
    }
    let of_class = |names: &&[&str]| {
        let mut targets: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for name in *names {
            let pattern = pattern(name);
            let numbered = pattern.contains(NUMBER);
            match owner.get(&pattern) {
                Some(Some(_)) if numbered => {
                    if seen.insert(pattern.clone()) {
                        targets.push(format!("re:^{pattern}$"));
                    }
                }
                _ => targets.push((*name).to_owned()),
            }
        }
        targets
    };
    classes.iter().map(of_class).collect()
}

const NUMBER: &str = r"\d+";

/// A regular expression for `name` with any number in the place of each numeric component.
fn pattern(name: &str) -> String {
    let component = |part: &str| {
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if number { NUMBER.to_owned() } else { escape(part) }
    };
    name.split('.').map(component).collect::<Vec<_>>().join(r"\.")
}

/// Puts a backslash before everything that is not a letter, digit or underscore.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if !(char.is_alphanumeric() || char == '_') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
