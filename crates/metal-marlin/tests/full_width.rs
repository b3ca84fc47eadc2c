//! GLM-4.7-Flash's full width: slow, so run on demand with `cargo test --release -- --ignored`.

// Memory in use is read from /proc.
#![cfg(target_os = "linux")]

mod common;

use std::{path::Path, process::Command, time::Duration};

/// The largest tensor, the embedding table in BF16, and 2 GB.
const MEMORY_LIMIT: u64 = 2_000_000_000 + 2 * 154_880 * 2048;

/// Runs a command to its end and returns the most memory it had resident, in bytes.
fn peak_memory(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
        peak = peak.max(1024 * kib);
        if let Some(exit) = child.try_wait().unwrap() {
            assert!(exit.success(), "{command:?}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "slow: writes 7 GB and takes minutes"]
fn four_layers_quantize_within_the_memory_limit_and_run() {
    let dir = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let (dense, small) = (dir.path().join("glm4"), dir.path().join("glm4-fp4"));
    let (dense, small) = (dense.to_str().unwrap(), small.to_str().unwrap());
    let synth = ["run", "--release", "--package", "xtask", "--", "synth", "--layers", "4", "--out", dense];
    assert!(Command::new(env!("CARGO")).args(synth).status().unwrap().success());
    let shards = std::fs::read_dir(dense).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|kind| kind == "safetensors"))
    });
    assert!(shards.count() > 1, "the checkpoint has one shard only");

    let peak = peak_memory(common::command().args(["quantize", dense, "--out", small, "--quiet", "--json"]));
    println!(
        "quantize: at most {:.2} GB resident, limit {:.2} GB",
        peak as f64 / 1e9,
        MEMORY_LIMIT as f64 / 1e9
    );
    assert!(peak > 0 && peak <= MEMORY_LIMIT, "{peak} bytes resident, limit {MEMORY_LIMIT}");

    let answer = common::json(&["run", small, "--prompt", "The capital of", "--max-tokens", "4"]);
    assert_eq!(answer["new_tokens"], 4);
}
