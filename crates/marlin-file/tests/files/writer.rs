//! The writer: files that others read, and nothing half-finished under a model's name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use marlin_file::{Checkpoint, Content, Dtype, Error, ModelWriter, Options, Planned, Safetensors, Written};
use marlin_format::{Rounding, Weight, by_name};
use serde_json::{Value, json};

use crate::build::{f32s, text};

const TARGET: &str = "MARLIN_TEST_TARGET";

fn plain(name: &str, dtype: Dtype, shape: &[usize]) -> Planned {
    Planned { name: name.to_owned(), content: Content::Plain { dtype, shape: shape.to_vec() } }
}

fn matrix(name: &str, format: &str, rows: usize, cols: usize) -> Planned {
    let format = by_name(format).unwrap();
    Planned { name: name.to_owned(), content: Content::Matrix { format, rows, cols } }
}

fn target(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("out")
}

fn create(target: &Path, list: &[Planned]) -> Result<ModelWriter, Error> {
    ModelWriter::create(target, list, Options::default())
}

fn entries(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn tensors_in_any_order_land_in_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let list = [
        plain("bytes", Dtype::U8, &[3]),
        plain("floats", Dtype::F32, &[2]),
        matrix("m", "bf16", 2, 3),
        plain("scalar", Dtype::I64, &[]),
        plain("empty", Dtype::F16, &[0, 4]),
    ];
    let mut writer = create(&target(&dir), &list).unwrap();
    let weight = Weight::encode(by_name("bf16").unwrap(), 2, 3, &[1.0; 6], Rounding::default()).unwrap();
    writer.write_tensor("scalar", &5i64.to_le_bytes()).unwrap();
    writer.write_weight("m", &weight).unwrap();
    writer.write_tensor("empty", &[]).unwrap();
    writer.write_tensor("bytes", &[1, 2, 3]).unwrap();
    writer.write_tensor("floats", &f32s(&[4.0, 5.0])).unwrap();
    let len_bytes = writer.len_bytes();
    let written = writer.finish().unwrap();
    assert_eq!(written, Written { dir: target(&dir), shards: 1, len_bytes });

    let bytes = fs::read(target(&dir).join("model.safetensors")).unwrap();
    assert_eq!(bytes.len() as u64, len_bytes);
    let oracle = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(oracle.tensor("floats").unwrap().data(), f32s(&[4.0, 5.0]));
    assert_eq!(oracle.tensor("bytes").unwrap().data(), [1, 2, 3]);
    assert_eq!(oracle.tensor("m.weight").unwrap().shape(), [2, 3]);
    let header_len = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert_eq!((header_len + 8) % 64, 0);
    // Wider dtypes first, so that each tensor is aligned to its dtype.
    let model = Safetensors::open_dir(&target(&dir)).unwrap();
    let names: Vec<_> = model.tensors().iter().map(|tensor| &tensor.name[..]).collect();
    assert_eq!(names, ["scalar", "floats", "m.weight", "empty", "bytes"]);
    assert_eq!(model.metadata()["format"], "pt");
    assert_eq!(Checkpoint::open(&target(&dir)).unwrap().weight("m").unwrap().to_f32(), [1.0; 6]);
}

fn write_shards(target: &Path, shard_bytes: u64) -> Written {
    let list: Vec<_> = (0..10).map(|n| plain(&format!("t{n}"), Dtype::U8, &[1000])).collect();
    let options = Options { shard_bytes, config: Some(json!({"x": 1}).as_object().unwrap().clone()) };
    let mut writer = ModelWriter::create(target, &list, options).unwrap();
    for n in (0..10).rev() {
        writer.write_tensor(&format!("t{n}"), &[n; 1000]).unwrap();
    }
    writer.write_side_file("tokenizer.json", b"{}").unwrap();
    writer.finish().unwrap()
}

