//! Every case of every kernel on the Metal sources that an M-series GPU would be given, in several orders
//! of threads and in both builds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
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

/// Cases that show the choices of a tuning: for products and few rows of experts, and for attention.
const PRODUCTS: &[(&str, &str)] = &[
    ("matmul", "every format"),
    ("matmul", "after a norm"),
    ("moe_experts", "rows 1,"),
    ("moe_experts", "rows 3,"),
    ("moe_experts", "few rows"),
];
const ATTENTION: &[(&str, &str)] = &[("attention", "long"), ("attention", "chunks and decode")];

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
    let tunings = [
        (Tuning { matvec: [4; 4], gate_up: 2, down: 4, ..default }, PRODUCTS),
        (Tuning { matvec: [2; 4], down: 2, ..default }, PRODUCTS),
        (Tuning { workgroups: 3, ..default }, ATTENTION),
    ];
    let tuned = tunings.map(|(tuning, cases)| Setup { name: "tuned", tuning, cases, ..usual.clone() });
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
#[derive(Clone, Debug, Default)]
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
/// orders of threads; then the quickest case of each variant once more, searched for races, which any order
/// shows. `done` hears of each case.
///
/// The first failure of a case in a setup is its only one.
pub fn check(
    compiler: &Compiler,
    filter: impl Fn(&Kernel, &Case) -> bool + Sync,
    seeds: u64,
    done: impl Fn() + Sync,
) -> Vec<Found> {
    let sources = Arc::new(Sources::new(compiler.clone()));
    let (setups, cases) = (setups(), cases(&filter));
    let pairs =
        setups.iter().flat_map(|setup| cases.iter().map(move |(kernel, case)| (setup, *kernel, case)));
    let tasks: Vec<Task<'_>> = pairs
        .filter(|(setup, kernel, case)| setup.takes(kernel, case))
        .map(|(setup, kernel, case)| Task { setup, kernel, case, sources: &sources })
        .collect();
    let played: Vec<Played> = tasks
        .par_iter()
        .map(|task| {
            let played = task.play((0..seeds).map(|seed| (turn(seed), seed)));
            done();
            played
        })
        .collect();
    let raced = quickest(&played);
    let races = raced.par_iter().map(|at| (*at, tasks[*at].play([(Build::Races, 0)])));
    let races: Vec<(usize, Played)> = races.collect();
    let of_kernel = |kernel: &'static Kernel| {
        let of = |at: &usize| tasks[*at].kernel.name == kernel.name;
        let own: Vec<&Played> = (0..tasks.len()).filter(of).map(|at| &played[at]).collect();
        let all =
            || own.iter().copied().chain(races.iter().filter(|(at, _)| of(at)).map(|(_, played)| played));
        Found {
            kernel: kernel.name,
            variants: own.iter().flat_map(|played| played.variants.iter().cloned()).collect(),
            cases: own.len(),
            time: all().map(|played| played.time).sum(),
            failures: all().filter_map(|played| played.failure.clone()).collect(),
        }
    };
    KERNELS.iter().map(|kernel| of_kernel(kernel)).collect()
}

/// The cases that `filter` takes, with their kernels.
fn cases(filter: &impl Fn(&Kernel, &Case) -> bool) -> Vec<(&'static Kernel, Case)> {
    let all: Vec<Vec<Case>> = KERNELS.par_iter().map(|kernel| (kernel.cases)()).collect();
    let of = |(kernel, cases): (&&'static Kernel, Vec<Case>)| {
        let kernel = *kernel;
        cases.into_iter().map(move |case| (kernel, case))
    };
    KERNELS.iter().zip(all).flat_map(of).filter(|(kernel, case)| filter(kernel, case)).collect()
}

/// For each variant the case that takes the least time of those that agree: their numbers.
fn quickest(played: &[Played]) -> BTreeSet<usize> {
    let mut quickest: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, one) in played.iter().enumerate().filter(|(_, one)| one.failure.is_none()) {
        for variant in &one.variants {
            let known = quickest.entry(variant).or_insert(at);
            if one.time < played[*known].time {
                *known = at;
            }
        }
    }
    quickest.into_values().collect()
}

/// A case in a setup.
struct Task<'a> {
    setup: &'a Setup,
    kernel: &'static Kernel,
    case: &'a Case,
    sources: &'a Arc<Sources>,
}

/// What came of it.
struct Played {
    variants: BTreeSet<String>,
    time: Duration,
    failure: Option<String>,
}

impl Task<'_> {
    /// Plays it in builds and orders, until one fails.
    fn play(&self, ways: impl IntoIterator<Item = (Build, u64)>) -> Played {
        let (start, mut variants) = (Instant::now(), BTreeSet::new());
        let failure = ways.into_iter().find_map(|way| {
            let (taken, result) = self.setup.play(self.kernel, self.case, self.sources, way);
            variants.extend(taken);
            result.err()
        });
        Played { variants, time: start.elapsed(), failure }
    }
}
