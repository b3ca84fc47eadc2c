//! `bench kernels`: time, bandwidth and operations of every kernel, and their share of what the device
//! can do.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::bail;
use clap::Args;
use marlin_format::Format;
use marlin_gpu::{
    Gpu, Opening, Tuning,
    work::{self, COLD, Work},
};
use serde::Serialize;

use crate::{
    output::{Output, Unit, table},
    tuning,
};

/// Bytes that are copied to measure the memory's bandwidth.
const COPY_BYTES: u64 = 1 << 30;
/// Time for a device's clocks to come up before something is measured.
const WARM: Duration = Duration::from_millis(200);
/// Times a step of a work is played, all its copies together.
const REPEATS: usize = 5;

/// Arguments of `bench kernels`.
#[derive(Args, Debug)]
pub struct Kernels {
    /// The GPU, as in `run`.
    #[arg(long, env = "MARLIN_DEVICE", default_value = "gpu", value_name = "DEVICE")]
    pub device: String,
    /// Formats of the weights.
    #[arg(long, value_delimiter = ',', default_value = "fp4,int4,int8,mxfp4,bf16", value_name = "NAMES")]
    pub formats: Vec<String>,
    /// Rows of products and experts.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,512", value_name = "COUNTS")]
    pub rows: Vec<usize>,
    /// Positions that attention sees at decode.
    #[arg(long, value_delimiter = ',', default_value = "4096,32768", value_name = "COUNTS")]
    pub depths: Vec<usize>,
    /// Sequences that decode side by side in attention, one row each.
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_name = "COUNTS")]
    pub sequences: Vec<usize>,
    /// Measure one kernel only.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Measure only shapes with this in their name.
    #[arg(long, value_name = "TEXT")]
    pub shape: Option<String>,
    /// f32 operands in place of matrix units.
    #[arg(long)]
    pub exact: bool,
}

#[derive(Serialize)]
struct Facts {
    device: String,
    /// Bytes read and written in a second by a plain copy.
    copy_bytes_per_second: f64,
    /// Operations a second of matrix units, or of f32 multiply-adds without.
    peak_operations_per_second: f64,
    kernels: Vec<Measured>,
}

#[derive(Serialize)]
struct Measured {
    kernel: &'static str,
    shape: String,
    format: Option<&'static str>,
    rows: usize,
    dispatches: usize,
    /// Of one copy, of all played back to back: the median over repeats.
    microseconds: f64,
    bytes_per_second: f64,
    operations_per_second: f64,
    share_of_copy: f64,
    share_of_peak: f64,
}

