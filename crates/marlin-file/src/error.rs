//! What can be wrong with a file, a directory, or an attempt to write one.
//!
//! Every text says where, what was found and what was expected; none gives advice.

use std::io;
use std::path::{Path, PathBuf};

use crate::Dtype;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // fields are named by what the texts say of them
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// A directory or device stands where a file should be.
    #[error("{}: {found}, expected a file", path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    /// A tensor file without a byte.
    #[error("{}: empty file, expected safetensors or GGUF", path.display())]
    Empty { path: PathBuf },
    /// The bytes end inside something.
    #[error("{file}: {what} at offset {offset} needs {needed} bytes, {left} left")]
    Truncated { file: String, what: &'static str, offset: u64, needed: u64, left: u64 },
    /// A number is above what this program accepts.
    #[error("{file}: {what} is {found}, the limit is {limit}")]
    Limit { file: String, what: &'static str, found: u64, limit: u64 },
    /// A text is not UTF-8.
    #[error("{file}: {what} at offset {offset} is not UTF-8")]
    Utf8 { file: String, what: &'static str, offset: u64 },
    /// A text is not the JSON it should be.
    #[error("{file}: {what} is not valid: {source}")]
    Json { file: String, what: &'static str, source: serde_json::Error },
    /// A field holds something that it must not.
    #[error("{file}: {what} at offset {offset} is {found}, expected {expected}")]
    Field { file: String, what: String, offset: u64, found: String, expected: &'static str },
    /// Two things have the same name.
    #[error("{file}: {what} {name}: there are two")]
    Duplicate { file: String, what: &'static str, name: String },

    /// A dtype that does not exist, or is not read.
    #[error("{file}: tensor {tensor}: dtype {found} is not supported, expected one of {expected}")]
    UnknownDtype { file: String, tensor: String, found: String, expected: String },
    /// The byte range of a tensor does not hold what its shape says.
    #[error("{file}: tensor {tensor}: {found} bytes at offset {offset}, {dtype} {shape:?} needs {expected}")]
    Size {
        file: String,
        tensor: String,
        offset: u64,
        found: u64,
        dtype: Dtype,
        shape: Vec<usize>,
        expected: u64,
    },
    /// The size of a tensor is no number.
    #[error("{file}: tensor {tensor}: {dtype} {shape:?} has more bytes than a file can hold")]
    Overflow { file: String, tensor: String, dtype: Dtype, shape: Vec<usize> },
    /// A row is no whole number of blocks.
    #[error("{file}: tensor {tensor}: {cols} columns, {dtype} needs a multiple of {multiple}")]
    Columns { file: String, tensor: String, cols: usize, dtype: Dtype, multiple: usize },
    /// The byte range of a tensor leaves the file, or runs backwards.
    #[error("{file}: tensor {tensor}: bytes {start}..{end}, the tensor data is {start_of_data}..{len}")]
    Range { file: String, tensor: String, start: u64, end: u64, start_of_data: u64, len: u64 },
    /// Two tensors share bytes.
    #[error("{file}: tensor {tensor} at offset {offset} overlaps {other}, which ends at {other_end}")]
    Overlap { file: String, tensor: String, offset: u64, other: String, other_end: u64 },
    /// Bytes between tensors belong to none.
    #[error("{file}: bytes {start}..{end} belong to no tensor")]
    Hole { file: String, start: u64, end: u64 },

    /// The first bytes are not GGUF's.
    #[error("{file}: starts with {found:?}, expected \"GGUF\"")]
    Magic { file: String, found: String },
    /// A GGUF version this program does not read.
    #[error("{file}: GGUF version {found}{}, expected 2 or 3", order(*big_endian))]
    Version { file: String, found: u32, big_endian: bool },
    /// A metadata key is missing.
    #[error("{file}: key {key}: missing, expected {expected}")]
    NoKey { file: String, key: String, expected: &'static str },
    /// A metadata key has another type.
    #[error("{file}: key {key}: {found}, expected {expected}")]
    KeyType { file: String, key: String, found: String, expected: &'static str },
    /// A part of a split GGUF does not belong to the others.
    #[error("{file}: {what} is {found}, expected {expected}")]
    Split { file: String, what: &'static str, found: String, expected: String },

    /// An index names a shard that is no plain file name beside it.
    #[error("{file}: shard {shard:?} of tensor {tensor}: expected a .safetensors file beside it, by name")]
    ShardName { file: String, shard: String, tensor: String },
    /// A shard is not there.
    #[error("{file}: shard {shard}: missing, {tensors} tensors are in it")]
    ShardMissing { file: String, shard: String, tensors: usize },
    /// A shard lacks a tensor that the index lists in it.
    #[error("{file}: tensor {tensor}: not in {shard}, where the index puts it")]
    ShardLacks { file: String, shard: String, tensor: String },
    /// Two shards hold a tensor of the same name, or are the same file.
    #[error("{file}: tensor {tensor}: in {first} and in {second}")]
    ShardsShare { file: String, tensor: String, first: String, second: String },

    /// No model at this path.
    #[error(
        "{}: no model.safetensors, model.safetensors.index.json or single .gguf, found {found}",
        path.display()
    )]
    NoModel { path: PathBuf, found: String },
    /// A side file's name is a path.
    #[error("{name:?}: expected a plain file name")]
    FileName { name: String },
    /// A tensor is missing.
    #[error("{file}: tensor {tensor}: missing, not among the {tensors} there are")]
    NoTensor { file: String, tensor: String, tensors: usize },

    /// A tensor has the wrong number of dimensions, or none of some.
    #[error("{file}: tensor {tensor}: shape {found:?}, expected {expected}")]
    Shape { file: String, tensor: String, found: Vec<usize>, expected: &'static str },
    /// A tensor of a weight is not what the weight's format needs.
    #[error("{file}: tensor {tensor}: {found}, expected {expected}")]
    Weight { file: String, tensor: String, found: String, expected: String },
    /// The weight format refuses the bytes.
    #[error("{file}: tensor {tensor}: {source}")]
    Format { file: String, tensor: String, source: marlin_format::Error },
    /// A value of a weight is NaN or infinite.
    #[error("{file}: tensor {tensor}: {value} at row {row}, column {col}, expected a finite value")]
    NotFinite { file: String, tensor: String, row: usize, col: usize, value: f32 },
    /// An expert that is not in the stack.
    #[error("{file}: tensor {tensor}: expert {expert}, there are {experts}")]
    NoExpert { file: String, tensor: String, expert: usize, experts: usize },

    /// The output is there already.
    #[error("{}: exists already", path.display())]
    Exists { path: PathBuf },
    /// Another process is writing the same output.
    #[error("{}: is being written by another process, in {}", path.display(), partial.display())]
    Busy { path: PathBuf, partial: PathBuf },
    /// An interrupted run can be continued, but not by this one.
    #[error("{}: left by an interrupted run, {what}: found {found}, expected {expected}", partial.display())]
    OtherRun { partial: PathBuf, what: String, found: String, expected: String },
    /// The disk has no room.
    #[error("{}: {needed} bytes to write, {available} bytes free on the disk", path.display())]
    Full { path: PathBuf, needed: u64, available: u64 },
    /// The output's path has no last component.
    #[error("{}: not the name of a new directory", path.display())]
    Target { path: PathBuf },
    /// The model's config is no JSON object.
    #[error("config: {found}, expected a JSON object")]
    Config { found: &'static str },
    /// A tensor was not in the plan.
    #[error("tensor {tensor}: not planned")]
    NotPlanned { tensor: String },
    /// A tensor differs from its plan.
    #[error("tensor {tensor}: {found}, planned as {planned}")]
    Differs { tensor: String, found: String, planned: String },
    /// A zero point is wider than the codes it is stored among.
    #[error("tensor {tensor}: zero point {found} at row {row}, group {group}, expected at most {most}")]
    ZeroPoint { tensor: String, found: u8, row: usize, group: usize, most: u8 },
    /// A tensor was written before.
    #[error("tensor {tensor}: written twice")]
    WrittenTwice { tensor: String },
    /// Tensors are still to be written.
    #[error("{count} tensors not written, the first is {first}")]
    Unwritten { count: usize, first: String },
    /// A side file would replace a file that the writer makes itself.
    #[error("{name}: written by the model writer itself")]
    Reserved { name: String },
}

fn order(big_endian: bool) -> &'static str {
    if big_endian { " (big endian)" } else { "" }
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io { doing, path: path.to_owned(), source }
    }

    /// Whether a file or directory was simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
