//! Kernels broken on purpose, in their Metal sources: each must be found.
//!
//! Mutants are made by machine from the source of one variant of every shader: one without each of its
//! barriers, one for each element it stores with the index shifted by one, one for each matrix loaded or
//! stored the other way round, one for each threadgroup array half as long, one with an infinity where a
//! kernel masks. Each is played on the cases that take the variant until it is found. Those that nobody can
//! find, because they compute the same, are listed with the reason.

mod mutate;

use std::{
    collections::{BTreeMap, BTreeSet},
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
    Compiler,
    agreement::{Setup, setups},
    device::Sources,
};
use mutate::{Mutant, Operator, mutants};
use rayon::prelude::*;

/// Orders of threads that a mutant is played in, the builds in turn, until it is found.
const SEEDS: u64 = 8;

/// Cases of a kernel in a setup that a mutant is played on at most, the quickest.
const CASES: usize = 12;

/// Mutants that compute what the kernel computes: shader, operator, the line that is changed, why.
const EQUIVALENT: &[(&str, Operator, &str, &str)] = &[];

/// A case in a setup, and the time it takes.
struct Played<'a> {
    setup: &'a Setup,
    kernel: &'static Kernel,
    case: &'a Case,
    seconds: f64,
}

#[test]
fn every_mutant_is_found() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("msl");
    let compiler = Compiler::find(&cache).unwrap();
    let sources = Arc::new(Sources::new(compiler));
    let (setups, cases) = (setups(), cases());
    let takers = takers(&setups, &cases, &sources);
    let all: Vec<(&Variant, &Vec<Played<'_>>, Mutant)> = takers
        .iter()
        .flat_map(|(variant, played)| {
            let text = emit::metal(variant).unwrap().text;
            mutants(&text).into_iter().map(move |mutant| (variant, played, mutant))
        })
        .collect();
    let found: Vec<Option<String>> =
        all.par_iter().map(|(variant, played, mutant)| find(variant, played, mutant, &sources)).collect();
    let mut counts: BTreeMap<(&str, Operator), [usize; 2]> = BTreeMap::new();
    let mut unfound = Vec::new();
    for ((variant, _, mutant), found) in all.iter().zip(&found) {
        let count = counts.entry((variant.file, mutant.operator)).or_default();
        count[0] += 1;
        match found {
            Some(message) => {
                count[1] += 1;
                println!("{}, {}: {message}", variant.name(), mutant.change);
            }
            None => unfound.push((variant.file, mutant.operator, mutant.change.as_str())),
        }
    }
    for ((file, operator), [made, caught]) in &counts {
        println!("{file:32} {operator:?}: {made} made, {caught} found");
    }
    let caught = found.iter().flatten().count();
    println!("{} mutants, {caught} found, {} known to compute the same", found.len(), EQUIVALENT.len());
    let known: BTreeSet<_> =
        EQUIVALENT.iter().map(|(file, operator, change, _)| (*file, *operator, *change)).collect();
    let unknown: Vec<_> = unfound.iter().filter(|mutant| !known.contains(mutant)).collect();
    assert!(unknown.is_empty(), "not found: {unknown:#?}");
    let stale: Vec<_> = known.iter().filter(|mutant| !unfound.contains(mutant)).collect();
    assert!(stale.is_empty(), "found, or not made any more: {stale:#?}");
    assert_eq!(takers.len(), shaders().len(), "a shader has no mutants");
}

/// The files of all shaders of kernels.
fn shaders() -> BTreeSet<&'static str> {
    let kernels = |name| KERNELS.iter().any(|kernel| kernel.name == name);
    let all = SHADERS.iter().filter(|shader| kernels(shader.kernel));
    all.filter(|shader| emit::Target::Msl.can_have(shader.needs)).map(|shader| shader.file).collect()
}

/// The cases whose weights, if they have any, are in the usual format.
fn cases() -> Vec<(&'static Kernel, Case)> {
    let usual =
        |case: &Case| case.plan.weights.iter().all(|(_, it)| matches!(it.format().name(), "fp4" | "f32"));
    KERNELS
        .iter()
        .flat_map(|kernel| (kernel.cases)().into_iter().map(|case| (*kernel, case)))
        .filter(|(_, case)| usual(case))
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
            let (variants, result) = setup.play(kernel, case, sources, 0);
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
        let mut counts = BTreeMap::new();
        all.retain(|it| {
            let count: &mut usize = counts.entry((it.setup.name, it.kernel.name)).or_default();
            *count += 1;
            *count <= CASES
        });
        (!all.is_empty()).then_some((most, all))
    };
    shaders().iter().filter_map(file).collect()
}

/// What is said of a mutant when it is found.
fn find(variant: &Variant, played: &[Played<'_>], mutant: &Mutant, sources: &Sources) -> Option<String> {
    let sources = Arc::new(sources.with(variant.clone(), mutant.text.clone()));
    (0..SEEDS).find_map(|seed| {
        played.iter().find_map(|it| {
            let message = it.setup.play(it.kernel, it.case, &sources, seed).1.err()?;
            assert!(!message.contains("error:"), "{}: {message}\n{}", mutant.change, mutant.text);
            assert!(message.starts_with(it.kernel.name), "{message}");
            Some(message)
        })
    })
}
