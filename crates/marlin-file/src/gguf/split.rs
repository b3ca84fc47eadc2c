//! A GGUF model in several files, `name-00001-of-00003.gguf`, opened through the first.
//!
//! Keys: `split.no` (from 0), `split.count`, `split.tensors.count`, as llama.cpp's gguf-split writes them.

use std::path::{Path, PathBuf};

use super::Gguf;
use crate::Error;

/// Opens `path`, and the parts that follow it if its metadata says that it is the first of several.
pub(super) fn open(path: &Path) -> Result<Gguf, Error> {
    let mut first = Gguf::open_one(path)?;
    let count = match first.metadata.get("split.count") {
        None => 1,
        Some(_) => first.metadata.u32("split.count")?,
    };
    if count <= 1 {
        return Ok(first);
    }
    check_number(path, &first, 0, count)?;
    let prefix = prefix(path, count)?;
    for number in 1..count {
        let part_path = part_path(path, &prefix, number, count);
        let part = Gguf::open_one(&part_path)?;
        check_number(&part_path, &part, number, count)?;
        for tensor in &part.tensors {
            if !first.tensors.push(tensor.clone()) {
                let (file, name) = (part_path.display().to_string(), tensor.name.clone());
                return Err(Error::Duplicate { file, what: "tensor", name });
            }
        }
        first.tensors.adopt(&part.tensors);
        first.len_bytes += part.len_bytes;
    }
    let (found, expected) = (first.tensors.len() as u64, first.metadata.u64("split.tensors.count")?);
    if found != expected {
        let what = "number of tensors in all parts";
        return Err(mismatch(path, what, &found.to_string(), expected.to_string()));
    }
    Ok(first)
}

fn check_number(path: &Path, part: &Gguf, number: u32, count: u32) -> Result<(), Error> {
    let found = (part.metadata.u32("split.no")?, part.metadata.u32("split.count")?);
    if found != (number, count) {
        let found = format!("{} of {}", u64::from(found.0) + 1, found.1);
        return Err(mismatch(path, "part of a split model", &found, format!("{} of {count}", number + 1)));
    }
    Ok(())
}

/// What stands before `-00001-of-0000N.gguf` in the first file's name.
fn prefix(path: &Path, count: u32) -> Result<String, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = format!("-00001-of-{count:05}.gguf");
    match name.strip_suffix(&ending) {
        Some(prefix) => Ok(prefix.to_owned()),
        None => Err(mismatch(path, "name of the first part", &name, format!("a name that ends in {ending}"))),
    }
}

fn part_path(first: &Path, prefix: &str, number: u32, count: u32) -> PathBuf {
    first.with_file_name(format!("{prefix}-{:05}-of-{count:05}.gguf", number + 1))
}

fn mismatch(path: &Path, what: &'static str, found: &str, expected: String) -> Error {
    Error::Split { file: path.display().to_string(), what, found: found.to_owned(), expected }
}
