//! `quantize --calibrate` as a user runs it, on the miniature: an interrupted run continues to the same
//! bytes, and a run that takes an earlier one's survey ends with those of one that surveys itself.

mod common;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use common::{Copy, fail, miniature, run, succeed};

/// A text for calibration: the held-out text's second half, so that its first can be scored.
fn texts(dir: &Path) -> (String, String) {
    let text = std::fs::read_to_string(miniature().join("heldout.txt")).unwrap();
    let middle = (text.len() / 2..).find(|at| text.is_char_boundary(*at)).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (write("calibration.txt", &text[middle..]), write("scored.txt", &text[..middle]))
}

fn quantize<'a>(out: &'a str, text: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let start = ["quantize", "marlin-mini", "--out", out, "--calibrate", text, "--calibrate-tokens", "4096"];
    [&start, more].concat()
}

/// Every file of a model, by its name.
fn files(dir: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// The directory of a run that did not end, if there is one.
fn partial(dir: &Path) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_partial =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".out.partial-");
    entries.find(is_partial)
}

/// Starts a run and kills it when its journal has `lines` lines.
fn kill_after(dir: &Path, args: &[&str], lines: usize) {
    let mut child = common::command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let whole = |path: PathBuf| {
        let text = std::fs::read(path.join(".journal/facts")).unwrap_or_default();
        text.iter().filter(|byte| **byte == b'\n').count()
    };
    while partial(dir).map_or(0, whole) < lines {
        assert!(child.try_wait().unwrap().is_none(), "ended before {lines} lines were written");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "minutes without optimization: cargo test --release -p metal-marlin --test calibrate -- --ignored"]
fn a_killed_run_continues_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (text, _) = texts(dir.path());
    let copy = Copy::new();
    let run = |out: &str| {
        let mut args = quantize("", &text, &["--json"]);
        args[1] = copy.path();
        args[3] = out;
        args.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (undisturbed, out) = (path("undisturbed"), path("out"));
    let args = run(&undisturbed);
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());

    let args = run(&out);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for lines in [1, 2, 4, 5] {
        kill_after(dir.path(), &args, lines);
        assert!(!Path::new(&out).exists());
    }
    let output = common::run(&args);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("continuing an interrupted run: "), "{notes}");
    assert_eq!(files(&out), files(&undisturbed));
    assert_eq!(partial(dir.path()), None);
}

#[test]
fn a_survey_is_reused_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (text, other) = texts(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (first, out, survey) = (path("first"), path("out"), path("first/survey.json"));
    let copy = Copy::new();
    let size = ["--device", "cpu", "--bpw", "5", "--candidates", "int4-sym,int8"];
    let small = ["--calibrate-ctx", "8", "--calibrate-tokens", "32", "--calibrate"];
    let surveying =
        |out, text| [&["quantize", copy.path(), "--out", out], &size[..], &small, &[text]].concat();
    succeed(&surveying(&first, &text));

    let reusing = |out, text| [&surveying(out, text)[..], &["--survey", &survey]].concat();
    kill_after(dir.path(), &reusing(&out, &text), 2);
    let refused = fail(&surveying(&out, &text));
    assert!(refused.contains("left by an interrupted run, survey: found \""), "{refused}");
    let output = run(&reusing(&out, &text));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("continuing an interrupted run: "), "{notes}");
    assert!(files(&out) == files(&first), "a file differs");

    let refused = fail(&reusing(&path("refused"), &other));
    assert!(refused.contains(&format!("{survey}: a survey of another run, text: found \"")), "{refused}");
    assert!(refused.contains("surveyed anew"), "{refused}");
}
