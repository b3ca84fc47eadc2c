//! The miniature model that is part of the program, so that everything can be tried without a download.
//!
//! What it is and how it was trained: assets/marlin-mini/README.md.

use anyhow::Context;

/// The name it goes by where a model is expected.
pub const NAME: &str = "marlin-mini";

/// Text of the same kinds that the model has not seen.
pub const HELD_OUT: &str = include_str!("../../../assets/marlin-mini/heldout.txt");

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../assets/marlin-mini/", $name)))
    };
}

const FILES: [(&str, &[u8]); 6] = [
    file!("config.json"),
    file!("generation_config.json"),
    file!("model.safetensors"),
    file!("tokenizer.json"),
    file!("tokenizer_config.json"),
    file!("chat_template.jinja"),
];

/// Writes the model to a temporary directory that lives as long as the result.
///
/// # Errors
/// When it cannot be written.
pub fn unpack() -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix(NAME).tempdir().context("unpacking the miniature")?;
    for (name, bytes) in FILES {
        std::fs::write(dir.path().join(name), bytes).with_context(|| format!("unpacking {name}"))?;
    }
    Ok(dir)
}
