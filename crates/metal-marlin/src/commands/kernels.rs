//! `kernels`: which kernel runs on which player in which formats and who has seen it, and every GPU
//! source as a file.
//!
//! The table is made from the registries: kernels, the formats in their cases, the shaders with what they
//! need. "Verified by CI" is a claim about the agreement tests of `marlin-cpu` and `marlin-gpu`, which play
//! all those cases; the sources that the device of CI cannot run are told apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use marlin_format::FORMATS;
use marlin_gpu::emit::{Target, UNTAKEN, emit};
use marlin_kernel::{
    Case, Kernel, check_player,
    shader::{Needs, SHADERS, Shader, Variant},
};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    commands::doctor::{self, Tested},
    output::{Output, Unit, size, table},
    player,
};

/// Arguments of `kernels`.
#[derive(Args, Debug)]
pub struct Kernels {
    /// Write every variant of every GPU kernel in this language instead.
    #[arg(long, value_enum, value_name = "LANGUAGE", requires = "out")]
    pub emit: Option<Language>,
    /// Where to: DIR/KERNEL/VARIANT.
    #[arg(long, value_name = "DIR", requires = "emit")]
    pub out: Option<PathBuf>,
    /// One kernel only.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Test the kernels on this machine first.
    #[arg(long, conflicts_with = "emit")]
    pub verify: bool,
    /// Which devices to test: auto for the CPU and the best GPU, cpu, or a GPU as in `run`.
    #[arg(long, env = "MARLIN_DEVICE", default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}

/// A language of GPU kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Metal Shading Language, as a Mac compiles it.
    Msl,
    /// SPIR-V, as a Vulkan driver is given it.
    Spirv,
    /// WGSL, composed.
    Wgsl,
}

impl Language {
    fn target(self) -> Target {
        match self {
            Language::Msl => Target::Msl,
            Language::Spirv => Target::SpirV,
            Language::Wgsl => Target::Wgsl,
        }
    }
}

#[derive(Serialize)]
struct Support {
    /// The devices that were tested now.
    devices: Vec<String>,
    kernels: Vec<Row>,
    shaders: Vec<ShaderRow>,
    failed: Vec<String>,
}

/// Formats of a kernel that stand alike on a player.
#[derive(Serialize)]
struct Row {
    kernel: &'static str,
    player: &'static str,
    /// Of weights; none for a kernel without.
    formats: Vec<&'static str>,
    state: String,
}

#[derive(Serialize)]
struct ShaderRow {
    shader: &'static str,
    kernel: &'static str,
    needs: &'static str,
    /// Whether CI's device, Mesa's lavapipe, has what it needs.
    in_ci: bool,
    variants: usize,
    /// Variants whose Metal sources `cargo xtask metal` executes on a CPU, in CI; none where Metal has no
    /// words for them.
    metal_executed: Option<usize>,
    /// Variants that the tests of now have run.
    ran_here: Option<usize>,
}

#[derive(Serialize)]
struct Written {
    files: usize,
    len_bytes: u64,
    /// Variants for which the language has no words.
    left_out: usize,
    out: PathBuf,
}

/// The players of the table.
const PLAYERS: [&str; 2] = ["cpu", "gpu"];

