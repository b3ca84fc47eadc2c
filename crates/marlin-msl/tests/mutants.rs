//! Kernels broken on purpose, in their Metal sources: every mistake that a case can meet is found.
//!
//! Mutants are made by machine from the source of one variant of every shader, that most cases take: one
//! without each of its barriers, one for each element it stores with the index shifted by one, one for each
//! matrix loaded or stored the other way round, one for each threadgroup array of a single element, one with
//! an infinity where a kernel masks. A trap in the place of the mistake shows which cases reach it; those are
//! played. Where none does, the same change is made to the shader's other variants.
//!
//! The test prints how many were made, reached and found. It fails for a mutant that is reached and not
//! found, unless [`SAME`] says why it is no mistake. `MUTANTS=rowwise: Barrier|sample/` plays only those with
//! one of these parts in what is printed of them.

#![cfg(target_os = "linux")]

mod mutate;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    sync::Arc,
    time::Instant,
};

use marlin_gpu::emit;
use marlin_kernel::{
    Case, KERNELS, Kernel,
    shader::{SHADERS, Variant},
};
use marlin_msl::{
    Build, Compiler,
    agreement::{Setup, setups, turn},
    device::Sources,
};
use mutate::{Mutant, Operator, mutants};
use rayon::prelude::*;

/// Orders of threads that a mutant is played in on the quickest cases, the builds in turn, until it is found.
const SEEDS: u64 = 8;

/// How many the quickest cases are.
const CASES: usize = 4;

/// Shaders that no case takes on a GPU of Apple's: they prepare 16x16 matrices.
const UNTAKEN: &[&str] = &["matmul/convert_tiles"];

/// Mutants that do what the kernel does: the shader, a part of the line and its function, and why.
const SAME: &[(&str, &str, &str)] = &[
    (
        "attention/merge",
        "LOWEST",
        "a constant of attention/tile that it does not name: it takes what scratch holds",
    ),
    (
        "moe_experts/experts_coop",
        "mem_threadgroup); (main_ #2)",
        "naga ends workgroupUniformLoad with it, so that the word may be written again; nobody does",
    ),
    (
        "moe_route/moe_route",
        "mem_threadgroup); (workgroup_sum #2)",
        "`parts` may be written again after it; nobody does: this is the last sum of a row",
    ),
    (
        "sample/sample",
        "mem_threadgroup); (find #3)",
        "a round writes `cells`, last read before barrier 2, and, after its barrier 1, `partial`",
    ),
    (
        "sample/sample",
        "mem_threadgroup); (main_ #1)",
        "`stretches` is written again only by `pick`, after the barriers of `narrow`",
    ),
];

/// A case in a setup, and the time it takes.
#[derive(Clone, Copy)]
struct Played<'a> {
    setup: &'a Setup,
    kernel: &'static Kernel,
    case: &'a Case,
    seconds: f64,
}

/// A variant of a shader, and the cases that take it, quick ones first.
struct Taken<'a> {
    variant: Variant,
    played: Vec<Played<'a>>,
}

/// What came of a mutant.
enum Fate {
    /// What was said of it.
    Found(String),
    /// Cases that reach it agree.
    Missed,
    /// No case reaches it.
    Unreached,
}

