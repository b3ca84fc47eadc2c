//! Kernels broken on purpose, in their Metal sources: every mistake that a case can meet is found.
//!
//! Mutants are made by machine from the source of one variant of every shader: one without each of its
//! barriers, one for each element it stores with the index shifted by one, one for each matrix loaded or
//! stored the other way round, one for each threadgroup array of a single element, one with an infinity
//! where a kernel masks. A trap in the place of the mistake shows which cases reach it; those are played.
//!
//! The test prints how many were made, reached and found. It fails for a mutant that is reached and not
//! found, unless [`SAME`] says why it is no mistake.

#![cfg(target_os = "linux")]

mod mutate;

use std::{
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

/// Orders of threads that a mutant is played in, the builds in turn, until it is found.
const SEEDS: u64 = 8;

/// Cases that reach a mutant and that it is played on at most, the quickest.
const CASES: usize = 4;

/// Shaders that no case takes on a GPU of Apple's: they prepare 16x16 matrices.
const UNTAKEN: &[&str] = &["matmul/convert_tiles"];

/// Mutants that do what the kernel does: the shader, a part of the line and its function, and why.
const SAME: &[(&str, &str, &str)] = &[];

/// A case in a setup, and the time it takes.
struct Played<'a> {
    setup: &'a Setup,
    kernel: &'static Kernel,
    case: &'a Case,
    seconds: f64,
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
    let taken: BTreeSet<&str> = takers.iter().map(|(variant, _)| variant.file).collect();
    let untaken: Vec<&str> = shaders().difference(&taken).copied().collect();
    assert_eq!(untaken, UNTAKEN, "shaders that no case takes");
    let of =
        |at: usize| mutants(&emit::metal(&takers[at].0).unwrap().text).into_iter().map(move |it| (at, it));
    let mutants: Vec<(usize, Mutant)> = (0..takers.len()).flat_map(of).collect();
    let fates: Vec<Fate> = mutants
        .par_iter()
        .map(|(at, mutant)| fate(&takers[*at].0, &takers[*at].1, mutant, &sources))
        .collect();
    let mut counts: BTreeMap<Operator, [usize; 4]> = BTreeMap::new();
    let mut missed = Vec::new();
    for ((at, mutant), fate) in mutants.iter().zip(&fates) {
        let file = takers[*at].0.file;
        let same = SAME.iter().find(|(shader, part, _)| *shader == file && mutant.change.contains(part));
        let (place, said) = match (fate, same) {
            (Fate::Found(message), None) => (0, format!("found: {message}")),
            (Fate::Found(message), Some(_)) => {
                missed.push(format!("{file}: {}: found, and listed as the same: {message}", mutant.change));
                (0, "found".to_owned())
            }
            (Fate::Missed, Some((.., why))) => (1, format!("the same: {why}")),
            (Fate::Missed, None) => {
                missed.push(format!("{file}: {:?}: {}", mutant.operator, mutant.change));
                (2, "MISSED".to_owned())
            }
            (Fate::Unreached, _) => (3, "no case reaches it".to_owned()),
        };
        counts.entry(mutant.operator).or_default()[place] += 1;
        println!("{file}: {:?}: {}\n    {said}", mutant.operator, mutant.change);
    }
    for (operator, [found, same, missed, unreached]) in &counts {
        let made = found + same + missed + unreached;
        println!(
            "{operator:?}: {made} made, {found} found, {same} same, {unreached} unreached, {missed} not"
        );
    }
    assert!(missed.is_empty(), "{missed:#?}");
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

/// For each shader the variant that most cases take, with these cases, quick ones first.
fn takers<'a>(
    setups: &'a [Setup],
    cases: &'a [(&'static Kernel, Case)],
    sources: &Arc<Sources>,
) -> Vec<(Variant, Vec<Played<'a>>)> {
    let tasks: Vec<_> =
        setups[..2].iter().flat_map(|setup| cases.iter().map(move |case| (setup, case))).collect();
    let played: Vec<(BTreeSet<String>, f64)> = tasks
        .par_iter()
        .map(|(setup, (kernel, case))| {
            let start = Instant::now();
            let (variants, result) = setup.play(kernel, case, sources, (Build::Checked, 0));
            result.unwrap();
            (variants, start.elapsed().as_secs_f64())
        })
        .collect();
    let takes = |name: &str| played.iter().filter(|(variants, _)| variants.contains(name)).count();
    let file = |file: &&'static str| {
        let variants =
            SHADERS.iter().filter(|shader| shader.file == *file).flat_map(|shader| shader.variants());
        let most = variants.max_by_key(|variant| takes(&variant.name()))?;
        let mut all: Vec<Played<'a>> = tasks
            .iter()
            .zip(&played)
            .filter(|(_, (variants, _))| variants.contains(&most.name()))
            .map(|((setup, (kernel, case)), (_, seconds))| Played { setup, kernel, case, seconds: *seconds })
            .collect();
        all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        (!all.is_empty()).then_some((most, all))
    };
    shaders().iter().filter_map(file).collect()
}

/// Plays a mutant, in some orders of threads and with a record of accesses, on cases that reach it.
fn fate(variant: &Variant, played: &[Played<'_>], mutant: &Mutant, sources: &Sources) -> Fate {
    let play = |it: &Played<'_>, text: &str, build, seed| {
        let sources = Arc::new(sources.with(variant.clone(), text.to_owned()));
        let message = it.setup.play(it.kernel, it.case, &sources, (build, seed)).1.err()?;
        assert!(!message.contains("error:"), "{}: {message}\n{text}", mutant.change);
        assert!(message.starts_with(it.kernel.name), "{message}");
        Some(message)
    };
    let reaches = |it: &&Played<'_>| {
        mutant.probe.as_ref().is_none_or(|probe| play(it, probe, Build::Checked, 0).is_some())
    };
    let reached: Vec<&Played<'_>> = played.iter().filter(reaches).take(CASES).collect();
    if reached.is_empty() {
        return Fate::Unreached;
    }
    let orders = (0..SEEDS).map(|seed| (turn(seed), seed)).chain([(Build::Races, 0)]);
    let found = orders
        .into_iter()
        .find_map(|(build, seed)| reached.iter().find_map(|it| play(it, &mutant.text, build, seed)));
    found.map_or(Fate::Missed, Fate::Found)
}
