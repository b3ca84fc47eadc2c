//! The GGUF writer: what the reader finds again, and nothing half-finished under a model's name.

use std::fs;
use std::path::Path;

use marlin_file::gguf::{Array, Value};
use marlin_file::{Dtype, Error, Gguf, GgufTensor, GgufWriter, Partial};

use crate::build::{f32s, text};

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> GgufTensor {
    GgufTensor { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn keys() -> Vec<(String, Value)> {
    let array = |array| Value::Array(array);
    let strings = ["", "▁a", "b c"].iter().collect();
    [
        ("general.architecture", Value::String("llama".to_owned())),
        ("small", Value::Integer(7)),
        ("negative", Value::Integer(-3)),
        ("large", Value::Integer(u64::MAX.into())),
        ("float", Value::Float(0.5)),
        ("flag", Value::Bool(true)),
        ("texts", array(Array::Strings(strings))),
        ("kinds", array(Array::I32(vec![1, -2]))),
        ("scores", array(Array::F32(vec![0.25, -1.5]))),
        ("flags", array(Array::Bool(vec![true, false]))),
        ("bytes", array(Array::U8(vec![]))),
        ("wide", array(Array::F64(vec![1e300]))),
        ("nested", array(Array::Arrays(vec![Array::I64(vec![-1]), Array::U16(vec![9])]))),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn create(target: &Path, tensors: &[GgufTensor]) -> Result<GgufWriter, Error> {
    GgufWriter::within(Partial::open(target, None, false)?, &keys(), tensors)
}

fn entries(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn keys_and_tensors_in_any_order_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.gguf");
    let list = [
        tensor("odd", Dtype::F32, &[3]),
        tensor("blocks", Dtype::Q8_0, &[3, 1, 32]),
        tensor("half", Dtype::F16, &[1, 5]),
    ];
    let mut writer = create(&target, &list).unwrap();
    let blocks: Vec<u8> = (0..102).collect();
    writer.write_tensor("half", &[[1u8; 10]]).unwrap();
    writer.write_tensor("blocks", &[&blocks[..34], &blocks[34..]]).unwrap();
    writer.write_tensor("odd", &[f32s(&[1.0, 2.0, 3.0])]).unwrap();
    let len = writer.len_bytes();
    assert_eq!(writer.finish().unwrap(), len);
    assert_eq!(entries(dir.path()), ["out.gguf"]);
    assert_eq!(fs::metadata(&target).unwrap().len(), len);
    assert!(len.is_multiple_of(32));

    let file = Gguf::open(&target).unwrap();
    for (key, value) in keys() {
        assert_eq!(file.metadata().get(&key), Some(&value), "{key}");
    }
    assert_eq!(file.metadata().iter().len(), keys().len());
    let stored = file.tensors().get("blocks").unwrap();
    assert_eq!(
        (stored.dtype, &stored.shape[..], &stored.data[..]),
        (Dtype::Q8_0, &[3, 1, 32][..], &blocks[..])
    );
    assert_eq!(file.tensors().get("odd").unwrap().data[..], f32s(&[1.0, 2.0, 3.0]));
    assert_eq!(file.tensors().get("half").unwrap().shape, [1, 5]);
}

#[test]
fn what_does_not_fit_the_plan_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.gguf");
    let refused = |tensors: &[GgufTensor]| text(create(&target, tensors));
    assert_eq!(
        refused(&[tensor("x", Dtype::Q4_0, &[2, 48])]),
        "tensor x: Q4_0 [2, 48], planned as something that a GGUF can hold"
    );
    assert!(refused(&[tensor("x", Dtype::F8E4m3, &[2, 32])]).starts_with("tensor x: F8_E4M3"));
    assert!(refused(&[tensor("x", Dtype::F32, &[1, 1, 1, 1, 2])]).starts_with("tensor x: F32"));
    assert!(refused(&[tensor("x", Dtype::F32, &[usize::MAX, 2])]).starts_with("tensor x: F32"));
    let twice = [tensor("x", Dtype::F32, &[1]), tensor("x", Dtype::F32, &[1])];
    assert!(refused(&twice).ends_with("planned tensor x: there are two"));

    let mut writer =
        create(&target, &[tensor("x", Dtype::F32, &[1]), tensor("y", Dtype::F32, &[1])]).unwrap();
    assert_eq!(text(writer.write_tensor("z", &[[0; 4]])), "tensor z: not planned");
    assert_eq!(text(writer.write_tensor("x", &[[0; 5]])), "tensor x: 5 bytes, planned as 4 bytes");
    writer.write_tensor("x", &[[0; 4]]).unwrap();
    assert_eq!(text(writer.write_tensor("x", &[[0; 4]])), "tensor x: written twice");
    assert_eq!(text(writer.finish()), "1 tensors not written, the first is y");
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn an_existing_file_is_left_alone_also_if_it_appears_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.gguf");
    fs::write(&target, "mine").unwrap();
    assert!(matches!(create(&target, &[]), Err(Error::Exists { .. })));

    fs::remove_file(&target).unwrap();
    let writer = create(&target, &[]).unwrap();
    fs::write(&target, "mine").unwrap();
    assert!(matches!(writer.finish(), Err(Error::Exists { .. })));
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    assert_eq!(entries(dir.path()), ["out.gguf"]);
}

#[test]
fn a_writer_that_stops_leaves_nothing_and_a_killed_one_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.gguf");
    let mut writer = create(&target, &[tensor("x", Dtype::F32, &[1])]).unwrap();
    assert_eq!(entries(dir.path()).len(), 1);
    writer.write_tensor("x", &[[0; 4]]).unwrap();
    drop(writer);
    assert_eq!(entries(dir.path()), [""; 0]);

    // What a process that was killed leaves: the directory without its lock.
    let left = dir.path().join(".out.gguf.partial-1");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("model.gguf"), "half").unwrap();
    create(&target, &[]).unwrap().finish().unwrap();
    assert_eq!(entries(dir.path()), ["out.gguf"]);
}
