//! What the tests of the binary share: running it, and damaged copies of the miniature.
#![allow(dead_code)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The miniature's files, which the binary has inside.
pub fn miniature() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/marlin-mini")
}

/// The binary, with no hub to ask and no tuning of this machine.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metal-marlin"));
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", std::env::temp_dir().join("no-hub"));
    command.env("MARLIN_CACHE", std::env::temp_dir().join("no-cache"));
    command
}

/// Whether there is a GPU; says so if not.
pub fn has_gpu() -> bool {
    let found = !marlin_gpu::list().is_empty();
    let required = std::env::var_os("MARLIN_REQUIRE_GPU").is_some_and(|value| value == "1");
    assert!(found || !required, "MARLIN_REQUIRE_GPU=1 and no GPU");
    if !found {
        println!("skipped: no GPU; MARLIN_REQUIRE_GPU=1 makes this a failure");
    }
    found
}

/// Runs it with `args`.
pub fn run(args: &[&str]) -> Output {
    command().args(args).output().unwrap()
}

/// Standard output of a run that must succeed.
pub fn succeed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON a run printed that must succeed.
pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["--json"]].concat())).unwrap()
}

/// Standard error of a run that must fail with exit code 1.
pub fn fail(args: &[&str]) -> String {
    let output = run(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// A copy of the miniature in a directory of its own.
pub struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    /// Copies every file.
    pub fn new() -> Copy {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(miniature().join(name), dir.path().join(name)).unwrap();
        }
        Copy { dir }
    }

    /// Where it is, as an argument.
    pub fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// Changes a file that holds JSON.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.dir.path().join(name);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }

    /// Changes the bytes of a tensor.
    pub fn edit_tensor(&self, name: &str, change: impl FnOnce(&mut [u8])) {
        let path = self.dir.path().join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
        let offsets = &header[name]["data_offsets"];
        let at = |end: usize| 8 + header_len + offsets[end].as_u64().unwrap() as usize;
        change(&mut bytes[at(0)..at(1)]);
        std::fs::write(path, bytes).unwrap();
    }

    /// Cuts the tensor file off after `len` bytes.
    pub fn truncate(&self, len: u64) {
        let path = self.dir.path().join("model.safetensors");
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    }
}
