//! Quantized weights: written in every format and read back bit for bit, other writers' files, and
//! parts that do not fit together.

use std::path::Path;

use bytes::Bytes;
use half::{bf16, f16};
use marlin_file::{Checkpoint, Content, Dtype, Model, ModelWriter, Options, Planned, check_finite};
use marlin_format::scalar::e4m3_to_f32;
use marlin_format::{Code, FORMATS, Format, Layout, Parts, Rounding, ScaleType, Weight, by_name};
use serde_json::json;

use crate::build::{GgufFile, f32s, parse_safetensors, tensors, tensors_with, text};

/// Pseudo-random bytes, the same every time (xorshift64).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A weight of any bytes that its layout allows: no encoder is involved.
pub fn arbitrary(format: &'static dyn Format, rows: usize, cols: usize, seed: u64) -> Weight {
    let layout = format.layout();
    let stream = |bytes: usize, salt| noise(rows * bytes, seed + salt);
    let mut zeros = stream(layout.zero_bytes(cols), 3);
    let mut tensor_scale = 1.0;
    if let Layout::Grouped { code, tensor_scale: true, .. } = layout {
        assert!(code.bits() <= 8);
        tensor_scale = (1000.0 + seed as f32).recip();
    }
    if let Layout::Grouped { code, .. } = layout {
        zeros.iter_mut().for_each(|zero| *zero &= ((1u16 << code.bits()) - 1) as u8);
    }
    let (mut codes, mut scales) = (stream(layout.code_bytes(cols), 1), stream(layout.scale_bytes(cols), 2));
    if format.has_byte_scales() {
        // A scale that is NaN, or beyond what values are made with, is refused.
        let (first_bytes, last) = match layout {
            Layout::Blocks { bytes, .. } => (codes.iter_mut().step_by(bytes), 0xfc),
            Layout::Grouped { scale: ScaleType::E4m3, .. } => (scales.iter_mut().step_by(1), 0x7e),
            _ => (scales.iter_mut().step_by(1), 0xfc),
        };
        first_bytes.for_each(|scale| *scale %= last + 1);
    }
    let parts = Parts {
        codes: codes.into(),
        scales: scales.into(),
        zeros: zeros.into(),
        codebook: noise(layout.codebook_len(), seed + 4)
            .into_iter()
            .map(|byte| f32::from(byte) - 99.5)
            .collect(),
        tensor_scale,
    };
    Weight::new(format, rows, cols, parts).unwrap()
}

fn assert_same(found: &Weight, expected: &Weight, name: &str) {
    assert_eq!(found.format().name(), expected.format().name(), "{name}");
    assert_eq!((found.rows(), found.cols()), (expected.rows(), expected.cols()), "{name}");
    let (found, expected) = (found.parts(), expected.parts());
    assert!(found.codes == expected.codes, "{name}: codes");
    assert!(found.scales == expected.scales, "{name}: scales");
    assert!(found.codebook == expected.codebook, "{name}: codebook");
    assert!(found.zeros == expected.zeros, "{name}: zero points");
    assert_eq!(found.tensor_scale.to_bits(), expected.tensor_scale.to_bits(), "{name}: tensor scale");
}

/// Writes the weights, last first, and opens the directory.
pub fn write(target: &Path, weights: &[(String, Weight)], shard_bytes: u64) -> Checkpoint {
    let planned = |(name, weight): &(String, Weight)| Planned {
        name: name.clone(),
        content: Content::Matrix { format: weight.format(), rows: weight.rows(), cols: weight.cols() },
    };
    let list: Vec<_> = weights.iter().map(planned).collect();
    let options = Options { shard_bytes, config: Some(Default::default()) };
    let mut writer = ModelWriter::create(target, &list, options).unwrap();
    for (name, weight) in weights.iter().rev() {
        writer.write_weight(name, weight).unwrap();
    }
    writer.finish().unwrap();
    Checkpoint::open(target).unwrap()
}

