//! Every case of every kernel on the Metal sources that an M-series GPU would be given, in several orders
//! of threads and in both builds.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use marlin_gpu::{CacheType, GpuInfo, GpuOptions, GpuPlayer, Tuning};
use marlin_kernel::{Case, KERNELS, Kernel, Player, Precision, check_case, plan::Plan};
use rayon::prelude::*;

use crate::{
    Build, Compiler,
    device::{Metal, Sources, m_series},
};

/// The build that cases are played in with a seed: two take turns.
pub fn turn(seed: u64) -> Build {
    if seed.is_multiple_of(2) { Build::Checked } else { Build::Fast }
}

/// A way in which a user plays kernels on a Mac: what of them is taken.
#[derive(Clone, Debug)]
pub struct Setup {
    /// For messages.
    pub name: &'static str,
    info: GpuInfo,
    cache: CacheType,
    precision: Precision,
    tuning: Tuning,
    /// Kernels, and parts of the names of their cases; all, if there are none.
    cases: &'static [(&'static str, &'static str)],
}

/// Cases that show the choices of a tuning: of products, and of attention.
const TUNED: &[(&str, &str)] =
    &[("matmul", "fp4"), ("matmul", "every format"), ("moe_experts", ""), ("attention", "")];

/// All setups: as `run` plays, with f32 operands, and with what `tune` can choose besides.
pub fn setups() -> Vec<Setup> {
    let default = Tuning::default();
    let usual = Setup {
        name: "f16 operands and caches",
        info: m_series(),
        cache: CacheType::F16,
        precision: Precision::HalfOperands,
        tuning: default,
        cases: &[],
    };
    let exact = Setup {
        name: "f32",
        info: GpuInfo { matrices: None, ..m_series() },
        cache: CacheType::F32,
        precision: Precision::Exact,
        ..usual.clone()
    };
    let split = default.split.map(|split| 3 - split);
    let tunings = [
        Tuning { matvec: [4; 4], split, workgroups: 3, gate_up: 2, down: 4 },
        Tuning { matvec: [2; 4], down: 2, ..default },
    ];
    let tuned = tunings.map(|tuning| {
        // Attention has one choice, which the second leaves as it was.
        let cases = if tuning.workgroups == default.workgroups { &TUNED[..3] } else { TUNED };
        Setup { name: "tuned", tuning, cases, ..usual.clone() }
    });
    [usual, exact].into_iter().chain(tuned).collect()
}

impl Setup {
    fn takes(&self, kernel: &Kernel, case: &Case) -> bool {
        let fits = |(name, part): &(&str, &str)| *name == kernel.name && case.name.contains(part);
        self.cases.is_empty() || self.cases.iter().any(fits)
    }

    /// Plays a case on `sources` in a build, its threads in the order of `seed`: the names of the variants
    /// that were executed, and what was found.
    pub fn play(
        &self,
        kernel: &Kernel,
        case: &Case,
        sources: &Arc<Sources>,
        (build, seed): (Build, u64),
    ) -> (BTreeSet<String>, Result<(), String>) {
        let device = Metal::new(self.info.clone(), sources, build, seed);
        let make = |plan: Plan, page_size, pages| {
            let (cache, memory) = (Some(self.cache), None);
            let options = GpuOptions { cache, page_size, pages, memory, tuning: self.tuning };
            Ok(Box::new(GpuPlayer::new(plan, &device, &options)?) as Box<dyn Player>)
        };
        let result = check_case(make, kernel, case, self.precision);
        let failure = |failure| {
            let (kernel, case, setup) = (kernel.name, &case.name, self.name);
            format!("{kernel}, {case}, {setup}, {build:?}, seed {seed}: {failure}")
        };
        (device.variants(), result.map(|_| ()).map_err(failure))
    }
}

/// What was found of a kernel.
#[derive(Clone, Debug)]
pub struct Found {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Variants that its cases execute.
    pub variants: BTreeSet<String>,
    /// Cases, each counted once a setup.
    pub cases: usize,
    /// Time on one thread.
    pub time: Duration,
    /// Cases that do not agree, with setup, build and seed.
    pub failures: Vec<String>,
}

/// Plays every case of the kernels whose name and case `filter` takes, in every setup and in `seeds`
/// orders of threads; the first case of each variant is searched for races too, which any order shows.
/// `done` hears of each case.
///
/// The first failure of a case in a setup is its only one.
pub fn check(
    compiler: &Compiler,
    filter: impl Fn(&Kernel, &Case) -> bool + Sync,
    seeds: u64,
    done: impl Fn() + Sync,
) -> Vec<Found> {
    let sources = Arc::new(Sources::new(compiler.clone()));
    let setups = setups();
    let tasks: Vec<(usize, Case, &Setup)> = setups
        .iter()
        .flat_map(|setup| KERNELS.iter().enumerate().map(move |(at, kernel)| (setup, at, *kernel)))
        .flat_map(|(setup, at, kernel)| (kernel.cases)().into_iter().map(move |case| (at, case, setup)))
        .filter(|(at, case, setup)| filter(KERNELS[*at], case) && setup.takes(KERNELS[*at], case))
        .collect();
    let found: Vec<Mutex<Found>> = KERNELS
        .iter()
        .map(|kernel| {
            let (variants, time, failures) = (BTreeSet::new(), Duration::ZERO, Vec::new());
            Mutex::new(Found { kernel: kernel.name, variants, cases: 0, time, failures })
        })
        .collect();
    let raced: Mutex<BTreeSet<String>> = Mutex::default();
    let first_of_any = |variants: &BTreeSet<String>| {
        let mut raced = raced.lock().unwrap_or_else(PoisonError::into_inner);
        let any = variants.iter().any(|variant| !raced.contains(variant));
        raced.extend(variants.iter().cloned());
        any
    };
    tasks.par_iter().for_each(|(at, case, setup)| {
        let start = Instant::now();
        let mut variants = BTreeSet::new();
        let mut play = |build, seed| {
            let (taken, result) = setup.play(KERNELS[*at], case, &sources, (build, seed));
            variants.extend(taken);
            result.err()
        };
        let mut failure = (0..seeds).find_map(|seed| play(turn(seed), seed));
        if failure.is_none() && first_of_any(&variants) {
            failure = setup.play(KERNELS[*at], case, &sources, (Build::Races, 0)).1.err();
        }
        let mut found = found[*at].lock().unwrap_or_else(PoisonError::into_inner);
        found.variants.append(&mut variants);
        found.cases += 1;
        found.time += start.elapsed();
        found.failures.extend(failure);
        done();
    });
    found.into_iter().map(|it| it.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}
