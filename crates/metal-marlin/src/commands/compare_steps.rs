//! `doctor --compare`: one model on two players, step by step, and the first step that differs.

use std::process::ExitCode;

use anyhow::bail;
use marlin_cpu::{CpuOptions, CpuPlayer};
use marlin_gpu::{Gpu, GpuOptions, GpuPlayer, Opening};
use marlin_kernel::{Batch, Player, Precision, SequenceRows, compare_steps, plan::Plan};
use serde::Serialize;

use crate::{
    open,
    output::{Output, Unit},
};

/// Rows of the batches that are compared: a prompt, some rows together, one token.
const ROWS: [usize; 3] = [33, 5, 1];

#[derive(Serialize)]
struct Facts {
    model: String,
    device: String,
    steps: usize,
    comparisons: Vec<Comparison>,
}

#[derive(Serialize)]
struct Comparison {
    precision: &'static str,
    rows: usize,
    /// The first step that differs; nothing if all agree.
    difference: Option<String>,
}

/// Compares the GPU that `device` names with the CPU.
///
/// # Errors
/// When there is no such device or model; a difference is a result, with exit code 1.
pub fn run(model: &str, device: &str, threads: usize, output: Output) -> anyhow::Result<ExitCode> {
    let device = match device {
        "auto" => "gpu",
        "cpu" => bail!("--compare: found device cpu, expected a gpu to compare with it"),
        device => device,
    };
    let opened = open::open(model, output)?;
    let plan = opened.model.plan;
    let opening = Opening { device: device.to_owned(), ..Opening::default() };
    let whole = Gpu::open(&opening)?;
    let mut ways = vec![("f32", Precision::Exact)];
    if whole.info.matrices.is_some() {
        ways.push(("f16 operands", Precision::HalfOperands));
    }
    let bar = output.progress("comparing", (ways.len() * ROWS.len()) as u64, Unit::Count);
    let mut comparisons = Vec::new();
    for (name, precision) in ways {
        let (mut gpu, mut cpu) = players(&plan, &opening, precision, threads)?;
        for (batch, rows) in batches(&plan, gpu.page_size()).iter().zip(ROWS) {
            let difference = compare_steps(gpu.as_mut(), cpu.as_mut(), batch, precision)?;
            let differs = difference.is_some();
            let difference = difference.map(|difference| difference.to_string());
            comparisons.push(Comparison { precision: name, rows, difference });
            bar.inc(1);
            if differs {
                // The caches differ from here on, and so would all that follows.
                break;
            }
        }
    }
    bar.finish_and_clear();
    let (model, device) = (model.to_owned(), whole.info.to_string());
    let facts = Facts { model, device, steps: plan.steps.len(), comparisons };
    output.result(&facts, text)?;
    let agree = facts.comparisons.iter().all(|comparison| comparison.difference.is_none());
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A GPU player and a CPU player with caches of the same values.
fn players(
    plan: &Plan,
    opening: &Opening,
    precision: Precision,
    threads: usize,
) -> anyhow::Result<(Box<dyn Player>, Box<dyn Player>)> {
    let half = precision == Precision::HalfOperands;
    let gpu = Gpu::open(&Opening { matrices: half, ..opening.clone() })?;
    let (gpu_cache, cpu_cache) = match half {
        true => (marlin_gpu::CacheType::F16, marlin_cpu::CacheType::F16),
        false => (marlin_gpu::CacheType::F32, marlin_cpu::CacheType::F32),
    };
    let (page_size, pages) = (16, ROWS.iter().sum::<usize>().div_ceil(16));
    let options = GpuOptions { cache: Some(gpu_cache), page_size, pages, ..GpuOptions::default() };
    let gpu = GpuPlayer::new(plan.clone(), &gpu, &options)?;
    let exact = Precision::Exact;
    let options = CpuOptions {
        threads,
        precision: exact,
        cache: Some(cpu_cache),
        page_size,
        pages,
        ..CpuOptions::default()
    };
    Ok((Box::new(gpu), Box::new(CpuPlayer::new(plan.clone(), &options)?)))
}

/// One sequence of tokens all over the vocabulary, in batches of [`ROWS`].
fn batches(plan: &Plan, page_size: usize) -> Vec<Batch> {
    let vocabulary = plan.vocabulary().min(1 << 30) as u32;
    let pages: Vec<u32> = (0..ROWS.iter().sum::<usize>().div_ceil(page_size) as u32).collect();
    let mut position = 0;
    ROWS.map(|rows| {
        let positions: Vec<u32> = (position..position + rows as u32).collect();
        position += rows as u32;
        let tokens = positions.iter().map(|at| (at * 7919 + 13) % vocabulary).collect();
        let sequences = vec![SequenceRows { rows: 0..rows, pages: pages.clone() }];
        Batch { tokens, positions, sequences, outputs: vec![rows as u32 - 1], choices: Vec::new() }
    })
    .into()
}

fn text(facts: &Facts) -> String {
    let mut text = format!("{} on {} and on the cpu, {} steps\n", facts.model, facts.device, facts.steps);
    for Comparison { precision, rows, difference } in &facts.comparisons {
        let result = difference.as_deref().unwrap_or("all steps agree");
        text.push_str(&format!("{precision}, {rows} rows: {result}\n"));
    }
    text
}
