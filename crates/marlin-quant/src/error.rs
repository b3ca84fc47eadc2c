//! What can go wrong while quantizing.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source model.
    #[error(transparent)]
    Model(#[from] marlin_model::Error),
    /// The files written.
    #[error(transparent)]
    File(#[from] marlin_file::Error),
    /// A tensor that cannot be quantized.
    #[error("tensor {name}: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Why.
        source: marlin_format::Error,
    },
    /// A format that is only read was chosen for writing.
    #[error("format {format}: is only read, expected one of {expected}")]
    ReadOnly {
        /// The format's name.
        format: &'static str,
        /// Formats that can be written.
        expected: String,
    },
    /// Tensors that a container has no type for.
    #[error("{} tensors that {container} has no type for: {}", tensors.len(), shorten(tensors))]
    NoType {
        /// The container.
        container: &'static str,
        /// Each with its format and shape.
        tensors: Vec<String>,
    },
    /// A rotation of inputs that programs would not play.
    #[error(
        "{container}: inputs of down_proj are rotated in blocks of {block} when the model is played, \
         expected none: what loads the result would not rotate them"
    )]
    Rotated {
        /// The container.
        container: &'static str,
        /// Columns of a block.
        block: usize,
    },
    /// The calibration text does not fill a window.
    #[error("calibration text: found {tokens} tokens, expected one window of {window} at least")]
    Text {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a window, 1 at least.
        window: usize,
    },
    /// The model cannot be cut into stages that only the residual stream connects.
    #[error("stages of the model: {found}, expected the residual stream and nothing else")]
    Stages {
        /// What connects them.
        found: String,
    },
    /// A plan that cannot be played.
    #[error(transparent)]
    Kernel(#[from] marlin_kernel::Error),
    /// No player for a stage.
    #[error("{0}")]
    Player(Box<dyn std::error::Error + Send + Sync>),
    /// The model, as it is, gives no distribution over tokens.
    #[error("logits of the calibration text: {0}")]
    Logits(marlin_kernel::sample::BadLogits),
    /// The journal of an interrupted run holds something else than notes of stages.
    #[error("journal of an interrupted run: {0}")]
    Note(serde_json::Error),
    /// A survey that another run made than one that could use it.
    #[error("{}: a survey of another run, {what}: found {found}, expected {expected}", path.display())]
    OtherSurvey {
        /// The file.
        path: PathBuf,
        /// The fact that differs.
        what: String,
        /// What it is there.
        found: String,
        /// What it is here.
        expected: String,
    },
    /// A survey with losses that no run has measured.
    #[error("{}: losses of {tensor}: found {found}, expected {expected}", path.display())]
    Survey {
        /// The file.
        path: PathBuf,
        /// The tensor, and the format where one loss is meant.
        tensor: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// The user asked to stop a run that can be continued.
    #[error("stopped after {done} of {stages} stages, which were kept")]
    Paused {
        /// Stages done.
        done: usize,
        /// Stages there are.
        stages: usize,
    },
    /// Bytes that are no moments of inputs.
    #[error("moments of inputs: {found} bytes, expected {expected}")]
    Gram {
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        expected: usize,
    },
    /// No choice of formats is small enough.
    #[error("a budget of {found} bytes: the smallest choice takes {smallest}")]
    Budget {
        /// The budget.
        found: u64,
        /// Bytes of the smallest choice.
        smallest: u64,
    },
    /// A unit of an allocation cannot be stored in any way.
    #[error("unit {unit}: no option has a finite loss")]
    NoOption {
        /// Which unit.
        unit: usize,
    },
    /// The user asked to stop.
    #[error("stopped after {done} of {total} tensors, nothing was kept")]
    Stopped {
        /// Tensors written.
        done: usize,
        /// Tensors there are.
        total: usize,
    },
}

fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
