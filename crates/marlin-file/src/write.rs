//! Writes a quantized model as a directory that others can read: safetensors shards, config.json,
//! tokenizer files. It appears under its name only when it is whole and on the disk.
//!
//! Tensors come in any order and go straight to their place; none is kept.

mod config;
mod gguf;
mod journal;
mod partial;
mod plan;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use marlin_format::{Layout, Weight};
use serde_json::{Map, Value, json};

pub use config::is_compressed_tensors;
pub use gguf::{GgufTensor, GgufWriter};
pub use journal::differing_fact;
pub use partial::Partial;
pub use plan::{Content, Planned};

use crate::Error;
use crate::safetensors::INDEX_NAME;
use crate::stored::{self, Part};
use plan::{Layouts, Shard, Slot};

/// Longest shard, in bytes, that a model hub takes without special handling.
const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;
const CONFIG_NAME: &str = "config.json";
/// Keys of a checkpoint's note: the tensors written since the one before, and what the caller adds.
const WRITTEN: &str = "written";
const NOTE: &str = "note";

/// What the writer may be told besides the tensors.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most bytes of one shard; a larger weight has a shard of its own.
    pub shard_bytes: u64,
    /// The model's config, whose `quantization_config` becomes that of the tensors (transforms of weights
    /// and inputs stay); `None` writes no config.json.
    pub config: Option<Map<String, Value>>,
}

impl Default for Options {
    fn default() -> Self {
        Options { shard_bytes: DEFAULT_SHARD_BYTES, config: None }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The directory.
    pub dir: PathBuf,
    /// Tensor files.
    pub shards: usize,
    /// Bytes of the tensor files.
    pub len_bytes: u64,
}

/// A model being written. Dropped before [`ModelWriter::finish`], it leaves nothing behind but what a
/// [`ModelWriter::checkpoint`] has made durable.
#[derive(Debug)]
pub struct ModelWriter {
    layouts: Layouts,
    /// One per shard, in order.
    files: Vec<File>,
    side_files: HashSet<String>,
    /// Bytes written of the tensor files.
    written: u64,
    /// Names written since the last checkpoint.
    recent: Vec<String>,
    // Last, so that the files are closed before the directory is removed.
    partial: Partial,
}

impl ModelWriter {
    /// Plans all files of the model `target` from the full list of what it will hold, checks that
    /// there is room for them, and writes their headers.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Busy`], [`Error::Full`], [`Error::Duplicate`], [`Error::Differs`]
    /// for a size that is no number, or [`Error::Io`].
    pub fn create(target: &Path, planned: &[Planned], options: Options) -> Result<Self, Error> {
        ModelWriter::within(Partial::open(target, None, false)?, planned, options)
    }

    /// As [`ModelWriter::create`], in a directory that is there. Where it was taken over from an
    /// interrupted run, the tensors of its checkpoints count as written.
    ///
    /// # Errors
    /// As [`ModelWriter::create`]; also [`Error::OtherRun`] if the files there were planned otherwise.
    pub fn within(partial: Partial, planned: &[Planned], options: Options) -> Result<Self, Error> {
        let layouts = plan::plan(planned, options.shard_bytes)?;
        let (files, side_files, recent) = (Vec::new(), HashSet::new(), Vec::new());
        let mut writer = ModelWriter { layouts, files, side_files, written: 0, recent, partial };
        writer.mark_written()?;
        writer.open_shards()?;
        if let Some(index) = writer.layouts.index.take() {
            writer.json_file(INDEX_NAME, &index)?;
        }
        if let Some(mut config) = options.config {
            let before = config.remove("quantization_config");
            if let Some(quantization) = config::quantization_config(planned, before.as_ref()) {
                config.insert("quantization_config".into(), quantization);
            }
            writer.json_file(CONFIG_NAME, &config.into())?;
        }
        Ok(writer)
    }

    /// Makes the tensor files, or opens those that something was written to.
    fn open_shards(&mut self) -> Result<(), Error> {
        let needed = self.len_bytes();
        if let Some(available) = available(&self.partial).filter(|free| self.written == 0 && *free < needed) {
            return Err(Error::Full { path: self.partial.target().to_owned(), needed, available });
        }
        for shard in &self.layouts.shards {
            let path = self.partial.dir().join(&shard.name);
            let file = if self.written == 0 { make(&path, shard) } else { reopen(&path, shard) };
            let file = file.map_err(|source| self.io("open", &path, source))?.ok_or_else(|| {
                let (found, expected) = ("another plan".to_owned(), "the same tensors".to_owned());
                Error::OtherRun { partial: path, what: "tensor file".to_owned(), found, expected }
            })?;
            self.files.push(file);
        }
        Ok(())
    }