#[test]
fn every_format_comes_back_bit_for_bit() {
    let mut weights = Vec::new();
    for (at, format) in FORMATS.iter().enumerate() {
        let multiple = format.layout().cols_multiple();
        for (rows, blocks) in [(1, 1), (3, 128), (9, 33), (16, 260), (33, 1), (5, 96)] {
            let cols = (blocks * multiple).min(1024);
            let name = format!("model.layers.{}.{}", weights.len(), format.name());
            weights.push((name, arbitrary(*format, rows, cols, at as u64)));
        }
    }
    for shard_bytes in [u64::MAX, 5000] {
        let dir = tempfile::tempdir().unwrap();
        let model = write(&dir.path().join("out"), &weights, shard_bytes);
        assert_eq!(model.weight_names().len(), weights.len());
        for (name, expected) in &weights {
            assert_same(&model.weight(name).unwrap(), expected, name);
        }
    }
}

#[test]
fn encoded_weights_come_back_bit_for_bit() {
    let mut weights = Vec::new();
    for (at, format) in FORMATS.iter().enumerate() {
        let (rows, cols) = (5, 256);
        let value = |byte: &[u8]| (f32::from(byte[0]) + f32::from(byte[1]) - 255.0) * 1e-3 / (at + 1) as f32;
        let values: Vec<f32> = noise(rows * cols * 2, at as u64).chunks(2).map(value).collect();
        match Weight::encode(*format, rows, cols, &values, Rounding::default()) {
            Ok(weight) => weights.push((format.name().to_owned(), weight)),
            Err(error) => assert_eq!(error, marlin_format::Error::ReadOnly { format: format.name() }),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let model = write(&dir.path().join("out"), &weights, u64::MAX);
    for (name, expected) in &weights {
        let found = model.weight(name).unwrap();
        assert_same(&found, expected, name);
        check_finite("out", name, &found).unwrap();
    }
}

/// An int4 weight `[8, 256]` as its tensors, to be broken.
struct Int4 {
    packed: (&'static str, Vec<usize>, Vec<u8>),
    scale: (&'static str, Vec<usize>, Vec<u8>),
    zero: (&'static str, Vec<usize>, Vec<u8>),
    shape: Vec<i64>,
}

impl Int4 {
    fn new() -> Self {
        Int4 {
            packed: ("I32", vec![8, 32], noise(8 * 32 * 4, 5)),
            scale: ("F16", vec![8, 2], [0, 0x3c].repeat(16)),
            zero: ("I32", vec![1, 2], noise(8, 6)),
            shape: vec![8, 256],
        }
    }

    fn bytes(&self, formats: &str) -> Vec<u8> {
        let shape: Vec<u8> = self.shape.iter().flat_map(|n| n.to_le_bytes()).collect();
        let (packed, scale, zero) = (&self.packed, &self.scale, &self.zero);
        let list = [
            ("w.weight_packed", packed.0, &packed.1[..], &packed.2[..]),
            ("w.weight_scale", scale.0, &scale.1, &scale.2),
            ("w.weight_zero_point", zero.0, &zero.1, &zero.2),
            ("w.weight_shape", "I64", &[self.shape.len()], &shape),
        ];
        match formats {
            "" => tensors(&list),
            _ => tensors_with(&list, &format!(r#""__metadata__":{{"marlin.formats":{}}},"#, json!(formats))),
        }
    }

    /// The error of reading it as `int4` after "f.safetensors: tensor w.".
    fn refused(&self) -> String {
        let model = open(self.bytes(r#"{"w":"int4"}"#));
        let found = text(model.weight("w"));
        found.strip_prefix("f.safetensors: tensor w.").unwrap_or(&found).to_owned()
    }
}

fn open(bytes: Vec<u8>) -> Checkpoint {
    Model::Safetensors(parse_safetensors(bytes).unwrap()).into()
}

#[test]
fn parts_that_do_not_fit_together_are_named() {
    assert!(open(Int4::new().bytes(r#"{"w":"int4"}"#)).weight("w").is_ok());
    let mut bad = Int4::new();
    bad.scale = ("F16", vec![8, 1], vec![0; 16]);
    assert_eq!(bad.refused(), "weight_scale: F16 [8, 1], expected F16 [8, 2] for int4 [8, 256]");
    let mut bad = Int4::new();
    bad.scale = ("F8_E4M3", vec![8, 2], vec![0; 16]);
    assert_eq!(bad.refused(), "weight_scale: F8_E4M3 [8, 2], expected F16 [8, 2] for int4 [8, 256]");
    let mut bad = Int4::new();
    bad.zero = ("I32", vec![8, 1], vec![0; 32]);
    assert_eq!(bad.refused(), "weight_zero_point: I32 [8, 1], expected I32 [1, 2] for int4 [8, 256]");
    let mut bad = Int4::new();
    bad.packed = ("I32", vec![8, 31], vec![0; 8 * 31 * 4]);
    assert_eq!(bad.refused(), "weight_packed: I32 [8, 31], expected I32 [8, 32] for int4 [8, 256]");
    let mut bad = Int4::new();
    bad.packed = ("I32", vec![0, 32], vec![]);
    assert_eq!(bad.refused(), "weight_packed: shape [0, 32], expected no dimension of 0");
    let mut bad = Int4::new();
    bad.packed = ("I32", vec![256], vec![0; 1024]);
    assert_eq!(bad.refused(), "weight_packed: shape [256], expected two dimensions");
    for shape in [vec![8, -1], vec![8, 0], vec![7, 256], vec![8, i64::MAX], vec![-8, 256]] {
        let mut bad = Int4::new();
        bad.shape = shape;
        let end = "expected [8, 1 to 1024] for I32 [8, 32]";
        assert_eq!(bad.refused(), format!("weight_shape: {:?}, {end}", bad.shape));
    }
    let mut bad = Int4::new();
    bad.shape = vec![8];
    assert_eq!(bad.refused(), "weight_shape: I64 [1], expected I64 [2]");
}

#[test]
fn formats_that_do_not_fit_are_named() {
    let read = |format: &str| {
        let formats = json!({ "w": format }).to_string();
        text(open(Int4::new().bytes(&formats)).weight("w"))
    };
    let found = read("int5");
    assert!(found.starts_with("f.safetensors: tensor w: format int5: unknown, expected one of "), "{found}");
    let start = "f.safetensors: tensor w.weight";
    assert_eq!(read("bf16"), format!("{start}_packed: I32 [8, 32], expected a format with packed codes"));
    assert_eq!(
        read("fp4-g64"),
        format!("{start}_packed: I32 [8, 32], expected U8 [8, 128] for fp4-g64 [8, 256]")
    );
    let shape = [1i64, 33].map(i64::to_le_bytes).concat();
    let list =
        [("w.weight_packed", "U8", &[1, 18][..], &[0; 18][..]), ("w.weight_shape", "I64", &[2], &shape)];
    let formats = r#""__metadata__":{"marlin.formats":"{\"w\":\"q4_0\"}"},"#;
    assert_eq!(
        text(open(tensors_with(&list, formats)).weight("w")),
        "f.safetensors: tensor w: 33 columns: q4_0 needs a multiple of 32"
    );
    let list = [("w.weight_packed", "I32", &[1, 1][..], &[0; 4][..])];
    assert_eq!(
        text(open(tensors(&list)).weight("w")),
        format!("{start}_shape: missing, not among the 1 there are")
    );
}

/// An fp4 weight `[2, 32]` with this divisor, and this scale of the last group.
fn fp4_with_divisor(divisor: f32, scale: u8) -> Checkpoint {
    open(tensors_with(
        &[
            ("w.weight_packed", "U8", &[2, 16], &[0x22; 32]),
            ("w.weight_scale", "F8_E4M3", &[2, 2], &[0x38, 0x38, 0x38, scale]),
            ("w.weight_global_scale", "F32", &[1], &f32s(&[divisor])),
        ],
        r#""__metadata__":{"marlin.formats":"{\"w\":\"fp4\"}"},"#,
    ))
}

#[test]
fn scales_that_are_no_scales() {
    for divisor in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        assert_eq!(
            text(fp4_with_divisor(divisor, 0x38).weight("w")),
            format!(
                "f.safetensors: tensor w.weight_global_scale: {divisor}, expected a finite divisor above 0"
            )
        );
    }
    let weight = fp4_with_divisor(4.0, 0x38).weight("w").unwrap();
    assert_eq!((weight.parts().tensor_scale, weight.to_f32()), (0.25, vec![0.25; 64]));
    for nan in [0x7f, 0xff] {
        let scale = text(fp4_with_divisor(4.0, nan).weight("w"));
        let expected = "scale NaN, fp4 expects one with which every value is finite";
        assert_eq!(scale, format!("f.safetensors: tensor w: row 1, group 1: {expected}"));
    }
}

/// The tensors of a weight as another writer of compressed-tensors would name them.
fn foreign(
    packed: (&str, &[usize], &[u8]),
    scale: (&str, &[usize], &[u8]),
    shape: [i64; 2],
    more: &[(&str, &str, &[usize], &[u8])],
) -> Checkpoint {
    let shape: Vec<u8> = shape.iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut list = vec![
        ("w.weight_packed", packed.0, packed.1, packed.2),
        ("w.weight_scale", scale.0, scale.1, scale.2),
        ("w.weight_shape", "I64", &[2], &shape[..]),
    ];
    list.extend_from_slice(more);
    open(tensors(&list))
}

#[test]
fn other_writers_formats_are_found_by_their_layout() {
    let codes = noise(8 * 128, 9);
    let int4 = ("I32", &[8, 32][..], &codes[..]);
    let half: Vec<u8> = (1..=16).flat_map(|n| f16::from_f32(n as f32 / 64.0).to_le_bytes()).collect();
    let brain: Vec<u8> = (1..=16).flat_map(|n| bf16::from_f32(n as f32 / 64.0).to_le_bytes()).collect();
    let single: Vec<u8> = f32s(&(1..=16).map(|n| n as f32 / 64.0).collect::<Vec<_>>());
    for scale in [("F16", &half), ("BF16", &brain), ("F32", &single)] {
        let weight = foreign(int4, (scale.0, &[8, 2], scale.1), [8, 256], &[]).weight("w").unwrap();
        assert_eq!(weight.format().name(), "int4-sym");
        assert_eq!((&weight.parts().codes[..], &weight.parts().scales[..]), (&codes[..], &half[..]));
    }
    let zeros = ("w.weight_zero_point", "I32", &[1, 2][..], &[0x10, 0x32, 0x54, 0x76, 0, 0, 0, 0][..]);
    let weight = foreign(int4, ("F16", &[8, 2], &half), [8, 256], &[zeros]).weight("w").unwrap();
    assert_eq!(weight.format().name(), "int4");
    assert_eq!(weight.parts().zeros[..], [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0]);
    let int8 = ("I32", &[4, 64][..], &codes[..]);
    let weight = foreign(int8, ("F16", &[4, 2], &half[..16]), [4, 256], &[]).weight("w").unwrap();
    assert_eq!(weight.format().name(), "int8");
    let e2m1 = ("U8", &[8, 128][..], &codes[..]);
    let scales: Vec<u8> = noise(128, 3).into_iter().map(|scale| scale % 0x7f).collect();
    let global = ("w.weight_global_scale", "F32", &[1][..], &f32s(&[2.0])[..]);
    let weight = foreign(e2m1, ("F8_E4M3", &[8, 16], &scales), [8, 256], &[global]).weight("w").unwrap();
    assert_eq!((weight.format().name(), weight.parts().tensor_scale), ("fp4", 0.5));
    for dtype in ["U8", "F8_E8M0"] {
        let weight = foreign(e2m1, (dtype, &[8, 8], &scales[..64]), [8, 256], &[]).weight("w").unwrap();
        assert_eq!((weight.format().name(), &weight.parts().scales[..]), ("mxfp4", &scales[..64]));
    }
}

#[test]
fn one_scale_a_row_serves_every_group() {
    let codes = noise(4 * 256, 9);
    let half: Vec<u8> = (1..=4).flat_map(|n| f16::from_f32(n as f32).to_le_bytes()).collect();
    let model = foreign(("I32", &[4, 64], &codes), ("F16", &[4, 1], &half), [4, 256], &[]);
    let weight = model.weight("w").unwrap();
    let layout = weight.layout();
    assert!(matches!(layout, Layout::Grouped { code: Code::Int8, scale: ScaleType::F16, .. }));
    let expected: Vec<u8> = half.chunks(2).flat_map(|scale| scale.repeat(256 / layout.group())).collect();
    assert_eq!(weight.parts().scales, Bytes::from(expected));
}

#[test]
fn layouts_of_no_format_are_described() {
    let codes = noise(8 * 128, 9);
    let half = [0u8, 0x3c].repeat(24);
    let packed = ("I32", &[8, 32][..], &codes[..]);
    let start = "f.safetensors: tensor w.weight";
    assert_eq!(
        text(foreign(packed, ("F16", &[8, 3], &half), [8, 256], &[]).weight("w")),
        format!("{start}_scale: F16 [8, 3], expected a number of groups that divides 256 columns")
    );
    assert_eq!(
        text(foreign(packed, ("F16", &[6, 4], &half), [8, 256], &[]).weight("w")),
        format!("{start}_scale: F16 [6, 4], expected [8, groups]")
    );
    let ints = [0u8; 64];
    assert_eq!(
        text(foreign(packed, ("I32", &[8, 2], &ints), [8, 256], &[]).weight("w")),
        format!("{start}_scale: I32 [8, 2], expected F16, BF16 or F32")
    );
    // Scales that f16 cannot hold stay f32.
    let fine = f32s(&[0.1; 16]);
    let weight = foreign(packed, ("F32", &[8, 2], &fine), [8, 256], &[]).weight("w").unwrap();
    assert_eq!(weight.format().name(), "affine8");
    assert_eq!(
        text(foreign(packed, ("F16", &[8, 2], &half[..32]), [8, 700], &[]).weight("w")),
        format!("{start}_packed: I32 [8, 32], expected 1 to 8 bits for each of 700 columns")
    );
}

/// 8-bit floats as DeepSeek's and compressed-tensors' files have them: a scale for the tensor, a row, 128
/// columns, a block; in f32, bf16 or f16.
#[test]
fn floats_of_eight_bits_come_with_scales_of_any_size() {
    let (rows, cols) = (130, 300);
    let codes = noise(rows * cols, 3).iter().map(|byte| byte & 0xf7).collect::<Vec<u8>>();
    let scale = |at: usize| 2f32.powi(at as i32 % 5 - 3) * 1.5;
    let read = |dtype: &str, scale_name: &str, scale_dtype: &str, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let scales: Vec<u8> = match scale_dtype {
            "F32" => f32s(&(0..count).map(scale).collect::<Vec<_>>()),
            "BF16" => (0..count).flat_map(|at| bf16::from_f32(scale(at)).to_le_bytes()).collect(),
            _ => (0..count).flat_map(|at| f16::from_f32(scale(at)).to_le_bytes()).collect(),
        };
        let file = tensors(&[
            ("w.weight", dtype, &[rows, cols], &codes),
            (&format!("w.{scale_name}"), scale_dtype, shape, &scales),
        ]);
        let file = open(file);
        assert_eq!(file.weight_names(), ["w"]);
        file.weight("w")
    };
    let value = |row: usize, col: usize, scale: f32| scale * e4m3_to_f32(codes[row * cols + col]);
    type ScaleAt = fn(usize, usize) -> usize;
    let cases: [(&str, &str, &[usize], &str, ScaleAt); 6] = [
        ("weight_scale_inv", "F32", &[2, 3], "fp8-e4m3-g128", |row, col| row / 128 * 3 + col / 128),
        ("weight_scale", "BF16", &[130, 3], "fp8-e4m3-g128", |row, col| row * 3 + col / 128),
        ("weight_scale", "F32", &[130, 1], "fp8-e4m3", |row, _| row),
        ("weight_scale", "F16", &[130], "fp8-e4m3", |row, _| row),
        ("weight_scale", "F32", &[1], "fp8-e4m3", |_, _| 0),
        ("weight_scale", "F32", &[], "fp8-e4m3", |_, _| 0),
    ];
    for (name, dtype, shape, format, at) in cases {
        let weight = read("F8_E4M3", name, dtype, shape).unwrap();
        assert_eq!(weight.format().name(), format, "{name} {shape:?}");
        let expected: Vec<f32> =
            (0..rows * cols).map(|k| value(k / cols, k % cols, scale(at(k / cols, k % cols)))).collect();
        assert_eq!(weight.to_f32(), expected, "{name} {shape:?}");
    }
    assert_eq!(read("F8_E5M2", "weight_scale", "F32", &[130, 1]).unwrap().format().name(), "fp8-e5m2");
    for (shape, found) in [(&[2, 2][..], "F32 [2, 2]"), (&[129], "F32 [129]"), (&[3, 130], "F32 [3, 130]")] {
        assert_eq!(
            text(read("F8_E4M3", "weight_scale", "F32", shape)),
            format!(
                "f.safetensors: tensor w.weight_scale: {found}, expected [1], [130, 1], [130, 3] or [2, 3]"
            )
        );
    }
    assert_eq!(
        text(read("F8_E5M2", "weight_scale", "F32", &[2, 3])),
        "f.safetensors: tensor w.weight_scale: F32 [2, 3], expected [1] or [130, 1] for F8_E5M2"
    );
}

/// Weights packed by compressed-tensors itself, with their values; goldens/make.py made them.
#[test]
fn weights_packed_by_compressed_tensors_have_its_values() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/compressed_tensors.safetensors");
    let model = Checkpoint::open(&path).unwrap();
    let cases = [
        ("fp4", "fp4", 1e-6),
        ("mxfp4", "mxfp4", 0.0),
        ("int4", "int4", 0.0),
        ("int4-sym", "int4-sym", 0.0),
        ("int8", "int8", 0.0),
        ("int8-row", "int8", 0.0),
    ];
    for (name, format, tolerance) in cases {
        let weight = model.weight(name).unwrap();
        assert_eq!(weight.format().name(), format, "{name}");
        let expected = model.weight(&format!("{name}.expected")).unwrap();
        assert_eq!((weight.rows(), weight.cols()), (expected.rows(), expected.cols()), "{name}");
        for (found, expected) in weight.to_f32().iter().zip(expected.to_f32()) {
            assert!((found - expected).abs() <= tolerance * expected.abs(), "{name}: {found}, {expected}");
        }
        check_finite("golden", name, &weight).unwrap();
    }
    assert_eq!(model.weight_names().len(), 2 * cases.len());
}

#[test]
fn zero_points_wider_than_their_codes_are_refused() {
    let format = by_name("int4").unwrap();
    let mut parts = arbitrary(format, 3, 256, 1).parts().clone();
    parts.zeros = vec![15, 0, 3, 16, 1, 2].into();
    let weight = Weight::new(format, 3, 256, parts).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let content = Content::Matrix { format, rows: 3, cols: 256 };
    let list = [Planned { name: "w".to_owned(), content }];
    let mut writer = ModelWriter::create(&dir.path().join("out"), &list, Options::default()).unwrap();
    assert_eq!(
        text(writer.write_weight("w", &weight)),
        "tensor w: zero point 16 at row 1, group 1, expected at most 15"
    );
}

#[test]
fn gguf_blocks_become_weights() {
    // Q8_0: f16 scale 1.0, then 32 signed bytes.
    let block: Vec<u8> = [0, 0x3c].into_iter().chain((0..32).map(|n: u8| n.wrapping_sub(16))).collect();
    let gguf = GgufFile::new().tensor("a.weight", &[32, 2], 8, &block.repeat(2)).tensor(
        "stack.weight",
        &[32, 1, 3],
        8,
        &block.repeat(3),
    );
    let model = Checkpoint::from(Model::Gguf(gguf.parse().unwrap()));
    let row: Vec<f32> = (-16..16).map(|n| n as f32).collect();
    assert_eq!(model.weight("a").unwrap().to_f32(), [&row[..], &row].concat());
    assert_eq!(model.expert_weight("stack", 2).unwrap().to_f32(), row);
}

/// Random blocks of every type, and what gguf-py's dequantizer makes of them (goldens/blocks.py).
#[test]
fn gguf_blocks_have_the_values_of_gguf_py() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/gguf-blocks/blocks.safetensors");
    let golden = Checkpoint::open(&path).unwrap();
    let mut types = 0;
    for (id, dtype) in (0..100).filter_map(|id| Dtype::from_gguf(id).map(|dtype| (id, dtype))) {
        let name = dtype.name().to_lowercase();
        let Some(expected) = golden.tensors().find(&format!("{name}.values")) else { continue };
        let dims = [expected.shape[1] as u64, expected.shape[0] as u64];
        let blocks = golden.tensors().get(&format!("{name}.bytes")).unwrap();
        let gguf = GgufFile::new().tensor("w.weight", &dims, id, &blocks.data).parse().unwrap();
        let found = Checkpoint::from(Model::Gguf(gguf)).weight("w").unwrap().to_f32();
        let expected = golden.weight(&format!("{name}.values")).unwrap().to_f32();
        assert_eq!(found, expected, "{name}");
        types += 1;
    }
    assert_eq!(types, 16);
}

/// A stack of NVFP4 with a factor for each matrix, written by gguf-py (goldens/blocks.py).
#[test]
fn each_expert_of_an_nvfp4_stack_has_its_own_factor() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/gguf-blocks");
    let model = Checkpoint::open(&folder.join("nvfp4-experts.gguf")).unwrap();
    let golden = Checkpoint::open(&folder.join("nvfp4-experts.safetensors")).unwrap();
    assert_eq!((model.stack_names(), model.weight_shape("w").unwrap()), (vec!["w"], (12, 192)));
    for expert in 0..3 {
        let part = model.weight_part("w", expert, 3).unwrap();
        assert_eq!((part.weight.format().name(), part.order), ("fp4", None));
        assert_eq!(part.weight.to_f32(), golden.expert_weight("w", expert).unwrap().to_f32(), "{expert}");
    }
    let refused =
        |error: Result<_, marlin_file::Error>| text(error).split(": ").skip(1).collect::<Vec<_>>().join(": ");
    let whole = "tensor w.scale: 3 factors that differ, expected one, as the stack is read as one matrix";
    assert_eq!(refused(model.weight("w").map(|_| ())), whole);
    let halves = refused(model.weight_part("w", 0, 2).map(|_| ()));
    assert_eq!(halves, "tensor w.scale: 3 factors, expected 1 or 2");
    let fifth = refused(model.weight_part("w", 4, 5).map(|_| ()));
    assert_eq!(fifth, "tensor w: 12 rows, expected rows of 5 matrices, of which number 4 is read");
    let beyond = refused(model.weight_part("w", 3, 3).map(|_| ()));
    assert_eq!(beyond, "tensor w: 12 rows, expected rows of 3 matrices, of which number 3 is read");
}

/// Every block type that the table of dtypes knows has a weight format of the same size.
#[test]
fn every_gguf_type_has_its_format() {
    let mut types = 0;
    for id in 0..100 {
        let Some(dtype) = Dtype::from_gguf(id) else { continue };
        let Some(format) = dtype.format() else { continue };
        let layout = by_name(format).unwrap().layout();
        let cols = 512;
        assert_eq!(Some(layout.code_bytes(cols)), dtype.len_bytes(&[cols]), "{dtype}");
        types += 1;
    }
    assert_eq!(types, 16);
}