#[test]
#[ignore = "minutes: cargo test --release -p marlin-msl --test mutants -- --ignored --nocapture"]
fn every_mistake_that_a_case_reaches_is_found() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("msl");
    let sources = Arc::new(Sources::new(Compiler::find(&cache).unwrap()));
    let (setups, cases) = (setups(), cases());
    let takers = takers(&setups, &cases, &sources);
    let file = |at: usize| takers[at][0].variant.file;
    let taken: BTreeSet<&str> = (0..takers.len()).map(file).collect();
    let untaken: Vec<&str> = shaders().difference(&taken).copied().collect();
    assert_eq!(untaken, UNTAKEN, "shaders that no case takes");
    let text = |at: usize| emit::metal(&takers[at][0].variant).unwrap().text;
    let only = env::var("MUTANTS").unwrap_or_default();
    let mutants: Vec<(usize, Mutant)> = (0..takers.len())
        .flat_map(|at| mutants(&text(at)).into_iter().map(move |mutant| (at, mutant)))
        .filter(|(at, mutant)| only.split('|').any(|part| named(file(*at), mutant).contains(part)))
        .collect();
    let fates: Vec<Fate> = mutants
        .par_iter()
        .with_max_len(1)
        .map(|(at, mutant)| fate_of_any(&takers[*at], mutant, &sources))
        .collect();
    let mut counts: BTreeMap<Operator, [usize; 4]> = BTreeMap::new();
    let mut missed = Vec::new();
    for ((at, mutant), fate) in mutants.iter().zip(&fates) {
        let file = file(*at);
        let same = SAME.iter().find(|(shader, part, _)| *shader == file && mutant.change.contains(part));
        let (place, said) = match (fate, same) {
            (Fate::Found(message), None) => (0, format!("found: {message}")),
            (Fate::Found(message), Some(_)) => {
                missed.push(format!("{file}: {}: found, and listed as the same: {message}", mutant.change));
                (0, "found".to_owned())
            }
            (Fate::Missed, Some((.., why))) => (1, format!("the same: {why}")),
            (Fate::Missed, None) => {
                missed.push(named(file, mutant));
                (2, "MISSED".to_owned())
            }
            (Fate::Unreached, _) => (3, "no case reaches it".to_owned()),
        };
        counts.entry(mutant.operator).or_default()[place] += 1;
        println!("{}\n    {said}", named(file, mutant));
    }
    for (operator, [found, same, missed, unreached]) in &counts {
        let made = found + same + missed + unreached;
        println!(
            "{operator:?}: {made} made, {found} found, {same} same, {unreached} unreached, {missed} not"
        );
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// A mutant's name: the shader, the kind of change, the line and its function.
fn named(file: &str, mutant: &Mutant) -> String {
    format!("{file}: {:?}: {}", mutant.operator, mutant.change)
}

/// The files of all shaders of kernels.
fn shaders() -> BTreeSet<&'static str> {
    let kernels = |name| KERNELS.iter().any(|kernel| kernel.name == name);
    let all = SHADERS.iter().filter(|shader| kernels(shader.kernel));
    all.filter(|shader| emit::Target::Msl.can_have(shader.needs)).map(|shader| shader.file).collect()
}

/// The cases whose weights, if they have any, are in the usual format, and all of experts: only some have
/// biases, or rotate.
fn cases() -> Vec<(&'static Kernel, Case)> {
    let usual =
        |case: &Case| case.plan.weights.iter().all(|(_, it)| matches!(it.format().name(), "fp4" | "f32"));
    KERNELS
        .iter()
        .flat_map(|kernel| (kernel.cases)().into_iter().map(|case| (*kernel, case)))
        .filter(|(kernel, case)| usual(case) || kernel.name == "moe_experts")
        .collect()
}

/// For each shader its variants, those that most cases take first, but last those that differ from another
/// only in slots.
fn takers<'a>(
    setups: &'a [Setup],
    cases: &'a [(&'static Kernel, Case)],
    sources: &Arc<Sources>,
) -> Vec<Vec<Taken<'a>>> {
    let tasks: Vec<_> =
        setups[..2].iter().flat_map(|setup| cases.iter().map(move |case| (setup, case))).collect();
    let mut played: Vec<(BTreeSet<String>, Played<'a>)> = tasks
        .par_iter()
        .map(|(setup, (kernel, case))| {
            let start = Instant::now();
            let (variants, result) = setup.play(kernel, case, sources, (Build::Checked, 0));
            result.unwrap();
            (variants, Played { setup, kernel, case, seconds: start.elapsed().as_secs_f64() })
        })
        .collect();
    played.sort_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds));
    let taken = |variant: Variant| {
        let name = variant.name();
        let takes = played.iter().filter(|(variants, _)| variants.contains(&name));
        Taken { variant, played: takes.map(|(_, played)| *played).collect() }
    };
    let of = |file: &&'static str| {
        let shaders = SHADERS.iter().filter(|shader| shader.file == *file);
        let mut all: Vec<Taken<'a>> = shaders.flat_map(|shader| shader.variants()).map(taken).collect();
        all.retain(|taken| !taken.played.is_empty());
        all.sort_by_key(|taken| Reverse(taken.played.len()));
        let mut seen = BTreeSet::new();
        all.sort_by_cached_key(|taken| !seen.insert(format!("{:?}", taken.variant.constants)));
        all
    };
    shaders().iter().map(of).filter(|all| !all.is_empty()).collect()
}

