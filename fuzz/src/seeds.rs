//! Writes the seeds: small valid files with every feature, from which the fuzzer starts.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`, then look at the difference.

use std::fs;
use std::path::Path;

use marlin_file::{Content, Dtype, ModelWriter, Options, Planned, Safetensors};
use marlin_format::{FORMATS, Layout, Rounding, Weight, by_name};
use marlin_fuzz::weights::{READERS, describe};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in ["safetensors", "gguf"] {
        fs::create_dir_all(seeds.join(target))?;
    }
    for format in ["fp4", "fp4-g64", "mxfp4", "int4", "int8", "bf16"] {
        fs::write(seeds.join("safetensors").join(format), safetensors(format)?)?;
    }
    fs::write(seeds.join("safetensors/plain"), plain_safetensors())?;
    for format in FORMATS {
        if let Layout::Blocks { .. } = format.layout() {
            fs::write(seeds.join("gguf").join(format.name()), gguf(format.name())?)?;
        }
    }
    fs::write(seeds.join("gguf/nvfp4"), gguf_nvfp4())?;
    fs::write(seeds.join("gguf/metadata"), gguf_metadata())?;
    weights(&seeds)
}

/// The weights of goldens/imports, as the targets of their schemes want them.
fn weights(seeds: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens/imports");
    for reader in READERS {
        fs::create_dir_all(seeds.join(reader.name))?;
    }
    let mut folders: Vec<_> = fs::read_dir(goldens)?.collect::<Result<_, _>>()?;
    folders.sort_by_key(|folder| folder.path());
    for folder in folders {
        let path = folder.path().join("model.safetensors");
        if !path.exists() {
            continue;
        }
        let model = Safetensors::open(&path)?;
        for tensor in model.tensors() {
            for reader in READERS {
                let Some(name) = tensor.name.strip_suffix(reader.suffixes[0]) else { continue };
                let Some(bytes) = describe(reader, &model, name) else { continue };
                let seed = format!("{}-{name}", folder.file_name().to_string_lossy());
                fs::write(seeds.join(reader.name).join(seed), bytes)?;
            }
        }
    }
    Ok(())
}

/// A model of one matrix with a short last group, as our writer makes it.
fn safetensors(format: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let target = dir.path().join("model");
    let (format, rows, cols) = (by_name(format)?, 3, 40);
    let values: Vec<f32> = (0..rows * cols).map(|n| (n as f32 * 0.7).sin() * 0.05).collect();
    let weight = Weight::encode(format, rows, cols, &values, Rounding::default())?;
    let norm = Content::Plain { dtype: Dtype::F32, shape: vec![2] };
    let planned = [
        Planned { name: "w".into(), content: Content::Matrix { format, rows, cols } },
        Planned { name: "norm.weight".into(), content: norm },
    ];
    let mut writer = ModelWriter::create(&target, &planned, Options::default())?;
    writer.write_weight("w", &weight)?;
    writer.write_tensor("norm.weight", &[0; 8])?;
    writer.finish()?;
    Ok(fs::read(target.join("model.safetensors"))?)
}

/// Plain tensors of several dtypes, a stack, a scalar and an empty one.
fn plain_safetensors() -> Vec<u8> {
    let header = concat!(
        r#"{"__metadata__":{"format":"pt"},"#,
        r#""a.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"#,
        r#""stack":{"dtype":"F16","shape":[2,1,2],"data_offsets":[16,24]},"#,
        r#""scalar":{"dtype":"I64","shape":[],"data_offsets":[24,32]},"#,
        r#""none":{"dtype":"BOOL","shape":[0,3],"data_offsets":[32,32]},"#,
        r#""q.weight_packed":{"dtype":"I32","shape":[2,4],"data_offsets":[32,64]},"#,
        r#""q.weight_scale":{"dtype":"BF16","shape":[2,1],"data_offsets":[64,68]},"#,
        r#""q.weight_shape":{"dtype":"I64","shape":[2],"data_offsets":[68,84]}}"#,
    );
    let mut data = [0u8; 84];
    data[68] = 2;
    data[76] = 32;
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(name)[..], &kind.to_le_bytes(), value].concat()
}

fn info(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut info = string(name);
    info.extend_from_slice(&(dims.len() as u32).to_le_bytes());
    info.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
    info.extend_from_slice(&kind.to_le_bytes());
    info.extend_from_slice(&offset.to_le_bytes());
    info
}

fn file(keys: &[Vec<u8>], infos: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend_from_slice(&3u32.to_le_bytes());
    bytes.extend_from_slice(&(infos.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    bytes.extend(keys.concat());
    bytes.extend(infos.concat());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend_from_slice(data);
    bytes
}

/// A matrix of two blocks in a block format, and a stack of one.
fn gguf(format: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let Layout::Blocks { values, bytes, .. } = by_name(format)?.layout() else {
        return Err("no block format".into());
    };
    let has_format = |id: &u32| Dtype::from_gguf(*id).and_then(Dtype::format) == Some(format);
    let id = (0..100).find(has_format).ok_or("no GGUF type")?;
    let second = (2 * bytes).next_multiple_of(32);
    let data: Vec<u8> = (0..second + bytes).map(|n| (n * 7 % 61) as u8).collect();
    let infos = [
        info("w.weight", &[values as u64, 2], id, 0),
        info("stack", &[values as u64, 1, 1], id, second as u64),
    ];
    Ok(file(&[], &infos, &data))
}

/// A matrix of two blocks of NVFP4 and its factor.
fn gguf_nvfp4() -> Vec<u8> {
    let data: Vec<u8> =
        (0..72).map(|n| (n * 7 % 61) as u8).chain([0; 24]).chain(0.5f32.to_le_bytes()).collect();
    file(&[], &[info("w.weight", &[64, 2], 40, 0), info("w.scale", &[1], 0, 96)], &data)
}

/// Every type of value, and dense tensors.
fn gguf_metadata() -> Vec<u8> {
    let array = |kind: u32, count: u64, elements: &[u8]| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
    };
    let keys = [
        key("general.alignment", 4, &32u32.to_le_bytes()),
        key("u8", 0, &[1]),
        key("i8", 1, &[255]),
        key("u16", 2, &[1, 2]),
        key("i16", 3, &[1, 255]),
        key("i32", 5, &(-5i32).to_le_bytes()),
        key("f32", 6, &1.5f32.to_le_bytes()),
        key("bool", 7, &[1]),
        key("string", 8, &string("text")),
        key("tokens", 9, &array(8, 2, &[string("a"), string("bc")].concat())),
        key("scores", 9, &array(6, 2, &[0; 8])),
        key("types", 9, &array(5, 2, &[1; 8])),
        key("flags", 9, &array(7, 3, &[0, 1, 0])),
        key("nested", 9, &array(9, 1, &array(10, 1, &[9; 8]))),
        key("u64", 10, &[1; 8]),
        key("i64", 11, &[255; 8]),
        key("f64", 12, &0.5f64.to_le_bytes()),
    ];
    let infos = [info("f.weight", &[2], 0, 0), info("h", &[2, 2], 1, 32), info("b", &[3], 30, 64)];
    file(&keys, &infos, &[0; 70])
}
