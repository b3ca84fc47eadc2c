//! `doctor`: what this machine has, and every kernel tested against its reference on it.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use marlin_cpu::{CpuOptions, CpuPlayer};
use marlin_gpu::{CacheType, Gpu, GpuInfo, GpuOptions, GpuPlayer, Opening, Tuning};
use marlin_kernel::{
    CaseResult, Error, KERNELS, Kernel, Player, Precision, check_player, plan::Plan, simd::Isa,
};
use serde::Serialize;

use crate::{
    commands::compare_steps,
    output::{Output, Unit, table},
    player,
    tuning::{self, State},
};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Threads to use; all cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Which devices to test: auto for the CPU and the best GPU, cpu, or a GPU as in `run`.
    #[arg(long, env = "MARLIN_DEVICE", default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Test one kernel only.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Instead, play this model on the GPU and on the CPU and name the first step that differs.
    #[arg(long, value_name = "MODEL")]
    pub compare: Option<String>,
}

#[derive(Serialize)]
struct Facts {
    version: &'static str,
    system: String,
    cores: usize,
    threads: usize,
    /// The paths this processor can take; the first is the one that is taken.
    simd: Vec<&'static str>,
    gpus: Vec<String>,
    /// Whether each of them is tuned.
    tuned: Vec<bool>,
    formats: Vec<&'static str>,
    architectures: Vec<&'static str>,
    players: Vec<String>,
    kernels: Vec<KernelFacts>,
    passed: usize,
    failed: Vec<String>,
}

#[derive(Serialize)]
struct KernelFacts {
    kernel: &'static str,
    cases: usize,
    failed: usize,
    /// Largest relative error of each player.
    worst: Vec<f64>,
}

/// A device in a precision.
pub(super) enum Tested {
    Cpu { threads: usize, precision: Precision },
    Gpu { gpu: Arc<Gpu>, tuning: Tuning, precision: Precision },
}

impl Tested {
    /// The players that a wish means.
    pub(super) fn all(device: &str, threads: usize, output: Output) -> anyhow::Result<Vec<Tested>> {
        let mut tested = Vec::new();
        if matches!(device, "auto" | "cpu") {
            let cpu = |precision| Tested::Cpu { threads, precision };
            tested.extend([Precision::Exact, Precision::Int8Activations].map(cpu));
        }
        let wish = match device {
            "cpu" => None,
            "auto" => (!marlin_gpu::list().is_empty()).then_some("gpu"),
            device => Some(device),
        };
        if let Some(wish) = wish {
            let opening = Opening { device: wish.to_owned(), ..Opening::default() };
            let gpu = Gpu::open(&Opening { matrices: false, ..opening.clone() })?;
            let tuning = tuning::load(&gpu.info, output);
            tested.push(Tested::Gpu { gpu, tuning, precision: Precision::Exact });
            let gpu = Gpu::open(&opening)?;
            if gpu.info.matrices.is_some() {
                tested.push(Tested::Gpu { gpu, tuning, precision: Precision::HalfOperands });
            }
        }
        Ok(tested)
    }

    pub(super) fn name(&self) -> String {
        match self {
            Tested::Cpu { precision: Precision::Int8Activations, .. } => "cpu, int8 activations".to_owned(),
            Tested::Cpu { .. } => "cpu, f32".to_owned(),
            Tested::Gpu { precision: Precision::HalfOperands, .. } => "gpu, f16 operands".to_owned(),
            Tested::Gpu { .. } => "gpu, f32".to_owned(),
        }
    }

    /// The player's name in tables.
    pub(super) fn player(&self) -> &'static str {
        match self {
            Tested::Cpu { .. } => "cpu",
            Tested::Gpu { .. } => "gpu",
        }
    }

    pub(super) fn gpu(&self) -> Option<&Gpu> {
        match self {
            Tested::Cpu { .. } => None,
            Tested::Gpu { gpu, .. } => Some(gpu),
        }
    }

    pub(super) fn precision(&self) -> Precision {
        match self {
            Tested::Cpu { precision, .. } | Tested::Gpu { precision, .. } => *precision,
        }
    }

    pub(super) fn make(&self, plan: Plan, page_size: usize, pages: usize) -> Result<Box<dyn Player>, Error> {
        match self {
            Tested::Cpu { threads, precision } => {
                let (threads, precision) = (*threads, *precision);
                let options = CpuOptions { threads, precision, page_size, pages, ..CpuOptions::default() };
                Ok(Box::new(CpuPlayer::new(plan, &options)?))
            }
            Tested::Gpu { gpu, tuning, precision } => {
                let tuning = *tuning;
                let half = *precision == Precision::HalfOperands;
                let cache = Some(if half { CacheType::F16 } else { CacheType::F32 });
                let options = GpuOptions { cache, page_size, pages, tuning, ..GpuOptions::default() };
                Ok(Box::new(GpuPlayer::new(plan, gpu, &options)?))
            }
        }
    }
}

