//! Development tasks: `cargo xtask <task>`. Nothing that ships depends on this crate.

#![forbid(unsafe_code)]

mod bless;
mod check;
mod metal;
mod quality;
mod synth;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Development tasks of Metal Marlin.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs what CI runs, in that order; with names, only those stages.
    Check(check::Arguments),
    /// Holds the tree against the rules of ARCHITECTURE.md.
    Tidy,
    /// Makes the goldens anew, with the versions pinned in goldens/.
    Bless(bless::Arguments),
    /// Runs the Metal source of every kernel on this machine, without a Mac.
    Metal(metal::Arguments),
    /// Measures what each format costs a model, and writes the tables of docs/quantization.md.
    Quality(quality::Arguments),
    /// Writes a checkpoint of a real model's shapes with random weights.
    Synth(synth::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Check(arguments) => check::run(&arguments),
        Task::Tidy => tidy::run(&root()),
        Task::Bless(arguments) => bless::run(&root(), &arguments),
        Task::Metal(arguments) => metal::run(&root(), &arguments),
        Task::Quality(arguments) => quality::run(&root(), &arguments),
        Task::Synth(arguments) => synth::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository: the directory above this crate.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Runs a program in `dir` and fails when it does.
fn call(dir: &std::path::Path, command: &str, environment: &[(&str, &str)]) -> Result<()> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let status = std::process::Command::new(program)
        .args(words)
        .current_dir(dir)
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| anyhow::anyhow!("{program}: {error}"))?;
    anyhow::ensure!(status.success(), "`{command}` ended with {status}");
    Ok(())
}
