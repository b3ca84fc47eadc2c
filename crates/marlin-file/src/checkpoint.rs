//! A model on the local disk, whatever its container: tensors, weights, and the small files beside it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use marlin_format::Weight;
use serde_json::{Map, Value};

use crate::quantization::Quantization;
use crate::safetensors::{INDEX_NAME, SINGLE_NAME};
use crate::{Error, Gguf, Ordered, Safetensors, Tensors, source, weights};

/// Longest `tokenizer.json` that is read, in bytes.
pub const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Longest other side file that is read, in bytes.
pub const MAX_SIDE_FILE_BYTES: u64 = 16 << 20;
/// Most names that an error lists.
const SHOWN_NAMES: usize = 5;

/// The container of the tensors.
#[derive(Clone, Debug)]
pub enum Model {
    /// One `.safetensors` file, or shards.
    Safetensors(Safetensors),
    /// One `.gguf` file, or a split set.
    Gguf(Gguf),
}

/// An opened model.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    model: Model,
    /// Where its side files are; `None` for a `.gguf` given by name, which brings its own metadata,
    /// while the files beside it may belong to anything.
    side: Option<PathBuf>,
    quantization: Quantization,
    /// Weights whose scales were looked through: a stack is read once for each of its experts.
    checked: Arc<Mutex<HashSet<String>>>,
}

impl Checkpoint {
    /// Opens a directory (safetensors, or else exactly one GGUF model), a `.gguf` or a `.safetensors`.
    ///
    /// # Errors
    /// [`Error::NoModel`], and any error about the container.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let facts = fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
        if facts.is_dir() {
            let model = open_dir(path)?;
            return Ok(Checkpoint::beside(model, Some(path.to_owned())));
        }
        if has_extension(path, "gguf") {
            return Ok(Checkpoint::beside(Model::Gguf(Gguf::open(path)?), None));
        }
        if has_extension(path, "safetensors") {
            let model = Model::Safetensors(Safetensors::open(path)?);
            return Ok(Checkpoint::beside(model, path.parent().map(Path::to_owned)));
        }
        let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Err(Error::NoModel { path: path.to_owned(), found })
    }

    fn beside(model: Model, side: Option<PathBuf>) -> Self {
        let (quantization, checked) = (Quantization::default(), Arc::default());
        let bare = Checkpoint { model, side, quantization, checked };
        // A config that cannot be read is an error of whoever asks for it.
        let config = bare.config_json().ok().flatten().unwrap_or_default();
        bare.with_config(&config)
    }

    /// The same tensors, as a config.json says that they were quantized.
    pub fn with_config(self, config: &Map<String, Value>) -> Self {
        Checkpoint { quantization: Quantization::of(config), ..self }
    }

    /// The container.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The GGUF container, if it is one.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.model {
            Model::Gguf(gguf) => Some(gguf),
            Model::Safetensors(_) => None,
        }
    }

    /// All tensors as they stand in the files.
    pub fn tensors(&self) -> &Tensors {
        match &self.model {
            Model::Safetensors(model) => model.tensors(),
            Model::Gguf(model) => model.tensors(),
        }
    }

    /// Bytes of the tensor files.
    pub fn len_bytes(&self) -> u64 {
        match &self.model {
            Model::Safetensors(model) => model.len_bytes(),
            Model::Gguf(model) => model.len_bytes(),
        }
    }

    /// The names that [`Checkpoint::weight`] takes, in the order of the file: `X` for a tensor
    /// `X.weight` and for the tensors of a quantized weight `X`, the whole name for any other tensor.
    /// Tensors of more than two dimensions are left out.
    pub fn weight_names(&self) -> Vec<&str> {
        self.source().names(false)
    }

    /// As [`Checkpoint::weight_names`], of the stacks of matrices: of experts, or of heads.
    pub fn stack_names(&self) -> Vec<&str> {
        self.source().names(true)
    }

    /// The matrix `name` with the values that are stored, bit for bit: windows of the mapped file where its
    /// layout is ours, copied otherwise. A one-dimensional tensor is one row, the matrices of a stack are one
    /// after the other. Columns that are stored in
    /// another order than the model's come back in the model's, as dense f32. Scales of one byte are looked
    /// through for NaN.
    ///
    /// # Errors
    /// [`Error::NoTensor`], [`Error::Shape`], [`Error::Weight`] or [`Error::Format`].
    pub fn weight(&self, name: &str) -> Result<Weight, Error> {
        let natural = self.ordered_weight(name)?.natural();
        let wrap = |source| {
            let (file, tensor) = (self.tensors().source().to_owned(), name.to_owned());
            Error::Format { file, tensor, source }
        };
        natural.map_err(wrap)
    }

    /// As [`Checkpoint::weight`], with the columns in the order they are stored in.
    ///
    /// # Errors
    /// As [`Checkpoint::weight`].
    pub fn ordered_weight(&self, name: &str) -> Result<Ordered, Error> {
        let ordered = self.source().weight(name)?;
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if !checked.contains(name) {
            weights::check_scales(self.tensors(), name, &ordered.weight)?;
            checked.insert(name.to_owned());
        }
        Ok(ordered)
    }

    /// Part `index` of `count` equal parts of the rows of [`Checkpoint::ordered_weight`], such as one expert
    /// of a stack; of a stack whose matrices have a factor each, with its own.
    ///
    /// # Errors
    /// As [`Checkpoint::weight`].
    pub fn weight_part(&self, name: &str, index: usize, count: usize) -> Result<Ordered, Error> {
        let part = self.source().part(name, index, count)?;
        weights::check_scales(self.tensors(), name, &part.weight)?;
        Ok(part)
    }

    /// Rows and columns of the matrix `name`, without reading it.
    ///
    /// # Errors
    /// As [`Checkpoint::weight`].
    pub fn weight_shape(&self, name: &str) -> Result<(usize, usize), Error> {
        self.source().shape(name)
    }

    fn source(&self) -> weights::Source<'_> {
        static NONE: LazyLock<HashMap<String, String>> = LazyLock::new(HashMap::new);
        let formats = match &self.model {
            Model::Safetensors(model) => model.formats(),
            Model::Gguf(_) => &NONE,
        };
        weights::Source { tensors: self.tensors(), quantization: &self.quantization, formats }
    }

    /// Lets the system take back the memory that reading the weight `name` took: with this, streaming
    /// through a model holds one tensor, whatever the model's size. It can be read again.
    pub fn release(&self, name: &str) {
        for suffix in self.source().suffixes(name) {
            self.tensors().release(&format!("{name}{suffix}"));
        }
    }

    /// Matrix number `expert` of the stack `name`, a tensor `[experts, rows, cols]` called `name` or
    /// `name.weight`.
    ///
    /// # Errors
    /// As [`Checkpoint::weight`], or [`Error::NoExpert`].
    pub fn expert_weight(&self, name: &str, expert: usize) -> Result<Weight, Error> {
        weights::expert_weight(self.tensors(), name, expert)
    }

    /// The bytes of a side file such as `tokenizer.json`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::FileName`] for a path, [`Error::Limit`], [`Error::NotAFile`] or [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
            return Err(Error::FileName { name: name.to_owned() });
        }
        let Some(dir) = &self.side else { return Ok(None) };
        let limit = if name == "tokenizer.json" { MAX_TOKENIZER_BYTES } else { MAX_SIDE_FILE_BYTES };
        match source::read(&dir.join(name), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `config.json`, an object; `None` if there is none.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], or [`Error::Json`].
    pub fn config_json(&self) -> Result<Option<Map<String, Value>>, Error> {
        const NAME: &str = "config.json";
        let Some(bytes) = self.read(NAME)? else { return Ok(None) };
        let config = serde_json::from_slice(&bytes);
        let file = self.side.as_deref().unwrap_or(Path::new("")).join(NAME).display().to_string();
        config.map(Some).map_err(|source| Error::Json { file, what: "config", source })
    }
}

