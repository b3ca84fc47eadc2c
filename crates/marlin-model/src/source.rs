//! An opened model under Hugging Face's names, whatever file it came from.
//!
//! The invariant: [`Source::weight`] gives what transformers would load under that name, except where
//! the architecture asks for a derived form (see its file), and [`Source::names`] lists just those.

use std::{collections::BTreeMap, path::Path};

use marlin_file::{Checkpoint, Ordered};
use marlin_format::Weight;
use marlin_kernel::hadamard::transform as hadamard;

use crate::{
    Config, Error,
    arch::{self, Architecture},
    gguf, mlx, online,
    rotation::Rotation,
    transform::Transform,
};

/// Named weights, wherever they come from.
pub trait Tensors {
    /// Whether there is a tensor of this name.
    fn has(&self, name: &str) -> bool;

    /// The tensor `name` as a matrix; a vector is a matrix of one row.
    ///
    /// # Errors
    /// [`Error::File`] when it is absent or its bytes are wrong.
    fn weight(&self, name: &str) -> Result<Weight, Error>;

    /// As [`Tensors::weight`], with the columns in the order that the file wants them in: its values
    /// then need not be decoded.
    ///
    /// # Errors
    /// As [`Tensors::weight`].
    fn ordered(&self, name: &str) -> Result<Ordered, Error> {
        Ok(self.weight(name)?.into())
    }
}

/// What a tensor is for, which decides how it may be quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The table that tokens are looked up in.
    Embedding,
    /// The matrix that makes logits.
    Head,
    /// The matrix that scores experts.
    Router,
    /// Any other matrix of a product.
    Linear,
    /// Norms, biases, frequencies: one row.
    Vector,
}

/// Where a tensor of ours comes from.
#[derive(Clone, Debug)]
struct Origin {
    /// What the checkpoint calls it.
    name: String,
    /// How it becomes ours.
    transform: Transform,
}

/// An opened model.
#[derive(Debug)]
pub struct Source {
    checkpoint: Checkpoint,
    config: Config,
    architecture: &'static Architecture,
    tensors: BTreeMap<String, Origin>,
    left_out: Vec<String>,
    rotation: Option<Rotation>,
    /// Columns of the blocks whose rotation is folded into `down_proj`, as the plan will rotate its inputs.
    online: Option<usize>,
}

impl Source {
    /// Opens a directory of safetensors with a config.json, or a GGUF file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Config`], or [`Error::Architecture`].
    pub fn open(path: &Path) -> Result<Source, Error> {
        Source::new(Checkpoint::open(path)?)
    }

