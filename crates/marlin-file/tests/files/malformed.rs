//! Weights of other programs with one thing wrong: each refusal says where, what was found and what was
//! expected. The weights are those of goldens/imports.

use std::path::Path;

use marlin_file::{Checkpoint, Model, Safetensors, check_finite};
use serde_json::json;

use crate::build::{GgufFile, f32s, parse_safetensors, tensors, text};

/// The tensors of one weight: suffix, dtype, shape, bytes.
struct Parts {
    name: String,
    list: Vec<(String, String, Vec<usize>, Vec<u8>)>,
    config: serde_json::Value,
}

fn parts(folder: &str, name: &str) -> Parts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/imports").join(folder);
    let model = Safetensors::open(&root.join("model.safetensors")).unwrap();
    let config = serde_json::from_slice(&std::fs::read(root.join("config.json")).unwrap()).unwrap();
    let of_weight = model.tensors().iter().filter_map(|tensor| {
        let suffix = tensor.name.strip_prefix(name)?;
        let dtype = tensor.dtype.name().to_owned();
        suffix
            .starts_with(['.', '_'])
            .then(|| (suffix.to_owned(), dtype, tensor.shape.clone(), tensor.data.to_vec()))
    });
    Parts { name: name.to_owned(), list: of_weight.collect(), config }
}

impl Parts {
    fn at(&mut self, suffix: &str) -> &mut (String, String, Vec<usize>, Vec<u8>) {
        self.list.iter_mut().find(|part| part.0 == suffix).unwrap()
    }

    /// Replaces a tensor.
    fn set(mut self, suffix: &str, dtype: &str, shape: &[usize], bytes: &[u8]) -> Self {
        *self.at(suffix) = (suffix.to_owned(), dtype.to_owned(), shape.to_vec(), bytes.to_vec());
        self
    }

