//! `cargo xtask check`: the stages of CI, in CI's order, each with its time.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Result, bail};

use crate::{call, root, tidy};

/// A stage: its name and what it does.
struct Stage {
    name: &'static str,
    summary: &'static str,
    run: fn(&Path) -> Result<()>,
}

const STAGES: &[Stage] = &[
    Stage {
        name: "fmt",
        summary: "rustfmt would change nothing",
        run: |root| call(root, "cargo fmt --all --check", &[]),
    },
    Stage { name: "clippy", summary: "no warning in any target", run: clippy },
    Stage { name: "tidy", summary: "the rules of ARCHITECTURE.md", run: tidy::run },
    Stage { name: "test", summary: "all tests", run: |root| call(root, "cargo test --workspace", &[]) },
    Stage { name: "doc", summary: "the documentation builds without warnings", run: doc },
    Stage { name: "fuzz", summary: "the fuzz targets build", run: fuzz },
];

/// Which stages to run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// fmt, clippy, tidy, test, doc, fuzz; all of them without a name.
    stages: Vec<String>,
}

/// Runs the stages until one fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let names: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
    if let Some(unknown) = arguments.stages.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("stage {unknown}: unknown, expected one of {}", names.join(", "));
    }
    let wanted = |stage: &&Stage| {
        arguments.stages.is_empty() || arguments.stages.iter().any(|name| name == stage.name)
    };
    for stage in STAGES.iter().filter(wanted) {
        println!("check {}: {}", stage.name, stage.summary);
        let start = Instant::now();
        (stage.run)(&root())?;
        println!("check {}: ok, {:.1} s", stage.name, start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn clippy(root: &Path) -> Result<()> {
    call(root, "cargo clippy --workspace --all-targets -- -D warnings", &[])
}

fn doc(root: &Path) -> Result<()> {
    call(root, "cargo doc --workspace --no-deps", &[("RUSTDOCFLAGS", "-D warnings")])
}

/// Coverage instrumentation needs a nightly compiler and cargo-fuzz; without them the targets are
/// built all the same, uninstrumented, and the output says so.
fn fuzz(root: &Path) -> Result<()> {
    let answers = |command: &str| {
        let mut words = command.split_whitespace();
        let output = Command::new(words.next().unwrap_or_default()).args(words).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !answers("cargo +nightly --version") {
        println!("check fuzz: no nightly compiler, so no instrumentation: a plain build with this one");
    } else if !answers("cargo +nightly fuzz --version") {
        println!("check fuzz: no cargo-fuzz, so no instrumentation: a plain build");
    } else {
        return call(root, "cargo +nightly fuzz build", &[]);
    }
    call(root, "cargo build --manifest-path fuzz/Cargo.toml", &[])
}