impl Kernels {
    /// Prints the table or writes the files.
    ///
    /// # Errors
    /// When there is no such kernel or device, or a file cannot be written; a kernel that does not agree is
    /// a result, with exit code 1.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let kernels = doctor::chosen(self.kernel.as_deref())?;
        // Without a name also the sources that belong to no kernel: those of the benches.
        let of = |shader: &&Shader| self.kernel.as_deref().is_none_or(|name| name == shader.kernel);
        let shaders: Vec<&Shader> = SHADERS.iter().filter(of).collect();
        if let (Some(language), Some(out)) = (self.emit, &self.out) {
            write(&shaders, language.target(), out, output)?;
            return Ok(ExitCode::SUCCESS);
        }
        let tested =
            if self.verify { Tested::all(&self.device, player::threads(None), output)? } else { Vec::new() };
        let bar = output.progress("testing", (kernels.len() * tested.len()) as u64, Unit::Count);
        let mut support = Support {
            devices: tested.iter().map(device).collect(),
            kernels: Vec::new(),
            shaders: Vec::new(),
            failed: Vec::new(),
        };
        for kernel in kernels {
            let seen = Seen::of(kernel, &tested, &mut support.failed, || bar.inc(1));
            support.kernels.extend(PLAYERS.iter().flat_map(|player| seen.rows(kernel, player)));
        }
        bar.finish_and_clear();
        let ran: BTreeSet<String> = tested
            .iter()
            .filter_map(Tested::gpu)
            .flat_map(|gpu| gpu.variants())
            .map(|it| it.name())
            .collect();
        support.shaders =
            shaders.iter().map(|shader| shader_row(shader, self.verify.then_some(&ran))).collect();
        output.result(&support, text)?;
        Ok(if support.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// `gpu, f32: NVIDIA H100 (vulkan, ...)`.
fn device(tested: &Tested) -> String {
    let name = tested.name();
    tested.gpu().map_or(name.clone(), |gpu| format!("{name}: {}", gpu.info))
}

/// The formats in a kernel's cases, and what failed on each player tested now.
struct Seen {
    /// Formats in the cases; `""` for cases without weights.
    formats: BTreeSet<&'static str>,
    /// Failed cases by format of a player, over its precisions; none of a player that was not tested.
    failed: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
}

impl Seen {
    fn of(kernel: &Kernel, tested: &[Tested], failures: &mut Vec<String>, done: impl Fn()) -> Seen {
        let cases = (kernel.cases)();
        let formats_seen = cases.iter().flat_map(formats).collect();
        let mut seen = Seen { formats: formats_seen, failed: BTreeMap::new() };
        for player in tested {
            let make = |plan, page_size, pages| player.make(plan, page_size, pages);
            let results = check_player(make, player.precision(), &format!("{}, ", kernel.name));
            let failed = seen.failed.entry(player.player()).or_default();
            for (case, result) in cases.iter().zip(&results).filter(|(_, result)| result.outcome.is_err()) {
                failures.push(format!("{}: {result}", player.name()));
                for format in formats(case) {
                    *failed.entry(format).or_default() += 1;
                }
            }
            done();
        }
        seen
    }

    /// The rows of a player, formats in the order of their table.
    fn rows(&self, kernel: &Kernel, player: &'static str) -> Vec<Row> {
        let quantized = self.formats.iter().any(|format| !matches!(*format, "" | "f32"));
        let mut rows: Vec<Row> = Vec::new();
        for format in std::iter::once("").chain(FORMATS.iter().map(|format| format.name())) {
            let state = match (self.formats.contains(format), self.failed.get(player)) {
                (true, Some(failed)) => match failed.get(format) {
                    Some(failed) => format!("failed here: {failed} cases"),
                    None => "verified here".to_owned(),
                },
                (true, None) => "verified by CI".to_owned(),
                (false, _) if quantized && !format.is_empty() => "not run: no case has it".to_owned(),
                (false, _) => continue,
            };
            let named = (!format.is_empty()).then_some(format);
            match rows.iter_mut().find(|row| row.state == state) {
                Some(row) => row.formats.extend(named),
                None => {
                    let formats = named.into_iter().collect();
                    rows.push(Row { kernel: kernel.name, player, formats, state });
                }
            }
        }
        rows
    }
}

/// Formats of the weights in a case, `""` if it has none.
fn formats(case: &Case) -> BTreeSet<&'static str> {
    let names: BTreeSet<_> = case.plan.weights.iter().map(|(_, weight)| weight.format().name()).collect();
    if names.is_empty() { [""].into() } else { names }
}

fn shader_row(shader: &Shader, ran: Option<&BTreeSet<String>>) -> ShaderRow {
    let variants = shader.variants();
    let ran_here = ran.map(|ran| variants.iter().filter(|variant| ran.contains(&variant.name())).count());
    let (needs, in_ci) = match shader.needs {
        Needs::Subgroups => ("subgroups", true),
        Needs::F16 => ("f16", true),
        Needs::Matrix16 => ("16x16 matrices", false),
        Needs::Matrix8 => ("8x8 matrices", false),
    };
    let in_metal = Target::Msl.can_have(shader.needs);
    // `cargo xtask metal` fails when it does not execute all others.
    let untaken = |variant: &&Variant| UNTAKEN.iter().any(|(name, _)| *name == variant.name());
    let count = || variants.len() - variants.iter().filter(untaken).count();
    let metal_executed = in_metal.then(count);
    let (shader, kernel, variants) = (shader.file, shader.kernel, variants.len());
    ShaderRow { shader, kernel, needs, in_ci, variants, metal_executed, ran_here }
}

/// Writes all variants that the language has words for.
fn write(shaders: &[&Shader], target: Target, out: &Path, output: Output) -> anyhow::Result<()> {
    let all: Vec<(&Shader, Variant)> =
        shaders.iter().flat_map(|shader| shader.variants().into_iter().map(|it| (*shader, it))).collect();
    let bar = output.progress("translating", all.len() as u64, Unit::Count);
    let file = |(shader, variant): &(&Shader, Variant)| -> anyhow::Result<Option<u64>> {
        bar.inc(1);
        if !target.can_have(shader.needs) {
            return Ok(None);
        }
        let bytes = emit(variant, target)?;
        let folder = out.join(shader.kernel);
        let path = folder.join(format!("{}.{}", variant.name(), target.extension()));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, &bytes))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        Ok(Some(bytes.len() as u64))
    };
    let lengths: Vec<Option<u64>> = all.par_iter().map(file).collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let files = lengths.iter().flatten().count();
    let len_bytes = lengths.iter().flatten().sum();
    let written = Written { files, len_bytes, left_out: lengths.len() - files, out: out.to_owned() };
    output.result(&written, |written| {
        let mut text = format!(
            "wrote {} .{} files, {}, to {}\n",
            written.files,
            target.extension(),
            size(written.len_bytes),
            written.out.display()
        );
        if written.left_out > 0 {
            text += &format!("left out {} variants: Metal has no 16x16 matrices\n", written.left_out);
        }
        text
    })
}

