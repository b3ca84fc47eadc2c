//! `bench`: what kernels and models take on a device, next to what the device can do.

mod kernels;
mod model;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::output::Output;

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// What to measure.
    #[command(subcommand)]
    pub what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Every kernel on the shapes of real models.
    Kernels(kernels::Kernels),
    /// A model's prompts and decoding at several depths.
    Model(model::Model),
}

impl Bench {
    /// Measures.
    ///
    /// # Errors
    /// When there is no such device or model, or it fails.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Kernels(command) => command.run(output),
            What::Model(command) => command.run(output),
        }
    }
}
