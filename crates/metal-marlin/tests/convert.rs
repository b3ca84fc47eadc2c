//! `convert`: values, names, keys and tokens that come back, and what is refused.

mod common;

use std::path::{Path, PathBuf};

use common::{fail, json, miniature, succeed};
use marlin_file::{Gguf, Partial, gguf::Value as GgufValue};
use marlin_model::{Source, Tensors, gguf, published};
use marlin_quant::{
    Event,
    convert::{to_compressed_tensors, to_gguf},
};
use serde_json::Value;

/// A directory with the miniature quantized to `format`.
struct Quantized {
    dir: tempfile::TempDir,
}

impl Quantized {
    fn new(format: &str) -> Quantized {
        let dir = tempfile::tempdir().unwrap();
        let quantized = Quantized { dir };
        succeed(&["quantize", "marlin-mini", "--format", format, "--out", &quantized.path("model")]);
        quantized
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Converts, and gives what was said.
    fn convert(&self, to: &str, out: &str, more: &[&str]) -> Value {
        let (model, out) = (self.path("model"), self.path(out));
        json(&[&["convert", &model, "--to", to, "--out", &out], more].concat())
    }

    fn source(&self, name: &str) -> Source {
        Source::open(Path::new(&self.path(name))).unwrap()
    }

    /// Everything in the directory but the model.
    fn others(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap() != "model").collect()
    }
}

/// The first value of a tensor that differs.
fn difference(name: &str, a: &[f32], b: &[f32]) -> Option<String> {
    assert_eq!(a.len(), b.len(), "{name}");
    let at = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits() && (*a, *b) != (0.0, 0.0))?;
    Some(format!("{name}[{at}]: {} and {}", a[at], b[at]))
}

fn assert_same_tensors(a: &Source, b: &Source) {
    let names: Vec<&str> = a.names().collect();
    assert_eq!(names, b.names().collect::<Vec<_>>());
    for name in names {
        let (a, b) = (a.weight(name).unwrap(), b.weight(name).unwrap());
        assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()), "{name}");
        assert_eq!(difference(name, &a.to_f32(), &b.to_f32()), None);
    }
}

fn rounded(said: &Value) -> u64 {
    said["rows"].as_array().unwrap().iter().map(|row| row["rounded"].as_u64().unwrap()).sum()
}

