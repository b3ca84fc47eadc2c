//! `man`: the manual page, in roff.

use std::{io::Write, process::ExitCode};

use clap::{Args, CommandFactory};

/// Arguments of `man`.
#[derive(Args, Debug)]
pub struct Man {}

impl Man {
    /// Prints the page, with a section for every command.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut root = crate::cli::Cli::command();
        root.build();
        let mut page = Vec::new();
        clap_mangen::Man::new(root.clone()).render(&mut page)?;
        for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name().to_uppercase();
            writeln!(page, ".SH \"{name}\"")?;
            let man = clap_mangen::Man::new(command.clone());
            man.render_description_section(&mut page)?;
            man.render_options_section(&mut page)?;
        }
        std::io::stdout().write_all(&page)?;
        Ok(ExitCode::SUCCESS)
    }
}