impl Doctor {
    /// Runs every case on every player, or compares two players on a model.
    ///
    /// # Errors
    /// When results cannot be written, or there is no such device or model; a kernel that does not agree
    /// is a result, with exit code 1.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let threads = player::threads(self.threads);
        if let Some(model) = &self.compare {
            return compare_steps::run(model, &self.device, threads, output);
        }
        let tested = Tested::all(&self.device, threads, output)?;
        let kernels = chosen(self.kernel.as_deref())?;
        let bar = output.progress("testing", (kernels.len() * tested.len()) as u64, Unit::Count);
        let mut rows = Vec::new();
        let mut failed = Vec::new();
        for kernel in kernels {
            let mut facts = KernelFacts { kernel: kernel.name, cases: 0, failed: 0, worst: Vec::new() };
            for player in &tested {
                let make = |plan, page_size, pages| player.make(plan, page_size, pages);
                let results = check_player(make, player.precision(), &format!("{}, ", kernel.name));
                let bad = results.iter().filter(|result| result.outcome.is_err());
                failed.extend(bad.map(|result| format!("{}: {result}", player.name())));
                facts.cases += results.len();
                facts.failed += results.iter().filter(|result| result.outcome.is_err()).count();
                facts.worst.push(worst(&results));
                bar.inc(1);
            }
            rows.push(facts);
        }
        bar.finish_and_clear();
        let gpus = marlin_gpu::list();
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: player::threads(None),
            threads,
            simd: Isa::available().into_iter().map(Isa::name).collect(),
            gpus: gpus.iter().map(GpuInfo::to_string).collect(),
            tuned: gpus.iter().map(|info| matches!(tuning::state(info), State::Tuned(_))).collect(),
            formats: marlin_format::FORMATS.iter().map(|format| format.name()).collect(),
            architectures: marlin_model::ARCHITECTURES
                .iter()
                .flat_map(|row| row.model_types)
                .copied()
                .collect(),
            players: tested.iter().map(Tested::name).collect(),
            passed: rows.iter().map(|kernel| kernel.cases - kernel.failed).sum(),
            kernels: rows,
            failed,
        };
        output.result(&facts, text)?;
        Ok(if facts.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The kernel of that name, or all.
///
/// # Errors
/// When there is none of that name.
pub(super) fn chosen(wanted: Option<&str>) -> anyhow::Result<Vec<&'static Kernel>> {
    let kernels: Vec<_> =
        KERNELS.iter().copied().filter(|kernel| wanted.is_none_or(|name| name == kernel.name)).collect();
    if kernels.is_empty() {
        let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        let wanted = wanted.unwrap_or_default();
        anyhow::bail!("--kernel {wanted}: no such kernel, expected one of {}", names.join(", "));
    }
    Ok(kernels)
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
    if facts.gpus.is_empty() {
        text.push_str("gpus           none\n");
    }
    for (at, (gpu, tuned)) in facts.gpus.iter().zip(&facts.tuned).enumerate() {
        let tuned = if *tuned { "tuned" } else { "not tuned" };
        text.push_str(&format!("{:<15}{gpu}, {tuned}\n", format!("gpu:{at}")));
    }
    text.push_str(&format!("formats        {}\n", facts.formats.join(", ")));
    text.push_str(&format!("architectures  {}\n\n", facts.architectures.join(", ")));
    let row = |row: &KernelFacts| {
        let mut cells = vec![row.kernel.to_owned(), row.cases.to_string(), row.failed.to_string()];
        cells.extend(row.worst.iter().map(|worst| format!("{worst:.1e}")));
        cells
    };
    let rows: Vec<Vec<String>> = facts.kernels.iter().map(row).collect();
    let titles = facts.players.iter().map(|player| format!("worst error {player}"));
    let titles: Vec<String> =
        ["kernel", "cases", "failed"].map(str::to_owned).into_iter().chain(titles).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    text.push_str(&table(&titles, &rows));
    text.push_str(&format!("\n{} passed, {} failed\n", facts.passed, facts.failed.len()));
    for failure in &facts.failed {
        text.push_str(&format!("{failure}\n"));
    }
    text
}