impl Kernels {
    /// Measures and prints.
    ///
    /// # Errors
    /// When there is no such device, it has no timestamps, or its memory does not hold the largest shape.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let formats: Vec<&'static dyn Format> =
            self.formats.iter().map(|name| marlin_format::by_name(name)).collect::<Result<_, _>>()?;
        if [&self.rows, &self.depths, &self.sequences].iter().any(|counts| counts.contains(&0)) {
            bail!("--rows, --depths and --sequences: found 0, expected 1 or more");
        }
        let matrices = !self.exact;
        let opening = Opening { device: self.device.clone(), matrices, ..Opening::default() };
        let gpu = Gpu::open(&opening)?;
        gpu.keep_busy(5 * WARM)?;
        let copy = gpu.copy_bandwidth(COPY_BYTES, 11)?;
        let peak = gpu.peak_operations(5)?;
        let tuning = tuning::load(&gpu.info, output);
        let wanted = self.wanted(&formats, gpu.info.f16);
        let bar = output.progress("measuring", wanted.len() as u64, Unit::Count);
        let mut kernels = Vec::new();
        for make in wanted {
            kernels.push(measure(&gpu, &make(), tuning, copy, peak)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let facts = Facts {
            device: gpu.info.to_string(),
            copy_bytes_per_second: copy,
            peak_operations_per_second: peak,
            kernels,
        };
        output.result(&facts, text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What is to be measured; each is made when its turn comes, since some are large.
    fn wanted(&self, formats: &[&'static dyn Format], f16: bool) -> Vec<Box<dyn Fn() -> Work>> {
        let mut wanted: Vec<Box<dyn Fn() -> Work>> = Vec::new();
        let kernel = |name: &str| self.kernel.as_deref().is_none_or(|wanted| wanted == name);
        let shape = |name: &str| self.shape.as_deref().is_none_or(|wanted| name.contains(wanted));
        let bytes = if f16 { 2 } else { 4 };
        for &format in formats {
            for &rows in &self.rows {
                for &(name, outs, cols) in
                    work::MATRICES.iter().filter(|(name, ..)| kernel("matmul") && shape(name))
                {
                    wanted.push(Box::new(move || work::product(name, format, rows, outs, cols, COLD)));
                }
                if kernel("head_matmul") && shape("glm") {
                    wanted.push(Box::new(move || work::heads(format, rows)));
                }
                if kernel("moe_experts") && shape("glm") {
                    wanted.push(Box::new(move || work::experts("glm", format, rows, &work::GLM_EXPERTS)));
                }
            }
        }
        for (at, (name, ..)) in work::ATTENTION.iter().enumerate().filter(|_| kernel("attention")) {
            if !shape(name) {
                continue;
            }
            for &depth in &self.depths {
                for &sequences in &self.sequences {
                    let one = move || work::attention(at, 1, depth, bytes, COLD);
                    wanted.push(Box::new(move || one().side_by_side(sequences)));
                }
            }
            for &rows in self.rows.iter().filter(|rows| **rows > 1) {
                wanted.push(Box::new(move || work::attention(at, rows, rows.max(512), bytes, COLD)));
            }
        }
        for &rows in &self.rows {
            let names: Vec<&'static str> = work::small(1).iter().map(|work| work.kernel).collect();
            for (at, name) in names.into_iter().enumerate() {
                if kernel(name) && shape("glm") {
                    wanted.push(Box::new(move || work::small(rows).swap_remove(at)));
                }
            }
        }
        wanted
    }
}

/// Plays all copies of a work's step one after the other, several times, and takes the median time of one.
fn measure(gpu: &Arc<Gpu>, work: &Work, tuning: Tuning, copy: f64, peak: f64) -> anyhow::Result<Measured> {
    let mut player = work.player(gpu, tuning)?;
    let steps = work.copies;
    let dispatches = player.dispatches(0..1)?;
    let mut times = Vec::new();
    gpu.keep_busy(WARM)?;
    for repeat in 0..=REPEATS {
        gpu.keep_busy(WARM / 10)?;
        let time = player.time(0..steps)?;
        // The first round compiles.
        if repeat > 0 {
            times.push(time);
        }
    }
    times.sort_unstable();
    let median = times[REPEATS / 2];
    if median.is_zero() {
        bail!("{}: no time was measured", work.shape);
    }
    let seconds = median.as_secs_f64() / steps as f64;
    let cost = work.plan.cost(0, &work.batch)?;
    let bytes = (cost.bytes + cost.cache_values * if gpu.info.f16 { 2 } else { 4 }) as f64 / seconds;
    let operations = cost.operations as f64 / seconds;
    Ok(Measured {
        kernel: work.kernel,
        shape: work.shape.clone(),
        format: work.format,
        rows: work.rows,
        dispatches,
        microseconds: 1e6 * seconds,
        bytes_per_second: bytes,
        operations_per_second: operations,
        share_of_copy: bytes / copy,
        share_of_peak: operations / peak,
    })
}

fn text(facts: &Facts) -> String {
    let mut text = format!(
        "{}\ncopy {:.0} GB/s read and written, peak {:.1} TFLOP/s\n\n",
        facts.device,
        facts.copy_bytes_per_second / 1e9,
        facts.peak_operations_per_second / 1e12
    );
    let row = |row: &Measured| {
        vec![
            row.kernel.to_owned(),
            row.shape.clone(),
            row.format.unwrap_or("-").to_owned(),
            row.rows.to_string(),
            row.dispatches.to_string(),
            format!("{:.1}", row.microseconds),
            format!("{:.0}", row.bytes_per_second / 1e9),
            format!("{:.1} %", 100.0 * row.share_of_copy),
            format!("{:.2}", row.operations_per_second / 1e12),
            format!("{:.1} %", 100.0 * row.share_of_peak),
        ]
    };
    let rows: Vec<Vec<String>> = facts.kernels.iter().map(row).collect();
    let titles =
        ["kernel", "shape", "format", "rows", "dispatches", "us", "GB/s", "of copy", "TFLOP/s", "of peak"];
    text.push_str(&table(&titles, &rows));
    text
}