#[test]
fn shards_keep_their_limit_and_are_the_same_every_time() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let written = dirs.each_ref().map(|dir| write_shards(&target(dir), 4000));
    assert_eq!(written[0].shards, 4);
    let expected = [
        "config.json",
        "model-00001-of-00004.safetensors",
        "model-00002-of-00004.safetensors",
        "model-00003-of-00004.safetensors",
        "model-00004-of-00004.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(entries(&target(&dirs[0])), expected);
    for name in expected {
        let both = dirs.each_ref().map(|dir| fs::read(target(dir).join(name)).unwrap());
        assert_eq!(both[0], both[1], "{name}");
        assert!(both[0].len() <= 4000, "{name}: {}", both[0].len());
    }
    let model = Checkpoint::open(&target(&dirs[0])).unwrap();
    assert_eq!(model.tensors().get("t7").unwrap().data, [7u8; 1000][..]);
    assert_eq!(model.len_bytes(), written[0].len_bytes);
    assert_eq!(model.config_json().unwrap().unwrap(), *json!({"x": 1}).as_object().unwrap());
    let index: Value = serde_json::from_slice(&model.read(expected[5]).unwrap().unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], 10_000);
    // A tensor larger than a shard gets one to itself.
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(write_shards(&target(&dir), 10).shards, 10);
}

