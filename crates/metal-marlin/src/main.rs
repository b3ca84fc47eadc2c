//! The command `metal-marlin`: one file a command, one place that prints errors.
//!
//! Exit codes: 0 done, 1 an error, 2 wrong arguments, 3 an evaluation that shows a broken model.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod formats;
mod generate;
mod hints;
mod hub;
mod interrupt;
mod miniature;
mod open;
mod output;
mod player;
mod tuning;
mod vocabulary;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = hints::hint(&error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