    /// Marks what the checkpoints of an interrupted run name.
    fn mark_written(&mut self) -> Result<(), Error> {
        let names = |note: &Value| note[WRITTEN].as_array().cloned().unwrap_or_default();
        for name in self.partial.notes().iter().flat_map(names) {
            let name = name.as_str().unwrap_or_default();
            let slot = self.layouts.slots.get_mut(name);
            let slot = slot.ok_or_else(|| Error::NotPlanned { tensor: name.to_owned() })?;
            slot.written = true;
            self.written += slot.places.iter().map(|place| place.len as u64).sum::<u64>();
        }
        Ok(())
    }

    /// Makes everything written so far durable, and says so in the journal together with `note`: an
    /// interrupted run continues behind the last checkpoint. Panics without a journal.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Io`].
    pub fn checkpoint(&mut self, note: Value) -> Result<(), Error> {
        self.sync()?;
        let written = std::mem::take(&mut self.recent);
        self.partial.note(json!({ WRITTEN: written, NOTE: note }))
    }

    /// The notes of all checkpoints, in order.
    pub fn notes(&self) -> impl Iterator<Item = &Value> {
        self.partial.notes().iter().filter_map(|note| note.get(NOTE))
    }

    /// The path of a working file, as [`Partial::scratch`].
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.partial.scratch(name)
    }

    fn sync(&self) -> Result<(), Error> {
        for (file, shard) in self.files.iter().zip(&self.layouts.shards) {
            let synced = file.sync_all();
            synced.map_err(|source| self.io("sync", &self.partial.dir().join(&shard.name), source))?;
        }
        Ok(())
    }

    /// Directories that interrupted runs for the same target had left, which are removed.
    pub fn leftovers(&self) -> &[PathBuf] {
        self.partial.leftovers()
    }

    /// Bytes that the tensor files will have.
    pub fn len_bytes(&self) -> u64 {
        self.layouts.shards.iter().map(|shard| shard.len).sum()
    }

    /// Writes the matrix planned as `name`.
    ///
    /// A tensor scale whose reciprocal has no exact reciprocal is stored as the nearest divisor; the
    /// scales that formats choose themselves come back bit for bit.
    ///
    /// # Errors
    /// [`Error::NotPlanned`], [`Error::Differs`], [`Error::WrittenTwice`], [`Error::ZeroPoint`],
    /// [`Error::Full`] or [`Error::Io`].
    pub fn write_weight(&mut self, name: &str, weight: &Weight) -> Result<(), Error> {
        let (format, rows, cols) = (weight.format(), weight.rows(), weight.cols());
        let content = Content::Matrix { format, rows, cols };
        let slot = self.slot(name, &content)?;
        let (shard, places) = (slot.shard, slot.places.clone());
        let parts = weight.parts();
        for place in places {
            let packed;
            let bytes: &[u8] = match place.part {
                Part::Codes => &parts.codes,
                Part::Scales => &parts.scales,
                Part::Zeros => {
                    packed = packed_zeros(name, weight)?;
                    &packed
                }
                Part::Codebook => {
                    packed = parts.codebook.iter().flat_map(|value| value.to_le_bytes()).collect();
                    &packed
                }
                Part::TensorScale => &parts.tensor_scale.recip().to_le_bytes(),
                Part::Shape => {
                    packed = [rows, cols].iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
                    &packed
                }
            };
            debug_assert_eq!(bytes.len(), place.len);
            self.write_at(shard, place.offset, bytes)?;
        }
        Ok(())
    }

