//! `cargo xtask metal`: runs every kernel's Metal source on this machine and prints what was found.

#![forbid(unsafe_code)]

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use marlin_gpu::emit::{Target, UNTAKEN};
use marlin_kernel::{Case, Kernel, shader::SHADERS};
use marlin_msl::{
    Compiler,
    agreement::{self, Found},
    benches,
};

/// Runs the Metal sources of all kernels on this machine's CPU and compares them with the references.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask metal", bin_name = "cargo xtask metal")]
struct Arguments {
    /// One kernel only.
    #[arg(long)]
    kernel: Option<String>,
    /// Only cases with this in their names.
    #[arg(long, default_value = "")]
    case: String,
    /// Orders of threads; every second one is played by the build with fast math.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// Where compiled kernels are kept.
    #[arg(long, default_value = "target/msl")]
    cache: PathBuf,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let compiler = Compiler::find(&arguments.cache)?;
    let start = Instant::now();
    let takes = |kernel: &Kernel, case: &Case| {
        arguments.kernel.as_deref().is_none_or(|name| name == kernel.name)
            && case.name.contains(&arguments.case)
    };
    let mut found = agreement::check(&compiler, takes, arguments.seeds, || ());
    let everything = arguments.kernel.is_none() && arguments.case.is_empty();
    if everything {
        found.push(benches::check(&compiler));
    }
    found.retain(|found| found.cases > 0);
    ensure!(!found.is_empty(), "no kernel has such a case");
    print!("{}", table(&found, arguments.seeds));
    let variants: BTreeSet<&str> =
        found.iter().flat_map(|found| &found.variants).map(String::as_str).collect();
    println!("{} variants, {:.0} s", variants.len(), start.elapsed().as_secs_f64());
    let failures: Vec<&String> = found.iter().flat_map(|found| &found.failures).collect();
    for failure in &failures {
        println!("{failure}");
    }
    if !failures.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if everything {
        complete(&variants)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether every variant that an M-series GPU could be given was executed.
fn complete(executed: &BTreeSet<&str>) -> Result<()> {
    let shaders = SHADERS.iter().filter(|shader| Target::Msl.can_have(shader.needs));
    let names: BTreeSet<String> =
        shaders.flat_map(|shader| shader.variants()).map(|variant| variant.name()).collect();
    let untaken = |name: &str| UNTAKEN.iter().find(|(known, _)| *known == name);
    let (left, missing): (Vec<&str>, Vec<&str>) = names
        .iter()
        .map(String::as_str)
        .filter(|name| !executed.contains(name))
        .partition(|name| untaken(name).is_some());
    for (name, why) in left.iter().filter_map(|name| untaken(name)) {
        println!("not executed: {name}, {why}");
    }
    ensure!(missing.is_empty(), "no case executes {}", missing.join(", "));
    Ok(())
}

/// Kernel, variants, cases, seeds, time, failures.
fn table(found: &[Found], seeds: u64) -> String {
    let mut text = format!(
        "{:<12} {:>8} {:>6} {:>6} {:>8} {:>7}\n",
        "kernel", "variants", "cases", "seeds", "time", "failed"
    );
    for found in found {
        text += &format!(
            "{:<12} {:>8} {:>6} {:>6} {:>6.1} s {:>7}\n",
            found.kernel,
            found.variants.len(),
            found.cases,
            seeds,
            found.time.as_secs_f64(),
            found.failures.len()
        );
    }
    text
}
