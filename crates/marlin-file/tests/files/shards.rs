//! Sharded models: the index against its shards.

use std::fs;
use std::path::Path;

use marlin_file::Safetensors;

use crate::build::{tensors, tensors_with, text};

const INDEX: &str = "model.safetensors.index.json";

fn write_shard(dir: &Path, name: &str, list: &[(&str, &str, &[usize], &[u8])]) {
    fs::write(dir.join(name), tensors(list)).unwrap();
}

fn write_index(dir: &Path, weight_map: &str) {
    fs::write(dir.join(INDEX), format!(r#"{{"metadata":{{}},"weight_map":{weight_map}}}"#)).unwrap();
}

/// A directory of two good shards, whose index says `weight_map`.
fn two_shards(weight_map: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_shard(dir.path(), "s1.safetensors", &[("a", "U8", &[2], &[1, 2])]);
    write_shard(dir.path(), "s2.safetensors", &[("b", "U8", &[1], &[3]), ("extra", "U8", &[1], &[4])]);
    write_index(dir.path(), weight_map);
    dir
}

/// What the error says after the path of the index.
fn refused(dir: &tempfile::TempDir) -> String {
    let found = text(Safetensors::open_dir(dir.path()));
    let index = format!("{}: ", dir.path().join(INDEX).display());
    found.strip_prefix(&index).unwrap_or_else(|| panic!("{found} does not start with {index}")).to_owned()
}

#[test]
fn shards_become_one_list() {
    let dir = two_shards(r#"{"b":"s2.safetensors","a":"s1.safetensors"}"#);
    let model = Safetensors::open_dir(dir.path()).unwrap();
    let found: Vec<_> = model.tensors().iter().map(|tensor| (&tensor.name[..], &tensor.data[..])).collect();
    assert_eq!(found, [("b", &[3u8][..]), ("extra", &[4]), ("a", &[1, 2])]);
    let on_disk = ["s1.safetensors", "s2.safetensors"].map(|name| fs::read(dir.path().join(name)).unwrap());
    assert_eq!(model.len_bytes(), on_disk.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
}

#[test]
fn a_single_file_wins_over_an_index() {
    let dir = two_shards("{}");
    let single = tensors_with(&[("only", "U8", &[1], &[9])], r#""__metadata__":{"k":"v"},"#);
    fs::write(dir.path().join("model.safetensors"), single).unwrap();
    let model = Safetensors::open_dir(dir.path()).unwrap();
    assert_eq!(model.tensors().len(), 1);
    assert_eq!(model.metadata()["k"], "v");
}

#[test]
fn missing_shards_are_named() {
    let dir = two_shards(r#"{"a":"s1.safetensors","b":"s9.safetensors","c":"s9.safetensors"}"#);
    assert_eq!(refused(&dir), "shard s9.safetensors: missing, 2 tensors are in it");
}

#[test]
fn tensors_must_be_where_the_index_puts_them() {
    let dir = two_shards(r#"{"a":"s1.safetensors","gone":"s2.safetensors"}"#);
    assert_eq!(refused(&dir), "tensor gone: not in s2.safetensors, where the index puts it");
    let dir = two_shards(r#"{"a":"s2.safetensors","b":"s1.safetensors"}"#);
    assert_eq!(refused(&dir), "tensor a: not in s2.safetensors, where the index puts it");
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let dir = two_shards(r#"{"a":"s1.safetensors","b":"s2.safetensors"}"#);
    write_shard(dir.path(), "s2.safetensors", &[("b", "U8", &[1], &[3]), ("a", "U8", &[2], &[9, 9])]);
    assert_eq!(refused(&dir), "tensor a: in s1.safetensors and in s2.safetensors");
    let dir = two_shards(r#"{"a":"s1.safetensors","a":"s2.safetensors"}"#);
    assert_eq!(refused(&dir), "weight_map entry a: there are two");
}

#[test]
fn shard_names_cannot_leave_the_directory() {
    for name in [
        "../s1.safetensors",
        "/etc/s1.safetensors",
        "sub/s1.safetensors",
        "..",
        ".",
        "",
        ".safetensors",
        INDEX,
        "s1.bin",
        "c:s1.safetensors",
        "a\\\\b.safetensors",
        "s1\\u0000.safetensors",
    ] {
        let dir = two_shards(&format!(r#"{{"a":"{name}"}}"#));
        let found = refused(&dir);
        assert!(found.starts_with("shard \""), "{name}: {found}");
        let end = "of tensor a: expected a .safetensors file beside it, by name";
        assert!(found.ends_with(end), "{name}: {found}");
    }
}

#[cfg(unix)]
#[test]
fn symlinks_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let dir = two_shards(r#"{"a":"one.safetensors"}"#);
    symlink("s1.safetensors", dir.path().join("one.safetensors")).unwrap();
    assert_eq!(Safetensors::open_dir(dir.path()).unwrap().tensors().len(), 1);

    let dir = two_shards(r#"{"a":"one.safetensors"}"#);
    symlink("two.safetensors", dir.path().join("one.safetensors")).unwrap();
    symlink("one.safetensors", dir.path().join("two.safetensors")).unwrap();
    let found = text(Safetensors::open_dir(dir.path()));
    let start = format!("{}: cannot open: ", dir.path().join("one.safetensors").display());
    assert!(found.starts_with(&start), "{found}");

    let dir = two_shards(r#"{"a":"s1.safetensors","b":"one.safetensors"}"#);
    symlink("s1.safetensors", dir.path().join("one.safetensors")).unwrap();
    assert_eq!(refused(&dir), "tensor a: in s1.safetensors and in one.safetensors");
}

#[test]
fn indexes_that_are_no_index() {
    for bad in ["", "[]", "{}", r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":3}}"#] {
        let dir = two_shards("{}");
        fs::write(dir.path().join(INDEX), bad).unwrap();
        let found = refused(&dir);
        assert!(found.starts_with("index is not valid: "), "{found}");
    }
    let dir = two_shards("{}");
    let long = fs::File::create(dir.path().join(INDEX)).unwrap();
    long.set_len((64 << 20) + 1).unwrap();
    assert_eq!(refused(&dir), "length in bytes is 67108865, the limit is 67108864");
}