/// What comes of a mutant of the first variant; or, if that never gets to the line or has no use for the
/// array, of the same change to others.
fn fate_of_any(variants: &[Taken<'_>], mutant: &Mutant, sources: &Arc<Sources>) -> Fate {
    let elsewhere = |taken: &Taken<'_>| {
        let alike = |it: &Mutant| (it.operator, &it.change) == (mutant.operator, &mutant.change);
        let mutant = mutants(&emit::metal(&taken.variant).unwrap().text).into_iter().find(alike)?;
        Some(fate(taken, &mutant, sources))
    };
    let mut fate_of_all = fate(&variants[0], mutant, sources);
    let is_clear = match fate_of_all {
        Fate::Found(_) => true,
        Fate::Missed => mutant.probe.is_some(),
        Fate::Unreached => false,
    };
    for fate in variants[1..].iter().filter(|_| !is_clear).filter_map(elsewhere) {
        match fate {
            Fate::Found(_) => return fate,
            Fate::Missed => fate_of_all = Fate::Missed,
            Fate::Unreached => {}
        }
    }
    fate_of_all
}

/// Plays a mutant on cases that reach it: on the quickest in many orders of threads and with a record of
/// accesses; then, until it is found, on all others, in both builds, and with the record if it lacks a
/// barrier.
fn fate(Taken { variant, played }: &Taken<'_>, mutant: &Mutant, sources: &Arc<Sources>) -> Fate {
    let with = |text: &str| Arc::new(sources.with(variant.clone(), text.to_owned()));
    let play = |it: &Played<'_>, sources: &Arc<Sources>, way| {
        let message = it.setup.play(it.kernel, it.case, sources, way).1.err()?;
        assert!(!message.contains("error:"), "{}: {message}", mutant.change);
        assert!(message.starts_with(it.kernel.name), "{message}");
        Some(message)
    };
    let probe = mutant.probe.as_deref().map(with);
    let reaches =
        |it: &&Played<'_>| probe.as_ref().is_none_or(|probe| play(it, probe, (Build::Checked, 0)).is_some());
    let changed = with(&mutant.text);
    let differs = |it: &Played<'_>, way| {
        let message = play(it, &changed, way)?;
        assert_eq!(play(it, sources, way), None, "the kernel as it is");
        Some(message)
    };
    let find = |cases: &[&Played<'_>], ways: &[(Build, u64)]| {
        ways.iter().find_map(|way| cases.iter().find_map(|it| differs(it, *way)))
    };
    let races = (Build::Races, 0);
    let orders: Vec<_> = (0..SEEDS).map(|seed| (turn(seed), seed)).chain([races]).collect();
    let mut reached = played.iter().filter(reaches);
    let quickest: Vec<&Played<'_>> = reached.by_ref().take(CASES).collect();
    if quickest.is_empty() {
        return Fate::Unreached;
    }
    let found = find(&quickest, &orders).or_else(|| {
        let races = (mutant.operator == Operator::Barrier).then_some(races);
        let ways: Vec<_> = orders[..2].iter().copied().chain(races).collect();
        find(&reached.collect::<Vec<_>>(), &ways)
    });
    found.map_or(Fate::Missed, Fate::Found)
}
