//! What happens to each tensor of a model: its format, how it is written, and what is reported of it.

use marlin_file::{Content, Dtype, ModelWriter, Planned};
use marlin_format::{Format, Rounding};
use marlin_model::{Role, Source, Tensors};
use serde_json::Value;

use crate::{Error, Recipe, Rounded, TensorReport, codes::code_counts, report::Measured, round};

/// What happens to one tensor.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub name: String,
    pub role: Role,
    pub format: &'static dyn Format,
    /// Whether the recipe chose the format, rather than keeping the precision there is.
    pub chosen: bool,
    pub rows: usize,
    pub cols: usize,
}

/// The tasks of all tensors of `source`, in the order of their names.
///
/// # Errors
/// [`Error::Model`].
pub(crate) fn tasks(source: &Source, recipe: &Recipe) -> Result<Vec<Task>, Error> {
    let task = |name: &str| {
        let (rows, cols) = source.shape(name)?;
        let role = source.role(name)?;
        let chosen = recipe.format(role);
        let format = match chosen {
            Some(format) => format,
            None => kept(source.weight(name)?.format()),
        };
        Ok(Task { name: name.to_owned(), role, format, chosen: chosen.is_some(), rows, cols })
    };
    source.names().map(task).collect()
}

/// The dense format that keeps a tensor's values: its own, or f32 for one that is quantized already.
fn kept(format: &'static dyn Format) -> &'static dyn Format {
    match Dtype::of_dense_format(format.name()) {
        Some(_) => format,
        None => marlin_format::by_name("f32").expect("f32 is a format"),
    }
}

/// The configuration of the result: layers of multi-token prediction are not written.
pub(crate) fn config(source: &Source) -> serde_json::Map<String, Value> {
    const PREDICTION: &str = "num_nextn_predict_layers";
    let mut values = source.config().values().clone();
    if values.contains_key(PREDICTION) {
        values.insert(PREDICTION.into(), 0.into());
    }
    values
}

impl Task {
    /// Weights of the tensor.
    pub fn weights(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }

    /// Whether the tensor becomes a matrix of codes.
    pub fn is_quantized(&self) -> bool {
        Dtype::of_dense_format(self.format.name()).is_none()
    }

    /// Bytes in the file.
    pub fn len_bytes(&self) -> u64 {
        self.planned().content.len_bytes().unwrap_or(0) as u64
    }

    /// As the writer wants it announced.
    pub fn planned(&self) -> Planned {
        let (format, rows, cols) = (self.format, self.rows, self.cols);
        let content = match Dtype::of_dense_format(format.name()) {
            Some(dtype) if rows == 1 => Content::Plain { dtype, shape: vec![cols] },
            Some(dtype) => Content::Plain { dtype, shape: vec![rows, cols] },
            None => Content::Matrix { format, rows, cols },
        };
        Planned { name: self.written_name().to_owned(), content }
    }

    /// What the writer calls it: a quantized matrix goes without its suffix.
    fn written_name(&self) -> &str {
        match self.is_quantized() {
            true => self.name.strip_suffix(".weight").unwrap_or(&self.name),
            false => &self.name,
        }
    }

    /// The tensor rounded to its format, whatever it is multiplied with.
    ///
    /// # Errors
    /// [`Error::Model`], or [`Error::Tensor`] for values that have no codes.
    pub fn round(&self, source: &Source) -> Result<Rounded, Error> {
        let weight = source.weight(&self.name)?;
        round(&weight, self.format, Rounding::default()).map_err(|source| self.error(source))
    }

    /// An error of this tensor.
    pub fn error(&self, source: marlin_format::Error) -> Error {
        Error::Tensor { name: self.name.clone(), source }
    }

    /// Writes the tensor in its new format and says what that cost.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(
        &self,
        rounded: &Rounded,
        measured: Option<Measured>,
        writer: &mut ModelWriter,
    ) -> Result<TensorReport, Error> {
        match self.is_quantized() {
            true => writer.write_weight(self.written_name(), &rounded.weight)?,
            false => writer.write_tensor(self.written_name(), &rounded.weight.parts().codes)?,
        }
        Ok(TensorReport {
            name: self.name.clone(),
            role: role_name(self.role).to_owned(),
            format: self.format.name().to_owned(),
            rows: self.rows,
            cols: self.cols,
            len_bytes: self.len_bytes(),
            relative_mse: self.chosen.then(|| rounded.error.relative()),
            codes: code_counts(&rounded.weight),
            measured,
        })
    }
}

/// What reports call a role.
fn role_name(role: Role) -> &'static str {
    match role {
        Role::Embedding => "embedding",
        Role::Head => "head",
        Role::Router => "router",
        Role::Linear => "linear",
        Role::Vector => "norm or bias",
    }
}