    /// Takes an opened checkpoint.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn new(checkpoint: Checkpoint) -> Result<Source, Error> {
        let (config, architecture) = match checkpoint.gguf() {
            Some(file) => {
                let architecture = gguf::architecture(file)?;
                (gguf::config(file, architecture)?, architecture)
            }
            None => {
                let config = Config::from_values(checkpoint.config_json()?.ok_or_else(no_config)?);
                let architecture = arch::by_model_type(config.text_or("model_type", "")?)?;
                (config, architecture)
            }
        };
        // Whatever is played differently is refused here, before anything is done with the weights.
        online::block(&config)?;
        let matrices = online::matrices(&config)?;
        let (tensors, left_out, rotation, online) = (BTreeMap::new(), Vec::new(), None, None);
        let mut source = Source { checkpoint, config, architecture, tensors, left_out, rotation, online };
        for (full_name, name) in stored_names(&source.checkpoint) {
            let of_transform = matrices.iter().any(|suffix| full_name.ends_with(suffix.as_str()));
            let found = if of_transform { Vec::new() } else { source.found(&full_name)? };
            if found.is_empty() {
                source.left_out.push(full_name);
            }
            for (ours, transform) in found {
                source.tensors.insert(ours, Origin { name: name.clone(), transform });
            }
        }
        Ok(source)
    }

    /// The same model with rotations of blocks of at most `block` columns, a power of two, folded into its
    /// weights, which become f32: it gives the same logits, up to rounding, and is quantized with less
    /// error where outliers stand in few columns. A tied head becomes a tensor of its own.
    ///
    /// # Errors
    /// [`Error::Config`] for an architecture that no rotation can be folded into, or another `block`.
    pub fn rotated(mut self, block: usize) -> Result<Source, Error> {
        let tied = self.config.flag_or("tie_word_embeddings", false)?;
        let (rotation, config) = Rotation::new(&self.config, block)?;
        (self.rotation, self.config) = (Some(rotation), config);
        if tied {
            let table = self.origin("model.embed_tokens.weight")?.clone();
            self.tensors.insert("lm_head.weight".into(), table);
        }
        Ok(self)
    }

    /// The same model with what its down projections multiply rotated when it is played, in blocks of at
    /// most `most` columns, a power of two: the inverse is folded into their weights, which become f32, and
    /// the configuration says so.
    ///
    /// # Errors
    /// [`Error::Config`] for another `most`, an odd width, or a model that is rotated so already.
    pub fn rotated_online(mut self, most: usize) -> Result<Source, Error> {
        let downs = self.names().filter(|name| name.ends_with(online::WEIGHT));
        let widths = downs.map(|name| Ok(self.shape(name)?.1)).collect::<Result<Vec<_>, Error>>()?;
        let (block, config) = online::rotated(&self.config, most, &widths)?;
        (self.online, self.config) = (Some(block), config);
        Ok(self)
    }

    /// Columns of the blocks in which a plan of this model rotates what its down projections multiply.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn online_rotation(&self) -> Result<Option<usize>, Error> {
        online::block(&self.config)
    }

    /// Our tensors made of the checkpoint's tensor `full_name`.
    fn found(&self, full_name: &str) -> Result<Vec<(String, Transform)>, Error> {
        let derive = self.architecture.derive;
        if self.checkpoint.gguf().is_none() {
            if let Some(renamed) = mlx::tensors(&self.config, full_name)? {
                return Ok(renamed);
            }
            let derived = derive(&self.config, full_name)?;
            return Ok(derived.unwrap_or_else(|| vec![(full_name.to_owned(), Transform::Keep)]));
        }
        let mut all = Vec::new();
        for (ours, transform) in gguf::tensors(&self.config, self.architecture, full_name)? {
            match derive(&self.config, &ours)? {
                None => all.push((ours, transform)),
                Some(derived) => all.extend(derived),
            }
        }
        Ok(all)
    }

    /// The configuration, under Hugging Face's names.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The architecture.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// The file or directory.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Tensors of the file that the model does not use: multi-token prediction, images.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Rows and columns of a tensor, without reading it.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Shape`].
    pub fn shape(&self, name: &str) -> Result<(usize, usize), Error> {
        let origin = self.origin(name)?;
        let (rows, cols) = self.checkpoint.weight_shape(&origin.name)?;
        origin.transform.shape(&origin.name, rows, cols)
    }

    /// What a tensor is for.
    ///
    /// # Errors
    /// As [`Source::shape`].
    pub fn role(&self, name: &str) -> Result<Role, Error> {
        let (rows, _) = self.shape(name)?;
        Ok(match name {
            _ if rows == 1 || !name.ends_with(".weight") => Role::Vector,
            "model.embed_tokens.weight" => Role::Embedding,
            "lm_head.weight" => Role::Head,
            _ if name.ends_with(".mlp.gate.weight") || name.ends_with(".mlp.router.weight") => Role::Router,
            _ => Role::Linear,
        })
    }

    /// Lets the system take back the memory that reading a tensor took.
    pub fn release(&self, name: &str) {
        if let Some(origin) = self.tensors.get(name) {
            self.checkpoint.release(&origin.name);
        }
    }

    /// Token ids that end a sequence: those of generation_config.json where there is one, else of the
    /// configuration.
    ///
    /// # Errors
    /// [`Error::Config`] when they are not ids.
    pub fn eos(&self) -> Result<Vec<u32>, Error> {
        const KEY: &str = "eos_token_id";
        if let Some(bytes) = self.checkpoint.read("generation_config.json")? {
            let ids = Config::parse(&bytes)?.token_ids(KEY)?;
            if !ids.is_empty() {
                return Ok(ids);
            }
        }
        self.config.token_ids(KEY)
    }

    fn origin(&self, name: &str) -> Result<&Origin, Error> {
        self.tensors.get(name).ok_or_else(|| Error::Missing { names: vec![name.to_owned()] })
    }
}

/// The checkpoint's matrices, vectors and stacks: full name, name to ask for.
fn stored_names(checkpoint: &Checkpoint) -> Vec<(String, String)> {
    let tensors = checkpoint.tensors();
    // A weight is listed without its suffix, any other tensor under its whole name.
    let full = |name: &str| match tensors.find(name) {
        Some(_) => name.to_owned(),
        None => format!("{name}.weight"),
    };
    let names = checkpoint.weight_names().into_iter().chain(checkpoint.stack_names());
    names.map(|name| (full(name), name.to_owned())).collect()
}

fn no_config() -> Error {
    Error::Config {
        key: "(whole file)".into(),
        found: "no config.json beside the weights".into(),
        expected: "one".into(),
    }
}

impl Tensors for Source {
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn weight(&self, name: &str) -> Result<Weight, Error> {
        let read = |name: &str| {
            let origin = self.origin(name)?;
            let Transform::Part { index, count } = origin.transform else {
                return origin.transform.apply(&origin.name, self.checkpoint.weight(&origin.name)?);
            };
            let part = self.checkpoint.weight_part(&origin.name, index, count)?;
            part.natural().map_err(|source| Error::Weight { name: name.to_owned(), source })
        };
        let weight = match &self.rotation {
            None => read(name)?,
            Some(rotation) => rotation.apply(name, read(name)?, read)?,
        };
        match self.online {
            Some(block) if name.ends_with(online::WEIGHT) => {
                let (rows, cols, mut values) = (weight.rows(), weight.cols(), weight.to_f32());
                hadamard(&mut values, block, 1);
                Weight::from_f32(rows, cols, &values)
                    .map_err(|source| Error::Weight { name: name.to_owned(), source })
            }
            _ => Ok(weight),
        }
    }

    fn ordered(&self, name: &str) -> Result<Ordered, Error> {
        let origin = self.origin(name)?;
        let rotated = self.rotation.is_some() || self.online.is_some();
        if rotated || !origin.transform.keeps_columns() {
            return Ok(self.weight(name)?.into());
        }
        if let Transform::Part { index, count } = origin.transform {
            return Ok(self.checkpoint.weight_part(&origin.name, index, count)?);
        }
        let Ordered { weight, order } = self.checkpoint.ordered_weight(&origin.name)?;
        Ok(Ordered { weight: origin.transform.apply(&origin.name, weight)?, order })
    }
}
