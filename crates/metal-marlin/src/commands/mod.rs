//! The commands, one file each.

pub mod bench;
pub mod chat;
pub mod compare;
pub mod compare_steps;
pub mod completions;
pub mod convert;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod inspect;
pub mod kernels;
pub mod man;
pub mod quantize;
pub mod run;
pub mod tune;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command},
    output::Output,
};

/// Runs the chosen command.
///
/// # Errors
/// Whatever it could not do.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let output = Output::new(cli.output);
    match cli.command {
        Command::Demo(command) => command.run(output),
        Command::Quantize(command) => command.run(output),
        Command::Convert(command) => command.run(output),
        Command::Run(command) => command.run(output),
        Command::Chat(command) => command.run(output),
        Command::Inspect(command) => command.run(output),
        Command::Eval(command) => command.run(output),
        Command::Compare(command) => command.run(output),
        Command::Doctor(command) => command.run(output),
        Command::Bench(command) => command.run(output),
        Command::Tune(command) => command.run(output),
        Command::Kernels(command) => command.run(output),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    }
}