/// A checkpoint without side files.
impl From<Model> for Checkpoint {
    fn from(model: Model) -> Self {
        Checkpoint::beside(model, None)
    }
}

fn open_dir(dir: &Path) -> Result<Model, Error> {
    if dir.join(SINGLE_NAME).exists() || dir.join(INDEX_NAME).exists() {
        return Safetensors::open_dir(dir).map(Model::Safetensors);
    }
    let entries = fs::read_dir(dir).map_err(|source| Error::io("list", dir, source))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::io("list", dir, source))?.path();
        let model_file = has_extension(&path, "gguf") || has_extension(&path, "safetensors");
        if model_file && !is_later_part(&path) {
            found.push(path);
        }
    }
    found.sort();
    let mut ggufs = found.iter().filter(|path| has_extension(path, "gguf"));
    if let (Some(gguf), None) = (ggufs.next(), ggufs.next()) {
        return Gguf::open(gguf).map(Model::Gguf);
    }
    Err(Error::NoModel { path: dir.to_owned(), found: list_names(&found) })
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Whether the name ends in `-0000N-of-0000M.gguf` with N above 1: a part that the first one opens.
fn is_later_part(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut ends = stem.rsplitn(4, '-');
    let (Some(count), Some("of"), Some(number)) = (ends.next(), ends.next(), ends.next()) else {
        return false;
    };
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(count) && digits(number) && number != "00001"
}

fn list_names(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "no model file".to_owned();
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut text = paths.iter().take(SHOWN_NAMES).map(name).collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN_NAMES {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN_NAMES));
    }
    text
}