#[test]
fn an_existing_target_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let show = target(&dir).display().to_string();
    fs::create_dir(target(&dir)).unwrap();
    assert_eq!(text(create(&target(&dir), &[])), format!("{show}: exists already"));
    fs::remove_dir(target(&dir)).unwrap();
    fs::write(target(&dir), "precious").unwrap();
    assert_eq!(text(create(&target(&dir), &[])), format!("{show}: exists already"));
    assert_eq!(fs::read(target(&dir)).unwrap(), b"precious");
    assert_eq!(entries(dir.path()), ["out"]);
    for name in ["/", "..", "a/.."] {
        assert_eq!(text(create(Path::new(name), &[])), format!("{name}: not the name of a new directory"));
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let writer = create(&target(&dir), &[]).unwrap();
    fs::create_dir(target(&dir)).unwrap();
    fs::write(target(&dir).join("precious"), "x").unwrap();
    assert_eq!(text(writer.finish()), format!("{}: exists already", target(&dir).display()));
    assert_eq!(entries(&target(&dir)), ["precious"]);
    assert_eq!(entries(dir.path()), ["out"]);
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let list = [plain("a", Dtype::U8, &[1]), plain("b", Dtype::U8, &[1]), plain("c", Dtype::U8, &[1])];
    let mut writer = create(&target(&dir), &list).unwrap();
    writer.write_tensor("b", &[1]).unwrap();
    assert_eq!(entries(dir.path()), [format!(".out.partial-{}", std::process::id())]);
    assert_eq!(text(writer.finish()), "2 tensors not written, the first is a");
    assert!(entries(dir.path()).is_empty());
    drop(create(&target(&dir), &list).unwrap());
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn tensors_must_be_as_planned() {
    let dir = tempfile::tempdir().unwrap();
    let list = [plain("a", Dtype::F32, &[2]), matrix("m", "f32", 1, 2)];
    let mut writer = create(&target(&dir), &list).unwrap();
    let weight = |format: &str, cols: usize| {
        Weight::encode(by_name(format).unwrap(), 1, cols, &vec![1.0; cols], Rounding::default()).unwrap()
    };
    assert_eq!(text(writer.write_tensor("x", &[])), "tensor x: not planned");
    assert_eq!(text(writer.write_weight("x", &weight("f32", 2))), "tensor x: not planned");
    assert_eq!(text(writer.write_tensor("a", &[0; 7])), "tensor a: 7 bytes, planned as F32 [2]");
    assert_eq!(text(writer.write_tensor("m", &[0; 8])), "tensor m: 8 bytes, planned as f32 [1, 2]");
    let wrong = weight("f16", 2);
    assert_eq!(text(writer.write_weight("m", &wrong)), "tensor m: f16 [1, 2], planned as f32 [1, 2]");
    let wrong = weight("f32", 3);
    assert_eq!(text(writer.write_weight("m", &wrong)), "tensor m: f32 [1, 3], planned as f32 [1, 2]");
    assert_eq!(text(writer.write_weight("a", &wrong)), "tensor a: f32 [1, 3], planned as F32 [2]");
    writer.write_tensor("a", &[0; 8]).unwrap();
    assert_eq!(text(writer.write_tensor("a", &[0; 8])), "tensor a: written twice");
    writer.write_weight("m", &weight("f32", 2)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn plans_and_side_files_that_do_not_work() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |list: &[Planned]| text(create(&target(&dir), list));
    let a = plain("a", Dtype::U8, &[1]);
    assert_eq!(refused(&[a.clone(), a]), "model.safetensors: planned tensor a: there are two");
    assert_eq!(
        refused(&[plain("m.weight", Dtype::U8, &[1]), matrix("m", "f32", 1, 1)]),
        "model.safetensors: planned tensor m.weight: there are two"
    );
    assert_eq!(
        refused(&[plain("a", Dtype::F64, &[usize::MAX, 2])]),
        "tensor a: F64 [18446744073709551615, 2], planned as something that a file can hold"
    );
    assert_eq!(
        refused(&[matrix("m", "f32", usize::MAX, 3)]),
        "tensor m: f32 [18446744073709551615, 3], planned as something that a file can hold"
    );
    let mut writer = create(&target(&dir), &[]).unwrap();
    assert_eq!(text(writer.write_side_file("../x", b"")), "\"../x\": expected a plain file name");
    writer.write_side_file("tokenizer.json", b"").unwrap();
    for name in ["tokenizer.json", "model.safetensors", "model.safetensors.index.json"] {
        assert_eq!(
            text(writer.write_side_file(name, b"")),
            format!("{name}: written by the model writer itself")
        );
    }
}

/// Nothing when run by itself. As a child: starts a model and dies, as if the machine had.
#[test]
fn child_dies_while_writing() {
    let Some(target) = std::env::var_os(TARGET).map(PathBuf::from) else { return };
    let list = [plain("a", Dtype::U8, &[1]), plain("b", Dtype::U8, &[1])];
    let mut writer = create(&target, &list).unwrap();
    writer.write_tensor("a", &[1]).unwrap();
    std::process::abort();
}

#[test]
fn an_interrupted_run_is_reported_and_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "writer::child_dies_while_writing"]).env(TARGET, target(&dir));
    assert!(!command.output().unwrap().status.success());
    let [left] = &entries(dir.path())[..] else { panic!("{:?}", entries(dir.path())) };
    assert!(left.starts_with(".out.partial-"), "{left}");
    // Neither the target nor anything that looks like a model is there.
    assert!(Checkpoint::open(&target(&dir)).unwrap_err().is_not_found());

    let list = [plain("a", Dtype::U8, &[1])];
    let mut writer = create(&target(&dir), &list).unwrap();
    assert_eq!(writer.leftovers(), [dir.path().join(left)]);
    assert!(!dir.path().join(left).exists());
    writer.write_tensor("a", &[1]).unwrap();
    writer.finish().unwrap();
    assert_eq!(entries(dir.path()), ["out"]);
}

#[cfg(unix)]
#[test]
fn a_run_that_lives_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let list = [plain("a", Dtype::U8, &[1])];
    let mut first = create(&target(&dir), &list).unwrap();
    assert_eq!(
        text(create(&target(&dir), &list)),
        format!(
            "{}: is being written by another process, in {}/.out.partial-{}",
            target(&dir).display(),
            dir.path().display(),
            std::process::id()
        )
    );
    // Directories that only look similar belong to somebody else.
    for name in [".out.partial-x", ".other.partial-1", "out.partial-1"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    first.write_tensor("a", &[1]).unwrap();
    first.finish().unwrap();
    assert_eq!(entries(dir.path()), [".other.partial-1", ".out.partial-x", "out", "out.partial-1"]);
}