/// The types that the rows of `from` became.
fn types(said: &Value, from: &str) -> Vec<String> {
    let rows = said["rows"].as_array().unwrap().iter().filter(|row| row["from"] == from);
    rows.map(|row| row["to"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_value_is_the_same_in_a_gguf() {
    for (format, kind) in [("int8", "Q8_0"), ("int4", "Q5_0"), ("int3", "Q4_0"), ("int4-sym", "Q4_0")] {
        let quantized = Quantized::new(format);
        let said = quantized.convert("gguf", "out.gguf", &[]);
        assert!(types(&said, format).contains(&kind.to_owned()), "{format}: {said}");
        assert_eq!(rounded(&said), 0);
        assert_same_tensors(&quantized.source("model"), &quantized.source("out.gguf"));
    }
}

#[test]
fn every_value_is_the_same_in_compressed_tensors() {
    for format in ["fp4", "mxfp4", "int4", "int8", "fp8-e4m3"] {
        let quantized = Quantized::new(format);
        let said = quantized.convert("compressed-tensors", "out", &[]);
        assert_eq!(rounded(&said), 0);
        assert_same_tensors(&quantized.source("model"), &quantized.source("out"));
        let config = std::fs::read(quantized.path("out/config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let quantization = &config["quantization_config"];
        assert_eq!(quantization["quant_method"], "compressed-tensors", "{format}");
        // One scheme for all, and the tables of tokens dense: what loaders expect.
        assert_eq!(quantization["config_groups"].as_object().unwrap().len(), 1, "{format}");
        let tensors = quantized.source("out");
        let tensors = tensors.checkpoint().tensors();
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            assert!(tensors.find(name).is_some(), "{format}: {name}");
        }
    }
}

#[test]
fn fused_matrices_share_a_tensor_scale_where_no_value_changes() {
    let quantized = Quantized::new("fp4");
    let said = quantized.convert("compressed-tensors", "out", &[]);
    let source = quantized.source("out");
    let scale = |name: &str| source.weight(name).unwrap().parts().tensor_scale;
    let mlp = "model.layers.0.mlp";
    assert_eq!(said["own_scales"], 0);
    assert_eq!(scale(&format!("{mlp}.gate_proj.weight")), scale(&format!("{mlp}.up_proj.weight")));
}

#[test]
fn the_joined_projection_is_the_one_that_was_split() {
    let mini = Source::open(&miniature()).unwrap();
    let name = "model.layers.2.self_attn.kv_b_proj.weight";
    let original = mini.checkpoint().weight(name.strip_suffix(".weight").unwrap()).unwrap();
    let joined = published::weight(&mini, name).unwrap();
    assert_eq!(published::shape(&mini, name).unwrap(), (original.rows(), original.cols()));
    assert_eq!(difference(name, &original.to_f32(), &joined.to_f32()), None);
}

#[test]
fn what_has_no_type_is_refused_or_becomes_dense() {
    let quantized = Quantized::new("nf4");
    let model = quantized.path("model");
    for (to, container) in [("gguf", "GGUF"), ("compressed-tensors", "compressed-tensors")] {
        let text = fail(&["convert", &model, "--to", to, "--out", &quantized.path("out")]);
        assert!(
            text.contains(&format!("tensors that {container} has no type for: model.layers.0.")),
            "{text}"
        );
        assert!(text.contains("(nf4 [") && text.contains("hint: --dequantize"), "{text}");
        assert_eq!(quantized.others(), [""; 0].map(PathBuf::from));
    }
    let said = quantized.convert("gguf", "f32.gguf", &["--dequantize", "f32"]);
    assert_eq!((types(&said, "nf4"), rounded(&said)), (vec!["F32".to_owned()], 0));
    assert_same_tensors(&quantized.source("model"), &quantized.source("f32.gguf"));
    let said = quantized.convert("gguf", "f16.gguf", &["--dequantize"]);
    assert_eq!(types(&said, "nf4"), ["F16"]);
    let worst = |row: &Value| row["worst_relative_mse"].as_f64().unwrap();
    assert!(rounded(&said) > 0 && said["rows"].as_array().unwrap().iter().all(|row| worst(row) < 1e-6));
    let refused = ["convert", &model, "--to", "gguf", "--out", "x", "--dequantize", "int8"];
    assert!(!common::run(&refused).status.success());
}

#[test]
fn what_is_there_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    std::fs::write(&out, "mine").unwrap();
    for to in ["gguf", "compressed-tensors"] {
        let text = fail(&["convert", "marlin-mini", "--to", to, "--out", out.to_str().unwrap()]);
        assert!(text.contains("out.gguf: exists already"), "{text}");
    }
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_gguf_speaks_like_its_source_and_can_be_converted_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    succeed(&["convert", "marlin-mini", "--to", "gguf", "--out", &path("a.gguf")]);
    succeed(&["convert", &path("a.gguf"), "--to", "gguf", "--out", &path("b.gguf")]);
    assert!(std::fs::read(path("a.gguf")).unwrap() == std::fs::read(path("b.gguf")).unwrap());
    let said = |model: &str| {
        let prompt = "I'll say he's 1234567 years old, na\u{ef}ve \u{2014}";
        json(&["run", model, "--prompt", prompt, "--max-tokens", "12"])["text"].clone()
    };
    assert_eq!(said(&path("a.gguf")), said("marlin-mini"));
    let source = Source::open(&dir.path().join("a.gguf")).unwrap();
    assert_same_tensors(&Source::open(&miniature()).unwrap(), &source);
}

/// The files that gguf-py wrote of the same checkpoints have the names, shapes, values and keys that ours
/// have.
#[test]
fn names_values_and_keys_are_those_of_other_converters() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let mut seen = 0;
    for name in
        ["llama", "llama-rope3", "smollm", "qwen2", "qwen3", "qwen3-moe", "gemma3-text", "glm4-moe-lite"]
    {
        let source = Source::open(&goldens.join(name)).unwrap();
        let twin = Gguf::open(&goldens.join(name).join("model.gguf")).unwrap();
        let exported = gguf::export(&source).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(exported.len(), twin.tensors().iter().count(), "{name}");
        for tensor in &exported {
            let theirs = twin.tensors().get(&tensor.name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(tensor.shape, theirs.shape, "{name}: {}", tensor.name);
            let (values, tolerance) = match &tensor.from {
                gguf::Origin::Values(values) => (values.clone(), 1e-6),
                gguf::Origin::Tensors(names, transform) => {
                    let one = |ours: &String| transform.apply(ours, source.weight(ours).unwrap()).unwrap();
                    (names.iter().flat_map(|ours| one(ours).to_f32()).collect(), 0.0)
                }
            };
            let stored = marlin_format::by_name(theirs.dtype.format().unwrap()).unwrap();
            let parts = marlin_format::Parts::codes_only(theirs.data.clone());
            let stored = marlin_format::Weight::new(stored, 1, values.len(), parts).unwrap().to_f32();
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * b.abs();
            assert!(values.iter().zip(&stored).all(close), "{name}: {}", tensor.name);
        }
        let keys = gguf::metadata(&source).unwrap_or_else(|error| panic!("{name}: {error}"));
        let prefix = format!("{}.", source.architecture().gguf.unwrap());
        for (key, theirs) in twin.metadata().iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let ours = keys.iter().find(|(ours, _)| ours == key).map(|(_, value)| value);
            let same = match (ours, theirs) {
                (Some(GgufValue::Float(a)), GgufValue::Float(b)) => *a as f32 == *b as f32,
                (ours, theirs) => ours == Some(theirs),
            };
            assert!(same, "{name}: {key}: {ours:?}, expected {theirs:?}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen} keys");
}

#[test]
fn a_model_that_llama_cpp_computes_otherwise_is_refused() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    for (name, key) in [
        ("mistral-window", "sliding_window"),
        ("qwen3-moe-mixed", "norm_topk_prob"),
        ("glm4-moe-lite-full-q", "q_lora_rank"),
    ] {
        let source = Source::open(&goldens.join(name)).unwrap();
        let text = gguf::metadata(&source).unwrap_err().to_string();
        assert!(text.starts_with(&format!("config {key}: found ")), "{name}: {text}");
    }
}

/// A checkpoint without a tokenizer, whose rows are no whole blocks.
#[test]
fn odd_widths_are_refused_and_kept_dense() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/smollm");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (model, source) = (path("model"), golden.to_str().unwrap());
    succeed(&["quantize", source, "--format", "int8", "--out", model.to_str().unwrap()]);
    let source = Source::open(&model).unwrap();
    let convert = |name: &str, dense: Option<&str>| {
        let partial = Partial::open(&path(name), None, false).unwrap();
        let dense = dense.map(|name| marlin_format::by_name(name).unwrap());
        to_gguf(&source, Vec::new(), partial, dense, |_| true).map_err(|error| error.to_string())
    };
    let text = convert("a.gguf", None).unwrap_err();
    assert!(text.contains("tensors that GGUF has no type for: ") && text.contains("(int8 ["), "{text}");
    assert!(!path("a.gguf").exists());
    convert("b.gguf", Some("f32")).unwrap();
    assert_same_tensors(&source, &Source::open(&path("b.gguf")).unwrap());
}

#[test]
fn a_stopped_conversion_leaves_nothing() {
    let source = Source::open(&miniature()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let partial = || Partial::open(&dir.path().join("out"), None, false).unwrap();
    // Just before the last tensor is written.
    let stops = |limit: usize| {
        let mut calls = 0;
        move |_: Event<'_>| {
            calls += 1;
            calls < limit
        }
    };
    let limit = 2 * gguf::export(&source).unwrap().len();
    let text = to_gguf(&source, Vec::new(), partial(), None, stops(limit)).unwrap_err().to_string();
    assert!(text.starts_with("stopped after "), "{text}");
    let limit = 2 * published::names(&source).len();
    let text = to_compressed_tensors(&source, partial(), &[], None, stops(limit)).unwrap_err().to_string();
    assert!(text.starts_with("stopped after "), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
