//! `cargo xtask metal`: runs every kernel's Metal source on this machine and prints what was found.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use marlin_kernel::{Case, Kernel};
use marlin_msl::{
    Compiler,
    agreement::{self, Found},
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
    /// Writes which variants were executed to the list that `metal-marlin kernels` shows.
    #[arg(long)]
    record: bool,
}

/// The variants that were executed, a name a line, as `metal-marlin kernels` reads it.
const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../metal-marlin/src/commands/kernels/metal.txt");

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let compiler = Compiler::find(&arguments.cache)?;
    let start = Instant::now();
    let takes = |kernel: &Kernel, case: &Case| {
        arguments.kernel.as_deref().is_none_or(|name| name == kernel.name)
            && case.name.contains(&arguments.case)
    };
    let mut found = agreement::check(&compiler, takes, arguments.seeds, || ());
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
    if arguments.kernel.is_none() && arguments.case.is_empty() {
        list(&variants, arguments.record)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the list, or holds the one there is against what was executed.
fn list(executed: &BTreeSet<&str>, record: bool) -> Result<()> {
    let path = Path::new(LIST);
    if record {
        let text: String = executed.iter().map(|name| format!("{name}\n")).collect();
        return fs::write(path, text).with_context(|| LIST.to_owned());
    }
    let text = fs::read_to_string(path).with_context(|| LIST.to_owned())?;
    let known: BTreeSet<&str> = text.lines().collect();
    let only =
        |a: &BTreeSet<&str>, b: &BTreeSet<&str>| a.difference(b).copied().collect::<Vec<_>>().join(", ");
    let (more, fewer) = (only(executed, &known), only(&known, executed));
    let same = more.is_empty() && fewer.is_empty();
    ensure!(same, "{LIST}: executed besides: {more}; not executed: {fewer}; write it with --record");
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
