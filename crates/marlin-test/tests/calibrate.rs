//! Calibration of whole models, on the tiny ones of goldens/: sizes that were asked for are kept, and a run
//! that is stopped anywhere continues to the bytes of one that was not.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use marlin_cpu::{CacheType, CpuOptions, CpuPlayer};
use marlin_kernel::{Player, Precision, plan::Plan};
use marlin_model::Source;
use marlin_quant::{Budget, Calibration, Error, Event, MakePlayer, Recipe, Report, calibrate};

/// Tokens of a window of the text, and windows.
const WINDOW: usize = 24;
const WINDOWS: usize = 6;

fn format(name: &str) -> &'static dyn marlin_format::Format {
    marlin_format::by_name(name).unwrap()
}

fn source(golden: &str) -> Source {
    Source::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(golden)).unwrap()
}

/// Calibrates with tokens that follow no rule; `bits` asks for a size, and `go_on` may stop the run.
fn run(
    source: &Source,
    out: &Path,
    bits: Option<f64>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Report, Box<Error>> {
    let mut make = |plan: Plan, context: usize| {
        let page_size = 8;
        let options = CpuOptions {
            threads: 2,
            precision: Precision::Exact,
            cache: Some(CacheType::F32),
            page_size,
            pages: context.div_ceil(page_size),
            ..CpuOptions::default()
        };
        let player: Box<dyn Player> = Box::new(CpuPlayer::new(plan, &options)?);
        Ok(player)
    };
    let make: &mut MakePlayer<'_> = &mut make;
    let vocab_size = marlin_model::build(source).unwrap().plan.vocab_size() as u32;
    let token = |at: u32| at.wrapping_mul(2_654_435_761) / 7 % vocab_size;
    let candidates = ["nf2", "int3", "fp4", "int8"].map(format).to_vec();
    let calibration = Calibration {
        tokens: (0..(WINDOW * WINDOWS) as u32).map(token).collect(),
        window: WINDOW,
        budget: bits.map(|bits_per_weight| Budget { bits_per_weight, candidates }),
        survey: None,
        options: String::new(),
        player: make,
    };
    let recipe = Recipe { linear: format("int3"), embed: format("int8"), head: format("int8") };
    let mut each = |_: Event<'_>| go_on();
    let done = calibrate(source, &recipe, calibration, (out, false), &[], &mut each);
    done.map(|(report, _)| report).map_err(Box::new)
}

/// Every file of a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().into(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_size_that_was_asked_for_is_kept_and_used() {
    for golden in ["glm4-moe-lite", "qwen3-moe", "smollm", "gemma3-text"] {
        let (dir, source) = (tempfile::tempdir().unwrap(), source(golden));
        let report = run(&source, &dir.path().join("out"), Some(6.0), &mut || true).unwrap();
        let formats: Vec<&str> = report.formats.iter().map(|row| row.format.as_str()).collect();
        let bits = report.bits_per_weight;
        assert!(bits <= 6.0 && bits > 5.5, "{golden}: {bits} bits in {formats:?}");
        assert!(formats.contains(&"int8") && formats.contains(&"fp4"), "{golden}: {formats:?}");
    }
}

#[test]
fn an_embedding_that_is_the_head_gets_codes_by_what_the_head_multiplies() {
    for (golden, tied) in [("smollm", true), ("gemma3-text", true), ("llama", false)] {
        let (dir, source) = (tempfile::tempdir().unwrap(), source(golden));
        let report = run(&source, &dir.path().join("out"), None, &mut || true).unwrap();
        let embedding = report.tensors.iter().find(|tensor| tensor.role == "embedding").unwrap();
        let measured = embedding.measured.as_ref();
        let rows = measured.map(|measured| measured.rows);
        assert_eq!(rows, tied.then_some((WINDOW * WINDOWS) as u64), "{golden}");
        if let Some(output) = measured.and_then(|measured| measured.relative_output_mse) {
            // Plain codes' outputs err about as much as the weights do.
            let weights = embedding.relative_mse.unwrap();
            assert!(output < 0.7 * weights, "{golden}: outputs {output}, weights {weights}");
        }
    }
}

#[test]
fn a_run_stopped_anywhere_continues_to_the_same_bytes() {
    let runs =
        [("glm4-moe-lite", None), ("glm4-moe-lite", Some(6.0)), ("smollm", None), ("smollm", Some(6.0))];
    for (golden, bits) in runs {
        let (dir, source) = (tempfile::tempdir().unwrap(), source(golden));
        let [undisturbed, out] = ["undisturbed", "out"].map(|name| dir.path().join(name));
        let mut events = 0_usize;
        let count = &mut || {
            events += 1;
            true
        };
        run(&source, &undisturbed, bits, count).unwrap();

        let mut stops = 0;
        loop {
            // Every run gets a little further into the stage at which the last one stopped.
            let mut left: usize = events / 7 + stops;
            let limit = &mut || {
                left = left.saturating_sub(1);
                left > 0
            };
            match run(&source, &out, bits, limit) {
                Ok(_) => break,
                Err(error) if matches!(*error, Error::Paused { .. }) => stops += 1,
                Err(error) => panic!("{golden}: {error}"),
            }
            assert!(!out.exists(), "{golden}: there before it is whole");
        }
        assert!(stops > 3, "{golden}: stopped {stops} times");
        assert_eq!(files(&out), files(&undisturbed), "{golden} after {stops} stops");
    }
}
