//! Kernels broken on purpose, in their Metal sources: each kind of mistake is found in each shader.
//!
//! Mutants are made by machine from the source of one variant of every shader: one without each of its
//! barriers, one for each element it stores with the index shifted by one, one for each matrix loaded or
//! stored the other way round, one for each threadgroup array of a single element, one with an infinity
//! where a kernel masks. They are played on the cases that execute the variant. Of each kind some are
//! tried until one is found, for a line that no case reaches cannot be; with `MARLIN_ALL_MUTANTS=1` all
//! are, and the test prints how many were made and found, and which were not.

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

/// Cases that are searched for races, the quickest, when no order of threads shows a mutant.
const RACED: usize = 3;

/// Cases of a kernel in a setup that a mutant is played on at most, the quickest.
const CASES: usize = 6;

/// Shaders that no case takes on a GPU of Apple's: they prepare 16x16 matrices.
const UNTAKEN: &[&str] = &["matmul/convert_tiles"];

/// Kinds of which no mutant is found in a shader, and why.
const HIDDEN: &[(&str, Operator, &str)] = &[];

/// A case in a setup, and the time it takes.
struct Played<'a> {
    setup: &'a Setup,
    kernel: &'static Kernel,
    case: &'a Case,
    seconds: f64,
}

/// A kind of mistake in a shader, with what came of its mutants.
#[derive(Default)]
struct Kind {
    made: usize,
    tried: usize,
    /// What was said of those that were found.
    found: Vec<String>,
    unfound: Vec<String>,
}

#[test]
#[ignore = "minutes: cargo test --release -p marlin-msl --test mutants -- --ignored --nocapture"]
fn every_kind_of_mistake_is_found_in_every_shader() {
    let all = env::var_os("MARLIN_ALL_MUTANTS").is_some_and(|value| value == "1");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("msl");
    let sources = Arc::new(Sources::new(Compiler::find(&cache).unwrap()));
    let (setups, cases) = (setups(), cases());
    let takers = takers(&setups, &cases, &sources);
    let taken: BTreeSet<&str> = takers.iter().map(|(variant, _)| variant.file).collect();
    let untaken: Vec<&str> = shaders().difference(&taken).copied().collect();
    assert_eq!(untaken, UNTAKEN, "shaders that no case takes");
    let mut kinds: BTreeMap<(usize, Operator), Vec<Mutant>> = BTreeMap::new();
    for (at, (variant, _)) in takers.iter().enumerate() {
        for mutant in mutants(&emit::metal(variant).unwrap().text) {
            kinds.entry((at, mutant.operator)).or_default().push(mutant);
        }
    }
    let kinds: Vec<_> = kinds.into_iter().collect();
    let results: Vec<Kind> = kinds
        .par_iter()
        .map(|((at, _), mutants)| {
            let (variant, played) = &takers[*at];
            let mut kind = Kind { made: mutants.len(), ..Kind::default() };
            for mutant in mutants {
                if !all && !kind.found.is_empty() {
                    break;
                }
                kind.tried += 1;
                match find(variant, played, mutant, &sources) {
                    Some(message) => kind.found.push(format!("{}: {message}", mutant.change)),
                    None => kind.unfound.push(mutant.change.clone()),
                }
            }
            kind
        })
        .collect();
    for (((at, operator), _), kind) in kinds.iter().zip(&results) {
        let Kind { made, tried, found, unfound } = kind;
        let file = takers[*at].0.file;
        println!("{file}, {operator:?}: {made} made, {tried} tried, {} found", found.len());
        found.iter().for_each(|message| println!("    found: {message}"));
        unfound.iter().for_each(|change| println!("    not found: {change}"));
    }
    let sum = |count: fn(&Kind) -> usize| results.iter().map(count).sum::<usize>();
    let (made, tried, found) = (sum(|it| it.made), sum(|it| it.tried), sum(|it| it.found.len()));
    println!("{made} mutants, {tried} tried, {found} found");
    let missed = kinds.iter().zip(&results).filter(|(_, kind)| kind.found.is_empty());
    let missed: Vec<String> = missed
        .map(|(((at, operator), _), _)| (takers[*at].0.file, *operator))
        .filter(|missed| !HIDDEN.iter().any(|(file, operator, _)| (*file, *operator) == *missed))
        .map(|(file, operator)| format!("{file}, {operator:?}"))
        .collect();
    assert!(missed.is_empty(), "no mutant was found: {missed:#?}");
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

/// What is said of a mutant when it is found: in some order of threads, or by the record of accesses.
fn find(variant: &Variant, played: &[Played<'_>], mutant: &Mutant, sources: &Sources) -> Option<String> {
    let sources = Arc::new(sources.with(variant.clone(), mutant.text.clone()));
    let play = |it: &Played<'_>, build, seed| {
        let message = it.setup.play(it.kernel, it.case, &sources, (build, seed)).1.err()?;
        assert!(!message.contains("error:"), "{}: {message}\n{}", mutant.change, mutant.text);
        assert!(message.starts_with(it.kernel.name), "{message}");
        Some(message)
    };
    let orders = (0..SEEDS).find_map(|seed| played.iter().find_map(|it| play(it, turn(seed), seed)));
    let raced = if mutant.operator == Operator::Barrier { RACED } else { 0 };
    orders.or_else(|| played.iter().take(raced).find_map(|it| play(it, Build::Races, 0)))
}