const LEGEND: &str = "
verified by CI  tests compare all cases of the kernel with its reference, on the CPU and on lavapipe,
                a Vulkan device in software with subgroups and f16 and without matrices
Metal source executed
                variants whose Metal source CI compiles for a CPU and runs, in 8 orders of threads:
                docs/metal.md says what that proves and what it cannot
ran here        variants that the cases took on this machine, with --verify
What CI cannot run counts as not run, unless a table in bench/record names a device that did.
";

fn text(support: &Support) -> String {
    let mut text = String::new();
    let row = |row: &Row| {
        let formats = match row.formats.len() {
            0 => "-".to_owned(),
            all if all == FORMATS.len() => format!("all {all}"),
            1..=3 => row.formats.join(", "),
            many => format!("{} and {} more", row.formats[..2].join(", "), many - 2),
        };
        vec![row.kernel.to_owned(), row.player.to_owned(), formats, row.state.clone()]
    };
    let rows: Vec<Vec<String>> = support.kernels.iter().map(row).collect();
    text.push_str(&table(&["kernel", "player", "formats", "state"], &rows));
    text.push('\n');
    let row = |row: &ShaderRow| {
        let (shader, kernel, needs) = (row.shader.to_owned(), row.kernel.to_owned(), row.needs.to_owned());
        let in_ci = if row.in_ci { "yes" } else { "no" }.to_owned();
        let count = |count: Option<usize>| count.map_or("-".to_owned(), |count| count.to_string());
        let (metal, ran) = (count(row.metal_executed), count(row.ran_here));
        vec![shader, kernel, needs, in_ci, row.variants.to_string(), metal, ran]
    };
    let rows: Vec<Vec<String>> = support.shaders.iter().map(row).collect();
    let titles =
        ["GPU source", "kernel", "needs", "CI can run it", "variants", "Metal source executed", "ran here"];
    text.push_str(&table(&titles, &rows));
    text.push_str(LEGEND);
    if !support.devices.is_empty() {
        text.push_str(&format!("\ntested here: {}\n", support.devices.join("; ")));
    }
    for failure in &support.failed {
        text.push_str(&format!("{failure}\n"));
    }
    text
}

#[cfg(test)]
mod tests;