    /// Overwrites bytes of a tensor.
    fn write(mut self, suffix: &str, at: usize, bytes: &[u8]) -> Self {
        self.at(suffix).3[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn without(mut self, suffix: &str) -> Self {
        self.list.retain(|part| part.0 != suffix);
        self
    }

    fn config(mut self, config: serde_json::Value) -> Self {
        self.config = config;
        self
    }

    fn open(&self) -> Checkpoint {
        let names: Vec<String> = self.list.iter().map(|part| format!("w{}", part.0)).collect();
        let mut list: Vec<(&str, &str, &[usize], &[u8])> = Vec::new();
        for ((_, dtype, shape, bytes), name) in self.list.iter().zip(&names) {
            list.push((name, dtype, shape, bytes));
        }
        let model = Model::Safetensors(parse_safetensors(tensors(&list)).unwrap());
        Checkpoint::from(model).with_config(self.config.as_object().unwrap())
    }

    /// What is said of it, after the file.
    fn refused(&self) -> String {
        let found = text(self.open().weight("w"));
        found.strip_prefix("f.safetensors: tensor w").unwrap_or(&found).to_owned()
    }
}

#[test]
fn untouched_weights_are_read() {
    for (folder, name) in [("gptq-v1", "four"), ("awq", "square"), ("mlx", "four"), ("bitsandbytes", "nf4")] {
        let parts = parts(folder, name);
        assert!(parts.open().weight("w").is_ok(), "{folder}: {}", parts.name);
    }
}

#[test]
fn gptq() {
    let golden = || parts("gptq-v1", "four-order");
    let index = |at: usize, group: i32| golden().write(".g_idx", 4 * at, &group.to_le_bytes()).refused();
    assert_eq!(index(7, 3), ".g_idx: group 3 of input 7, expected 0 to 2");
    assert_eq!(index(0, -1), ".g_idx: group -1 of input 0, expected 0 to 2");
    let groups = [0i32; 32].into_iter().chain([1; 16]).chain([2; 32]);
    let crowded: Vec<u8> = groups.flat_map(i32::to_le_bytes).collect();
    let crowded = golden().set(".g_idx", "I32", &[80], &crowded);
    assert_eq!(crowded.refused(), ".g_idx: 16 inputs of group 1, expected 32");
    let short = golden().set(".g_idx", "I32", &[79], &[0; 79 * 4]).refused();
    assert_eq!(short, ".scales: F16 [3, 9], expected 1 groups of 79 over 79 inputs");
    let short = golden().set(".g_idx", "I32", &[40], &[0; 160]).refused();
    let expected = "2, 3, 4 or 8 bits for 9 outputs and 40 inputs";
    assert_eq!(short, format!(".qweight: I32 [10, 9] beside I32 [3, 2], expected {expected}"));
    let zeros = golden().set(".qzeros", "I32", &[3, 4], &[0; 48]).refused();
    let expected = "2, 3, 4 or 8 bits for 9 outputs and 80 inputs";
    assert_eq!(zeros, format!(".qweight: I32 [10, 9] beside I32 [3, 4], expected {expected}"));
    let zeros = golden().set(".qzeros", "I32", &[2, 2], &[0; 16]).refused();
    assert_eq!(zeros, ".qzeros: I32 [2, 2], expected I32 [3, packed outputs]");
    let zeros = golden().set(".qzeros", "F16", &[3, 2], &[0; 12]).refused();
    assert_eq!(zeros, ".qzeros: F16 [3, 2], expected I32 [3, packed outputs]");
    let scales = golden().set(".scales", "F16", &[3, 8], &[0; 48]).refused();
    assert_eq!(scales, ".scales: F16 [3, 8], expected [groups, 9]");
    let scales = parts("gptq-v1", "four-row").set(".scales", "F16", &[3, 5], &[0; 30]).set(
        ".qzeros",
        "I32",
        &[3, 1],
        &[0; 12],
    );
    assert_eq!(scales.refused(), ".scales: F16 [3, 5], expected 1 groups of 64 over 40 inputs");
    let scales = golden().write(".scales", 0, &[0, 0x7e]).refused();
    assert_eq!(scales, ": row 0, group 0: scale NaN, integers expects one with which every value is finite");
    let planar = json!({"quantization_config": {"checkpoint_format": "gptq_p"}});
    assert_eq!(
        golden().config(planar).refused(),
        ".qweight: checkpoint_format gptq_p, expected gptq or gptq_v2"
    );
    assert_eq!(golden().without(".qzeros").refused(), ".qzeros: missing, not among the 3 there are");
}

#[test]
fn gptq_stores_zero_points_less_one() {
    // Version 1 stores 15 for 16.
    let golden = parts("gptq-v1", "four-zeros").write(".qzeros", 0, &[0xff]);
    let weight = golden.open().weight("w").unwrap();
    assert_eq!(weight.parts().zeros[..][..1], [16]);
}

#[test]
fn awq() {
    let golden = || parts("awq", "square");
    let gemv = json!({"quantization_config": {"quant_method": "awq", "version": "GEMV"}});
    assert_eq!(golden().config(gemv).refused(), ".qweight: version gemv, expected version gemm");
    let scales = golden().set(".scales", "F16", &[5, 32], &[0; 320]).refused();
    assert_eq!(scales, ".scales: F16 [5, 32], expected a number of groups that divides 96 inputs");
    let zeros = golden().set(".qzeros", "I32", &[3, 3], &[0; 36]).refused();
    assert_eq!(zeros, ".qzeros: I32 [3, 3], expected I32 [3, 4]");
    let codes = golden().set(".qweight", "I32", &[96, 0], &[]).refused();
    assert_eq!(codes, ".qweight: I32 [96, 0], expected I32 [inputs, outputs / 8]");
}

#[test]
fn compressed_tensors() {
    let golden = || parts("compressed-tensors", "four-order");
    let index = golden().write(".weight_g_idx", 0, &9i32.to_le_bytes()).refused();
    assert_eq!(index, ".weight_g_idx: group 9 of input 0, expected 0 to 2");
    let index = golden().set(".weight_g_idx", "I32", &[95], &[0; 380]).refused();
    assert_eq!(index, ".weight_g_idx: I32 [95], expected I32 [96]");
    let groups = json!({"quantization_config": {"config_groups": {"g": {"weights": {"group_size": 0}}}}});
    assert!(golden().config(groups).open().weight("w").is_ok(), "the scales say the groups");
    let zeros = golden().set(".weight_zero_point", "I32", &[2, 3], &[0; 24]).refused();
    assert_eq!(zeros, ".weight_zero_point: I32 [2, 3], expected I32 [1, 3] or I8 [5, 3]");
    let bytes = parts("compressed-tensors", "bytes").set(".weight_scale", "F32", &[4, 1], &[0; 16]).refused();
    assert_eq!(bytes, ".weight_scale: F32 [4, 1], expected [5, groups] over 33 columns");
}

#[test]
fn mlx() {
    let golden = || parts("mlx", "four").config(json!({}));
    let scales = golden().set(".scales", "BF16", &[5, 3], &[0; 30]).refused();
    let expected = "4 bits in groups of 64, as the configuration says";
    assert_eq!(scales, format!(".weight: U32 [5, 16] beside BF16 [5, 3], expected {expected}"));
    let biases = golden().set(".biases", "BF16", &[5, 1], &[0; 10]).refused();
    assert_eq!(biases, ".biases: BF16 [5, 1], expected F16, BF16 or F32 [5, 2]");
    let biases = golden().write(".biases", 2, &[0x80, 0x7f]).refused();
    assert_eq!(biases, ": row 0, group 1: offset inf, integers expects a finite one");
    let bits = golden().config(json!({"quantization": {"bits": 7, "group_size": 64}})).refused();
    let expected = "7 bits in groups of 64, as the configuration says";
    assert_eq!(bits, format!(".weight: U32 [5, 16] beside BF16 [5, 2], expected {expected}"));
    let scales = parts("mlx", "mxfp4").set(".scales", "U8", &[3, 3], &[0; 9]).refused();
    assert_eq!(
        scales,
        ".scales: U8 [3, 3], expected a scale for 16 or 32 codes of 4 bits (nvfp4, mxfp4) or 32 of 8 (mxfp8)"
    );
}

/// What is expected of a scale.
const FINITE: &str = "expects one with which every value is finite";

#[test]
fn scales_of_one_byte_that_are_nan() {
    for (name, format, nan) in [("nvfp4", "fp4", 0x7f), ("nvfp4", "fp4", 0xff), ("mxfp4", "mxfp4", 0xff)] {
        let scales = parts("compressed-tensors", name);
        let groups = scales.list.iter().find(|part| part.0 == ".weight_scale").unwrap().2[1];
        let scale = scales.write(".weight_scale", 2 * groups + 1, &[nan]).refused();
        assert_eq!(scale, format!(": row 2, group 1: scale NaN, {format} {FINITE}"));
    }
    for (name, format) in [("nvfp4", "fp4"), ("mxfp4", "mxfp4")] {
        let scale = parts("mlx", name).write(".scales", 0, &[0xff]).refused();
        assert_eq!(scale, format!(": row 0, group 0: scale NaN, {format} {FINITE}"));
    }
    let scale = parts("mlx", "mxfp8").write(".scales", 3, &[0xff]).refused();
    assert!(
        scale.starts_with(".scales: row ") && scale.ends_with(": scale NaN, expected powers of two"),
        "{scale}"
    );
    const MXFP4: u32 = 39;
    let mut blocks = vec![0x31; 3 * 2 * 17];
    let open = |blocks: &[u8]| {
        let file = GgufFile::new().tensor("w.weight", &[64, 3], MXFP4, blocks).parse().unwrap();
        Checkpoint::from(Model::Gguf(file))
    };
    assert!(open(&blocks).weight("w").is_ok());
    blocks[5 * 17] = 0xff;
    let found = format!("f.gguf: tensor w: row 2, group 1: scale NaN, mxfp4-gguf {FINITE}");
    assert_eq!(text(open(&blocks).weight("w")), found);
    // A second look finds it as well.
    let twice = open(&blocks);
    assert_eq!(text(twice.weight("w")), text(twice.weight("w")));
    let stack = GgufFile::new().tensor("w.weight", &[64, 1, 3], MXFP4, &blocks).parse().unwrap();
    let stack = Checkpoint::from(Model::Gguf(stack));
    assert!(stack.expert_weight("w", 1).is_ok());
    assert_eq!(text(stack.expert_weight("w", 2)), found.replace("row 2", "row 0"));
}

#[test]
fn float4() {
    let golden = || parts("modelopt-nvfp4", "w");
    for (bytes, found) in [(0f32, "0"), (f32::NAN, "NaN"), (-1.0, "-1")] {
        let factor = golden().set(".weight_scale_2", "F32", &[], &f32s(&[bytes])).refused();
        assert_eq!(factor, format!(".weight_scale_2: {found}, expected a finite factor above 0"));
    }
    let scales = golden().set(".weight_scale", "F8_E4M3", &[5, 2], &[0; 10]).refused();
    assert_eq!(scales, ".weight_scale: F8_E4M3 [5, 2], expected F8_E4M3 [5, 3]");
    for nan in [0x7f, 0xff] {
        let scale = golden().write(".weight_scale", 4, &[nan]).refused();
        assert_eq!(scale, format!(": row 1, group 1: scale NaN, fp4 {FINITE}"));
    }
    let golden = || parts("gpt-oss", "experts.gate_up_proj");
    let blocks = golden().set("_blocks", "U8", &[3, 6, 4, 8], &[0; 576]).refused();
    assert_eq!(blocks, "_blocks: U8 [3, 6, 4, 8], expected U8 [experts, rows, blocks, 16]");
    let scales = golden().set("_scales", "U8", &[3, 6, 1], &[0; 18]).refused();
    assert_eq!(scales, "_scales: U8 [3, 6, 1], expected U8 [3, 6, 2]");
    let scale = golden().write("_scales", 13, &[0xff]).refused();
    assert_eq!(scale, format!(": row 6, group 1: scale NaN, mxfp4 {FINITE}"));
    let square = parts("mmfp4", "rows").set(".qweight", "U32", &[2, 32], &[0; 256]).set(
        ".scales",
        "F16",
        &[2, 2],
        &[0; 8],
    );
    assert_eq!(square.refused(), ".scales: F16 [2, 2], expected a shape that tells rows from groups");
    let strange = parts("mmfp4", "rows").set(".scales", "F16", &[5, 3], &[0; 30]).refused();
    let expected = "[5, groups] or [groups, 5], a group for 32, 64 or 128 of 256 columns";
    assert_eq!(strange, format!(".scales: F16 [5, 3], expected {expected}"));
}

#[test]
fn bitsandbytes() {
    let golden = || parts("bitsandbytes", "nf4-nested");
    const STATE: &str = ".weight.quant_state.bitsandbytes__nf4";
    let state = |json: &str| golden().set(STATE, "U8", &[json.len()], json.as_bytes()).refused();
    assert_eq!(state("{"), format!("{STATE}: EOF while parsing an object at line 1 column 1, expected JSON"));
    assert_eq!(state("{}"), format!("{STATE}: no shape, expected a shape of two sizes"));
    assert_eq!(state(r#"{"shape":[33,-1]}"#), format!("{STATE}: [33,-1], expected a shape of two sizes"));
    assert_eq!(
        state(r#"{"shape":[33,65]}"#),
        ".weight: U8 [1056, 1], expected U8 with two codes a byte for [33, 65]"
    );
    assert_eq!(
        state(r#"{"shape":[33,64],"blocksize":48}"#),
        format!("{STATE}: blocksize 48, expected a power of two from 32")
    );
    assert_eq!(
        state(r#"{"shape":[33,64],"blocksize":64,"nested_blocksize":256}"#),
        format!("{STATE}: no nested_offset, expected a number")
    );
    let map = golden().write(".weight.quant_map", 8, &f32s(&[f32::NAN])).refused();
    assert_eq!(map, ".weight.quant_map: NaN at 2, expected finite values");
    let map = golden().set(".weight.quant_map", "F32", &[15], &[0; 60]).refused();
    assert_eq!(map, ".weight.quant_map: F32 [15], expected F32 [16]");
    let absmax = golden().set(".weight.absmax", "U8", &[32], &[0; 32]).refused();
    assert_eq!(absmax, ".weight.absmax: U8 [32], expected F32 or U8 [33]");
    let absmax = golden().write(".weight.nested_absmax", 0, &f32s(&[f32::INFINITY])).refused();
    assert_eq!(absmax, ".weight.nested_absmax: inf at 0, expected finite values");
}

#[test]
fn fp8_blocks() {
    const SCALE: &str = ".weight_scale_inv";
    let golden = || parts("fp8-blocks", "columns");
    let shapes = "[1], [3, 1], [3, 2] or [1, 2]";
    for shape in [&[1, 3][..], &[2], &[2, 1], &[1, 1, 2], &[1, 0]] {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        let scale = golden().set(SCALE, "F32", shape, &bytes).refused();
        assert_eq!(scale, format!("{SCALE}: F32 {shape:?}, expected {shapes}"));
    }
    let scale = golden().set(SCALE, "I32", &[1, 2], &[0; 8]).refused();
    assert_eq!(scale, format!("{SCALE}: I32 [1, 2], expected F32, BF16, F16 or F8_E8M0"));
    let scale = golden().without(SCALE).refused();
    assert_eq!(scale, ".weight_scale: missing, not among the 1 there are");
    for shape in [&[768][..], &[3, 16, 16], &[0, 256]] {
        let bytes = vec![0; shape.iter().product()];
        let codes = golden().set(".weight", "F8_E4M3", shape, &bytes).refused();
        let expected = "F8_E4M3 or F8_E5M2 [rows, columns]";
        assert_eq!(codes, format!(".weight: F8_E4M3 {shape:?}, expected {expected}"));
    }
    let wide = golden().set(".weight", "F8_E5M2", &[3, 256], &[0; 768]).refused();
    assert_eq!(wide, format!("{SCALE}: F32 [1, 2], expected [1] or [3, 1] for F8_E5M2"));
    for (value, found) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let scale = golden().write(SCALE, 4, &f32s(&[value])).refused();
        assert_eq!(scale, format!("{SCALE}: {found} at 1, expected finite values"));
    }
    // The byte of NaN among powers of two, which would be the next power.
    let scale = parts("fp8-blocks", "powers").write(SCALE, 1, &[0xff]).refused();
    assert_eq!(scale, format!("{SCALE}: inf at 1, expected finite values"));
    // A block of zeros is a block of zeros.
    let zeros = golden().write(SCALE, 0, &[0; 4]).open().weight("w").unwrap();
    check_finite("f", "w", &zeros).unwrap();
    assert!(zeros.to_f32()[..128].iter().all(|value| *value == 0.0));
}

#[test]
fn nvfp4_of_a_gguf() {
    const F32: u32 = 0;
    const F16: u32 = 1;
    const NVFP4: u32 = 40;
    let blocks = || GgufFile::new().tensor("w.weight", &[128, 3], NVFP4, &[0x31; 3 * 2 * 36]);
    let open = |file: &GgufFile| Checkpoint::from(Model::Gguf(file.parse().unwrap()));
    let refused = |file: GgufFile| text(open(&file).weight("w"));
    assert!(open(&blocks()).weight("w").is_ok());
    assert!(open(&blocks().tensor("w.scale", &[1], F32, &f32s(&[0.5]))).weight("w").is_ok());
    for (value, found) in [(0f32, "0"), (-0.5, "-0.5"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let scale = refused(blocks().tensor("w.scale", &[1], F32, &f32s(&[value])));
        let expected = "a finite factor above 0";
        assert_eq!(scale, format!("f.gguf: tensor w.scale: {found}, expected {expected}"));
    }
    let scale = refused(blocks().tensor("w.scale", &[3], F32, &[0; 12]));
    assert_eq!(scale, "f.gguf: tensor w.scale: F32 [3], expected F32 [1]");
    let stack = || GgufFile::new().tensor("w.weight", &[64, 2, 3], NVFP4, &[0x31; 6 * 36]);
    let scale = refused(stack().tensor("w.scale", &[2], F32, &[0; 8]));
    assert_eq!(scale, "f.gguf: tensor w.scale: F32 [2], expected F32 [1] or [3]");
    let scale = refused(stack().tensor("w.scale", &[3], F32, &f32s(&[1.0, 0.0, 1.0])));
    assert_eq!(scale, "f.gguf: tensor w.scale: 0, expected a finite factor above 0");
    assert!(open(&stack().tensor("w.scale", &[3], F32, &f32s(&[0.5; 3]))).weight("w").is_ok());
    let scale = refused(blocks().tensor("w.scale", &[1], F16, &[0; 2]));
    assert_eq!(scale, "f.gguf: tensor w.scale: F16 [1], expected F32 [1]");
    // Rows of whole blocks, all of them in the file.
    let torn = GgufFile::new().tensor("w.weight", &[96, 2], NVFP4, &[0; 3 * 36]);
    let expected = "96 columns, NVFP4 needs a multiple of 64";
    assert_eq!(text(torn.parse()), format!("f.gguf: tensor w.weight: {expected}"));
    let short = GgufFile::new().tensor("w.weight", &[128, 3], NVFP4, &[0; 5 * 36]);
    assert_eq!(text(short.parse()), "f.gguf: tensor w.weight: bytes 96..312, the tensor data is 96..276");
    // The byte of NaN means 0, and a scale has no sign: ggml reads 0xff as 480, which E4M3 does not have.
    let large = refused(GgufFile::new().tensor("w.weight", &[64, 1], NVFP4, &[0xff; 36]));
    let expected = "row 0, group 0: scale 0xff (NaN), expected scales up to 448";
    assert_eq!(large, format!("f.gguf: tensor w.weight: {expected}"));
    let odd = GgufFile::new().tensor(
        "w.weight",
        &[64, 1],
        NVFP4,
        &[[0x7f, 0x00, 0xb8, 0x38].as_slice(), &[0x22; 32]].concat(),
    );
    let odd = open(&odd).weight("w").unwrap();
    check_finite("f", "w", &odd).unwrap();
    assert_eq!([0, 16, 32, 48].map(|col| odd.to_f32()[col]), [0.0, 0.0, 1.0, 1.0]);
}
