//! A synthetic checkpoint has the shapes of the real one, opens as a model, and its quantized form is
//! spread like the dense one.

use std::path::Path;

use marlin_file::Checkpoint;
use marlin_format::{FORMATS, Layout, Rounding, Weight, by_name};
use marlin_model::{Source, Tensors};
use marlin_text::Tokenizer;

use super::{
    Arguments,
    draw::{Generator, Pools},
    run, shapes,
    shapes::{Kind, Tensor},
};

fn arguments(out: &Path, format: &str) -> Arguments {
    Arguments {
        arch: "glm-4.7-flash".to_owned(),
        out: out.to_owned(),
        format: format.to_owned(),
        layers: None,
        shard_bytes: 1_000_000,
        seed: 7,
        tiny: true,
    }
}

fn linear(name: &str, rows: usize, cols: usize) -> Tensor {
    Tensor { name: name.to_owned(), rows, cols, kind: Kind::Linear }
}

/// The published inventory has 9703 tensors, of which 212 belong to multi-token prediction, and
/// 29.94 billion parameters outside of it.
#[test]
fn the_shapes_are_those_of_the_published_model() {
    let shapes = shapes::GLM_4_7_FLASH;
    let tensors = shapes.tensors(shapes.layers, false);
    assert_eq!(tensors.len(), 9703 - 212);
    let parameters: usize = tensors.iter().map(|tensor| tensor.rows * tensor.cols).sum();
    assert_eq!((parameters as f64 / 1e7).round(), 2994.0);
    let split: usize =
        shapes.tensors(shapes.layers, true).iter().map(|tensor| tensor.rows * tensor.cols).sum();
    assert_eq!(split, parameters);
}

#[test]
fn every_writable_format_makes_a_model_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let written = |format: &&&'static dyn marlin_format::Format| {
        !matches!(format.layout(), Layout::Blocks { .. } | Layout::Affine { .. })
    };
    for format in FORMATS.iter().filter(written) {
        let out = dir.path().join(format.name());
        run(&arguments(&out, format.name())).unwrap();
        let source = Source::open(&out).unwrap();
        let name = "model.layers.2.mlp.experts.7.down_proj.weight";
        assert_eq!(source.weight(name).unwrap().format().name(), format.name());
        assert!(source.left_out().is_empty());
        let model = marlin_model::build(&source).unwrap();
        assert_eq!((model.vocab_size, model.eos.len()), (512, 3), "{}", format.name());
    }
}

#[test]
fn a_format_that_is_only_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let read_only = FORMATS.iter().find(|format| matches!(format.layout(), Layout::Blocks { .. })).unwrap();
    let error = run(&arguments(&dir.path().join("m"), read_only.name())).unwrap_err().to_string();
    assert!(error.contains("is only read"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_same_seed_draws_the_same_tensors() {
    let draw = |seed, name| {
        let generator = Generator::new(seed);
        let weight = generator.matrix(&linear(name, 5, 48), by_name("bf16").unwrap(), &mut Pools::default());
        weight.unwrap().to_f32()
    };
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert_ne!(draw(1, "a"), draw(2, "a"));
    assert_ne!(draw(1, "a"), draw(1, "b"));
}

/// Drawn groups against the encoder on drawn numbers: root mean square and the share of each code byte.
#[test]
fn drawn_codes_are_spread_like_rounded_ones() {
    let generator = Generator::new(0);
    let tensor = linear("model.layers.0.self_attn.o_proj.weight", 128, 1000);
    let dense = generator.matrix(&tensor, by_name("f32").unwrap(), &mut Pools::default()).unwrap().to_f32();
    let grouped = FORMATS.iter().filter(|format| matches!(format.layout(), Layout::Grouped { .. }));
    for format in grouped {
        let drawn = generator.matrix(&tensor, *format, &mut Pools::default()).unwrap();
        let rounded = Weight::encode(*format, 128, 1000, &dense, Rounding::default()).unwrap();
        let ratio = root_mean_square(&drawn.to_f32()) / root_mean_square(&rounded.to_f32());
        assert!((ratio - 1.0).abs() < 0.05, "{}: {ratio}", format.name());
        let (drawn, rounded) = (shares(&drawn), shares(&rounded));
        let distance: f64 = drawn.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
        assert!(distance < 0.1, "{}: total variation {distance}", format.name());
    }
}

fn root_mean_square(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (sum / values.len() as f64).sqrt()
}

fn shares(weight: &Weight) -> Vec<f64> {
    let codes = &weight.parts().codes;
    let mut shares = vec![0.0; 256];
    codes.iter().for_each(|code| shares[usize::from(*code)] += 1.0 / codes.len() as f64);
    shares
}

#[test]
fn the_tokenizer_fits_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    run(&arguments(&out, "bf16")).unwrap();
    let checkpoint = Checkpoint::open(&out).unwrap();
    let (json, config) = (checkpoint.read("tokenizer.json"), checkpoint.read("tokenizer_config.json"));
    let (json, config) = (json.unwrap().unwrap(), config.unwrap().unwrap());
    let tokenizer = Tokenizer::from_json(&json, Some(&config)).unwrap();
    tokenizer.check_vocab(shapes::TINY.vocab).unwrap();
    assert_eq!(tokenizer.vocab_size(), shapes::TINY.vocab);
    let text = "Zwei Möwen, ein 魚\n";
    let ids = tokenizer.encode(text, false, false).unwrap();
    assert_eq!((ids.len(), tokenizer.decode(&ids, false)), (text.len(), text.to_owned()));
    assert_eq!(tokenizer.encode("<|user|>", false, true).unwrap(), [shapes::TINY.first_special() as u32 + 7]);
}
