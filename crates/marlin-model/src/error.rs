//! What can be wrong with a model's configuration or tensors.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file itself.
    #[error(transparent)]
    File(#[from] marlin_file::Error),
    /// A plan that does not fit itself.
    #[error(transparent)]
    Kernel(#[from] marlin_kernel::Error),
    /// A key of the configuration is missing or has an impossible value.
    #[error("config {key}: found {found}, expected {expected}")]
    Config {
        /// Dotted path of the key.
        key: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// No architecture has this name.
    #[error("model_type {found}: unknown architecture, supported are {supported}")]
    Architecture {
        /// The name in the configuration.
        found: String,
        /// The names there are.
        supported: String,
    },
    /// Tensors the architecture needs are not in the file.
    #[error("{} of the tensors are missing: {}", names.len(), shorten(names))]
    Missing {
        /// All of their names.
        names: Vec<String>,
    },
    /// A tensor that a GGUF has no name for.
    #[error("tensor {name}: llama.cpp's {architecture} has no tensor for it")]
    NoGgufName {
        /// The tensor.
        name: String,
        /// `general.architecture`.
        architecture: &'static str,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name}: found {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the configuration leads to.
        expected: Vec<usize>,
    },
    /// A tensor's values cannot be used.
    #[error("tensor {name}: {source}")]
    Weight {
        /// The tensor.
        name: String,
        /// Why.
        source: marlin_format::Error,
    },
}

fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