    /// Writes the plain tensor planned as `name`, little endian.
    ///
    /// # Errors
    /// As [`ModelWriter::write_weight`].
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let not_planned = || Error::NotPlanned { tensor: name.to_owned() };
        let planned = &self.layouts.slots.get(name).ok_or_else(not_planned)?.content;
        let content = planned.clone();
        let fits = match &content {
            Content::Plain { dtype, shape } => dtype.len_bytes(shape) == Some(bytes.len()),
            Content::Matrix { .. } => false,
        };
        if !fits {
            let found = format!("{} bytes", bytes.len());
            let planned = planned.to_string();
            return Err(Error::Differs { tensor: name.to_owned(), found, planned });
        }
        let slot = self.slot(name, &content)?;
        let (shard, places) = (slot.shard, slot.places.clone());
        places.iter().try_for_each(|place| self.write_at(shard, place.offset, bytes))
    }

    /// Writes a file that goes with the model, such as `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::FileName`], [`Error::Reserved`], [`Error::Full`] or [`Error::Io`].
    pub fn write_side_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
            return Err(Error::FileName { name: name.to_owned() });
        }
        let made_here = name == INDEX_NAME || name.ends_with(".safetensors");
        if made_here || !self.side_files.insert(name.to_owned()) {
            return Err(Error::Reserved { name: name.to_owned() });
        }
        let path = self.partial.dir().join(name);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|source| self.io("write", &path, source))
    }

    /// Checks that everything was written, makes it durable, and gives the directory its name.
    ///
    /// # Errors
    /// [`Error::Unwritten`], [`Error::Exists`] if the target appeared meanwhile, [`Error::Full`] or
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Written, Error> {
        let missing = self.layouts.slots.iter().filter(|(_, slot)| !slot.written).map(|(name, _)| name);
        let (count, first) = (missing.clone().count(), missing.min().cloned());
        if let Some(first) = first {
            return Err(Error::Unwritten { count, first });
        }
        self.sync()?;
        self.files.clear();
        let (dir, len_bytes) = (self.partial.target().to_owned(), self.len_bytes());
        let shards = self.layouts.shards.len();
        self.partial.publish()?;
        Ok(Written { dir, shards, len_bytes })
    }

    /// The place of `name`, marked as written, if it is planned as `content`.
    fn slot(&mut self, name: &str, content: &Content) -> Result<&Slot, Error> {
        let tensor = || name.to_owned();
        let slot = self.layouts.slots.get_mut(name).ok_or_else(|| Error::NotPlanned { tensor: tensor() })?;
        let (found, planned) = (content.to_string(), slot.content.to_string());
        if found != planned {
            return Err(Error::Differs { tensor: tensor(), found, planned });
        }
        if std::mem::replace(&mut slot.written, true) {
            return Err(Error::WrittenTwice { tensor: tensor() });
        }
        self.recent.push(tensor());
        Ok(slot)
    }

    fn write_at(&mut self, shard: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let file = &mut self.files[shard];
        let written = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes));
        written.map_err(|source| {
            let path = self.partial.dir().join(&self.layouts.shards[shard].name);
            self.io("write", &path, source)
        })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn json_file(&mut self, name: &'static str, value: &Value) -> Result<(), Error> {
        let path = self.partial.dir().join(name);
        self.side_files.insert(name.to_owned());
        let written = File::create(&path).and_then(|mut file| {
            writeln!(file, "{value:#}")?;
            file.sync_all()
        });
        written.map_err(|source| self.io("write", &path, source))
    }

    /// An I/O error, or [`Error::Full`] with numbers if that is what it means.
    fn io(&self, doing: &'static str, path: &Path, source: io::Error) -> Error {
        if !matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::io(doing, path, source);
        }
        let (path, needed) = (self.partial.target().to_owned(), self.len_bytes() - self.written);
        Error::Full { path, needed, available: available(&self.partial).unwrap_or(0) }
    }
}

/// Makes a tensor file.
fn make(path: &Path, shard: &Shard) -> io::Result<Option<File>> {
    let mut file = File::create(path)?;
    file.set_len(shard.len)?;
    file.write_all(&shard.header)?;
    Ok(Some(file))
}

/// Opens the tensor file of an interrupted run; `None` if it was planned otherwise.
fn reopen(path: &Path, shard: &Shard) -> io::Result<Option<File>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut header = vec![0; shard.header.len()];
    let fits = file.metadata()?.len() == shard.len;
    if fits {
        file.read_exact(&mut header)?;
    }
    Ok((fits && header == shard.header).then_some(file))
}

/// Bytes free on the disk; `None` where the system cannot tell (some network disks say 0 of 0).
fn available(partial: &Partial) -> Option<u64> {
    let disk = fs4::statvfs(partial.dir()).ok()?;
    (disk.total_space() > 0).then(|| disk.available_space())
}

/// The zero points as they are stored; one that its bits cannot hold (old GPTQ files have 16 among
/// 4-bit codes) is an error.
fn packed_zeros(name: &str, weight: &Weight) -> Result<Vec<u8>, Error> {
    let Layout::Grouped { code, .. } = weight.layout() else { return Ok(Vec::new()) };
    let (groups, zeros) = (weight.layout().groups(weight.cols()), &weight.parts().zeros);
    let most = ((1u16 << code.bits()) - 1) as u8;
    if let Some(at) = zeros.iter().position(|&zero| zero > most) {
        let (row, group) = (at / groups, at % groups);
        return Err(Error::ZeroPoint { tensor: name.to_owned(), found: zeros[at], row, group, most });
    }
    Ok(stored::pack_zeros(zeros, weight.rows(), groups, code.bits()))
}
