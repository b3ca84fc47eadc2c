//! Writes a model as one GGUF file, which appears under its name only when it is whole and on the disk.
//!
//! The places of all tensors are known before the first byte; tensors come in any order and none is kept.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::available;
use super::partial::Partial;
use crate::gguf::{DEFAULT_ALIGNMENT, Value, encode};
use crate::{Dtype, Error};

/// What the file is called until it has its name.
const FILE_NAME: &str = "model.gguf";

/// A tensor of a GGUF to be written.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// One of GGUF's types.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

/// Where a tensor goes.
#[derive(Debug)]
struct Slot {
    /// From the start of the file.
    offset: u64,
    len: usize,
    written: bool,
}

/// A GGUF being written. Dropped before [`GgufWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct GgufWriter {
    slots: HashMap<String, Slot>,
    len: u64,
    written: u64,
    file: File,
    path: PathBuf,
    // Last, so that the file is closed before the directory is removed.
    partial: Partial,
}

impl GgufWriter {
    /// Plans the file that `partial` becomes, checks that there is room for it, and writes its header: keys
    /// and values in their order, tensors in theirs.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Duplicate`], [`Error::Differs`] for a tensor that GGUF cannot hold, or
    /// [`Error::Io`].
    pub fn within(
        partial: Partial,
        metadata: &[(String, Value)],
        tensors: &[GgufTensor],
    ) -> Result<Self, Error> {
        let mut header = encode::header(metadata, tensors.len());
        let mut places = Vec::with_capacity(tensors.len());
        let mut end = 0u64;
        for GgufTensor { name, dtype, shape } in tensors {
            let (kind, len) = place(name, *dtype, shape)?;
            let offset = end.next_multiple_of(DEFAULT_ALIGNMENT);
            encode::info(&mut header, name, shape, kind, offset);
            places.push((name, offset, len));
            end = offset + len as u64;
        }
        header.resize(header.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        let mut slots = HashMap::new();
        for (name, offset, len) in places {
            let slot = Slot { offset: header.len() as u64 + offset, len, written: false };
            if slots.insert(name.clone(), slot).is_some() {
                let (file, what) = (partial.target().display().to_string(), "planned tensor");
                return Err(Error::Duplicate { file, what, name: name.clone() });
            }
        }
        // The last tensor is filled up too: llama.cpp wants every one padded.
        let len = (header.len() as u64 + end).next_multiple_of(DEFAULT_ALIGNMENT);
        if let Some(available) = available(&partial).filter(|free| *free < len) {
            return Err(Error::Full { path: partial.target().to_owned(), needed: len, available });
        }
        let path = partial.dir().join(FILE_NAME);
        let file = File::create(&path).map_err(|source| Error::io("create", &path, source))?;
        let mut writer = GgufWriter { slots, len, written: 0, file, path, partial };
        let sized = writer.file.set_len(len).and_then(|()| writer.file.write_all(&header));
        sized.map_err(|source| writer.io("write", source))?;
        Ok(writer)
    }

    /// Bytes that the file will have.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Writes the tensor planned as `name`, out of pieces that follow one another.
    ///
    /// # Errors
    /// [`Error::NotPlanned`], [`Error::Differs`] in the number of bytes, [`Error::WrittenTwice`],
    /// [`Error::Full`] or [`Error::Io`].
    pub fn write_tensor<B: AsRef<[u8]>>(&mut self, name: &str, pieces: &[B]) -> Result<(), Error> {
        let tensor = || name.to_owned();
        let slot = self.slots.get_mut(name).ok_or_else(|| Error::NotPlanned { tensor: tensor() })?;
        let len: usize = pieces.iter().map(|piece| piece.as_ref().len()).sum();
        if len != slot.len {
            let (found, planned) = (format!("{len} bytes"), format!("{} bytes", slot.len));
            return Err(Error::Differs { tensor: tensor(), found, planned });
        }
        if std::mem::replace(&mut slot.written, true) {
            return Err(Error::WrittenTwice { tensor: tensor() });
        }
        let mut file = &self.file;
        let mut written = file.seek(SeekFrom::Start(slot.offset)).map(drop);
        for piece in pieces {
            written = written.and_then(|()| file.write_all(piece.as_ref()));
        }
        written.map_err(|source| self.io("write", source))?;
        self.written += len as u64;
        Ok(())
    }

    /// Checks that everything was written, makes it durable, and gives the file its name. Returns its
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Unwritten`], [`Error::Exists`] if the target appeared meanwhile, [`Error::Full`] or
    /// [`Error::Io`].
    pub fn finish(self) -> Result<u64, Error> {
        let missing = self.slots.iter().filter(|(_, slot)| !slot.written).map(|(name, _)| name);
        if let Some(first) = missing.clone().min().cloned() {
            return Err(Error::Unwritten { count: missing.count(), first });
        }
        self.file.sync_all().map_err(|source| self.io("sync", source))?;
        let GgufWriter { file, partial, len, .. } = self;
        drop(file);
        partial.publish_file(FILE_NAME)?;
        Ok(len)
    }

    /// An I/O error, or [`Error::Full`] with numbers if that is what it means.
    fn io(&self, doing: &'static str, source: io::Error) -> Error {
        if !matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::io(doing, &self.path, source);
        }
        let (path, needed) = (self.partial.target().to_owned(), self.len - self.written);
        Error::Full { path, needed, available: available(&self.partial).unwrap_or(0) }
    }
}

/// The type's number and the bytes of a tensor.
fn place(name: &str, dtype: Dtype, shape: &[usize]) -> Result<(u32, usize), Error> {
    let blocks = shape.last().is_some_and(|cols| cols.is_multiple_of(dtype.block_values()));
    match (dtype.gguf(), dtype.len_bytes(shape)) {
        (Some(kind), Some(len)) if blocks && (1..=4).contains(&shape.len()) && !shape.contains(&0) => {
            Ok((kind, len))
        }
        _ => Err(Error::Differs {
            tensor: name.to_owned(),
            found: format!("{dtype} {shape:?}"),
            planned: "something that a GGUF can hold".into(),
        }),
    }
}
