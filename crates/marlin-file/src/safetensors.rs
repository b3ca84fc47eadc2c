//! Safetensors: one file, or shards under an index, to checked tensors.
//!
//! A file is accepted only if its tensors cover its data exactly: no overlap, no hole, no byte past
//! the end, every range as long as dtype and shape say.
//!
//! ```text
//!  0        8                 8+n
//!  | n: u64 | JSON header     | data: tensors back to back, header offsets count from here |
//! ```

mod header;
mod index;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;

use crate::source::Mapping;
use crate::{Error, Tensors};

/// Longest header that is read, in bytes; the limit of the safetensors library too.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Longest `model.safetensors.index.json` that is read, in bytes.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Header metadata key under which [`crate::ModelWriter`] stores a JSON object that maps the name of
/// each quantized weight in the file to its format.
pub const FORMATS_KEY: &str = "marlin.formats";
/// File name of a model in one file.
pub const SINGLE_NAME: &str = "model.safetensors";
/// File name of the index of a sharded model.
pub const INDEX_NAME: &str = "model.safetensors.index.json";

/// One safetensors file, or all shards of an index.
#[derive(Clone, Debug)]
pub struct Safetensors {
    tensors: Tensors,
    metadata: BTreeMap<String, String>,
    formats: HashMap<String, String>,
    len_bytes: u64,
}

impl Safetensors {
    /// Opens one file.
    ///
    /// # Errors
    /// Any error about files, headers and tensors.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mapping = Mapping::open(path)?;
        let mut model = Self::from_bytes(&path.display().to_string(), mapping.bytes())?;
        model.tensors.own(mapping);
        Ok(model)
    }

    /// Opens `model.safetensors`, or else the shards of `model.safetensors.index.json`.
    ///
    /// # Errors
    /// As [`Safetensors::open`], and any error about indexes and shards.
    pub fn open_dir(dir: &Path) -> Result<Self, Error> {
        let single = dir.join(SINGLE_NAME);
        if single.exists() { Self::open(&single) } else { index::open(dir) }
    }

    /// Checks the bytes of one file; `name` stands for it in errors.
    ///
    /// # Errors
    /// Any error about headers and tensors.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Self, Error> {
        header::parse(name, bytes)
    }

    /// The tensors, in the order of their offsets.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The header's `__metadata__`; with shards, that of the first.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Weight name to format name, as [`crate::ModelWriter`] stored it; empty for other writers.
    pub fn formats(&self) -> &HashMap<String, String> {
        &self.formats
    }

    /// Bytes of all files.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}
