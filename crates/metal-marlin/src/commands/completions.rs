//! `completions`: what a shell needs to complete this command.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// None today; the commands share one signature.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut command = crate::cli::Cli::command();
        clap_complete::generate(self.shell, &mut command, "metal-marlin", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}
