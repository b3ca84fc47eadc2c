//! `cargo xtask metal`: the program of `marlin-msl`, built for speed.

use std::path::Path;

use anyhow::Result;

use crate::call;

/// What the program is told.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// `--kernel`, `--case`, `--seeds`; `--help` tells more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs it.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let program = "cargo run --release --package marlin-msl --";
    call(root, &format!("{program} {}", arguments.arguments.join(" ")), &[])
}
