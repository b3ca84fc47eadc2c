//! `doctor`: what this machine has, and every kernel tested against its reference on it.

use std::process::ExitCode;

use clap::Args;
use marlin_cpu::{CpuOptions, CpuPlayer};
use marlin_kernel::{CaseResult, KERNELS, Precision, check_player, simd::Isa};
use serde::Serialize;

use crate::{
    output::{Output, Unit, table},
    player,
};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Threads to use; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

#[derive(Serialize)]
struct Facts {
    version: &'static str,
    system: String,
    cores: usize,
    threads: usize,
    /// The paths this processor can take; the first is the one that is taken.
    simd: Vec<&'static str>,
    formats: Vec<&'static str>,
    architectures: Vec<&'static str>,
    kernels: Vec<KernelFacts>,
    passed: usize,
    failed: Vec<String>,
}

#[derive(Serialize)]
struct KernelFacts {
    kernel: &'static str,
    cases: usize,
    failed: usize,
    worst_exact: f64,
    worst_int8: f64,
}

impl Doctor {
    /// Runs every case in both precisions.
    ///
    /// # Errors
    /// When results cannot be written; a kernel that does not agree is a result, with exit code 1.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let threads = player::threads(self.threads);
        let bar = output.progress("testing", KERNELS.len() as u64, Unit::Count);
        let mut kernels = Vec::new();
        let mut failed = Vec::new();
        for kernel in KERNELS {
            let [exact, int8] = [Precision::Exact, Precision::Int8Activations].map(|precision| {
                let make = |plan, page_size, pages| {
                    let defaults = CpuOptions::default();
                    let options = CpuOptions { threads, precision, page_size, pages, ..defaults };
                    Ok(Box::new(CpuPlayer::new(plan, &options)?) as _)
                };
                check_player(make, precision, &format!("{}, ", kernel.name))
            });
            let is_failed = |result: &&CaseResult| result.outcome.is_err();
            failed.extend(exact.iter().chain(&int8).filter(is_failed).map(ToString::to_string));
            kernels.push(KernelFacts {
                kernel: kernel.name,
                cases: exact.len() + int8.len(),
                failed: exact.iter().chain(&int8).filter(is_failed).count(),
                worst_exact: worst(&exact),
                worst_int8: worst(&int8),
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: player::threads(None),
            threads,
            simd: Isa::available().into_iter().map(Isa::name).collect(),
            formats: marlin_format::FORMATS.iter().map(|format| format.name()).collect(),
            architectures: marlin_model::ARCHITECTURES
                .iter()
                .flat_map(|row| row.model_types)
                .copied()
                .collect(),
            passed: kernels.iter().map(|kernel| kernel.cases - kernel.failed).sum(),
            kernels,
            failed,
        };
        output.result(&facts, text)?;
        Ok(if facts.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn worst(results: &[CaseResult]) -> f64 {
    results.iter().filter_map(|result| Some(result.outcome.as_ref().ok()?.relative)).fold(0.0, f64::max)
}

fn text(facts: &Facts) -> String {
    let mut text = format!(
        "metal-marlin {} on {}, {} cores, {} threads\nsimd           {} (can take: {})\n",
        facts.version,
        facts.system,
        facts.cores,
        facts.threads,
        facts.simd.first().unwrap_or(&"none"),
        facts.simd.join(", "),
    );
    text.push_str(&format!("formats        {}\n", facts.formats.join(", ")));
    text.push_str(&format!("architectures  {}\n\n", facts.architectures.join(", ")));
    let row = |row: &KernelFacts| {
        vec![
            row.kernel.to_owned(),
            row.cases.to_string(),
            row.failed.to_string(),
            format!("{:.1e}", row.worst_exact),
            format!("{:.1e}", row.worst_int8),
        ]
    };
    let rows: Vec<Vec<String>> = facts.kernels.iter().map(row).collect();
    text.push_str(&table(&["kernel", "cases", "failed", "worst error f32", "worst error int8"], &rows));
    text.push_str(&format!("\n{} passed, {} failed\n", facts.passed, facts.failed.len()));
    for failure in &facts.failed {
        text.push_str(&format!("{failure}\n"));
    }
    text
}
