//! `tune`: measures which variants of the kernels are fastest on a GPU, and keeps the result.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use marlin_gpu::{Gpu, Opening, Tuning, tuning::Trial};
use serde::Serialize;

use crate::{
    output::{Output, Unit, table},
    tuning::{self, State},
};

/// Arguments of `tune`.
#[derive(Args, Debug)]
pub struct Tune {
    /// The GPU, as in `run`.
    #[arg(long, env = "MARLIN_DEVICE", default_value = "gpu", value_name = "DEVICE")]
    pub device: String,
    /// Measure again what has been measured.
    #[arg(long)]
    pub force: bool,
}

#[derive(Serialize)]
struct Facts {
    device: String,
    driver: String,
    /// The file of the tuning.
    path: String,
    /// Whether it was measured now; it was before otherwise.
    measured: bool,
    tuning: Tuning,
    /// What was measured now.
    trials: Vec<Trial>,
}

impl Tune {
    /// Measures, unless that was done before, and prints.
    ///
    /// # Errors
    /// When there is no such device, it has no timestamps, or the result cannot be kept.
    pub fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let gpu = Gpu::open(&Opening { device: self.device.clone(), ..Opening::default() })?;
        let directory = tuning::directory()
            .context("this system has no directory for caches, and MARLIN_CACHE is not set")?;
        let mut facts = Facts {
            device: gpu.info.to_string(),
            driver: gpu.info.driver.clone(),
            path: tuning::path(&directory, &gpu.info).display().to_string(),
            measured: false,
            tuning: Tuning::default(),
            trials: Vec::new(),
        };
        match tuning::read(&directory, &gpu.info) {
            State::Tuned(tuning) if !self.force => {
                facts.tuning = tuning;
                output.note("measured before; --force measures again");
            }
            _ => {
                let bar = output.progress("measuring", Tuning::choices(&gpu) as u64, Unit::Count);
                facts.tuning = Tuning::measure(&gpu, |trial| {
                    facts.trials.push(trial);
                    bar.inc(1);
                })?;
                bar.finish_and_clear();
                facts.measured = true;
                tuning::write(&directory, &gpu.info, facts.tuning)?;
            }
        }
        output.result(&facts, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(facts: &Facts) -> String {
    let mut text = format!("{}, driver {}\n{}\n\n", facts.device, facts.driver, facts.path);
    if !facts.measured {
        let Tuning { matvec, split, workgroups, gate_up, down } = facts.tuning;
        let matvec = matvec.map(|outs| outs.to_string());
        let rows = [
            ("matvec", matvec.join(", ")),
            ("split", split.map(|split| split.to_string()).join(", ")),
            ("workgroups", workgroups.to_string()),
            ("gate_up", gate_up.to_string()),
            ("down", down.to_string()),
        ];
        let rows = rows.map(|(choice, value)| vec![choice.to_owned(), value]);
        text.push_str(&table(&["choice", "taken"], &rows));
        return text;
    }
    let mut rows = Vec::new();
    for trial in &facts.trials {
        if trial.candidates.is_empty() {
            rows.push(vec![trial.choice.clone(), "no room".to_owned(), String::new(), String::new()]);
        }
        for (at, (candidate, seconds)) in trial.candidates.iter().enumerate() {
            let choice = if at == 0 { trial.choice.clone() } else { String::new() };
            let taken = match (at == trial.taken, at) {
                (true, 0) => "taken, default",
                (true, _) => "taken",
                (false, 0) => "default",
                (false, _) => "",
            };
            rows.push(vec![choice, candidate.clone(), format!("{:.1}", 1e6 * seconds), taken.to_owned()]);
        }
    }
    text.push_str(&table(&["choice", "candidate", "us", ""], &rows));
    text
}
