//! Small kernels, each with one mistake or one function, as naga would write them.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod infinities;
mod limits;
mod matrices;
mod meetings;
mod memory;
mod races;
mod values;

use std::{path::Path, sync::LazyLock};

use marlin_msl::{Build, Compiler, Error, Fault, FaultKind, Kernel, Launch, Memory};

static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
static COMPILER: LazyLock<Compiler> = LazyLock::new(|| Compiler::find(CACHE.path() as &Path).unwrap());

/// A kernel with `out` bound to slot 0, `input` to slot 1, and whatever else the head says.
fn text(before: &str, head: &str, body: &str) -> String {
    format!(
        "#include <metal_stdlib>
#include <simd/simd.h>

using metal::uint;

typedef uint type_1[1];
typedef float type_2[1];
{before}

kernel void main_(
  uint i [[thread_index_in_threadgroup]]
, device type_1& out [[buffer(0)]]
, device type_2 const& input [[buffer(1)]]
{head}) {{
{body}
}}
"
    )
}

fn compile(build: Build, before: &str, head: &str, body: &str) -> Result<Kernel, Error> {
    COMPILER.compile("test", &text(before, head, body), build)
}

/// Runs one threadgroup of so many threads over 256 words of output, and the input given.
fn run(kernel: &Kernel, input: &[f32], threads: u32, seed: u64) -> Result<Vec<u32>, Box<Fault>> {
    let out = Memory::new(1024).unwrap();
    let memory = Memory::new(4 * input.len()).unwrap();
    memory.write(0, &input.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
    let buffers = [(0, &out, 0), (1, &memory, 0)];
    kernel.run(&Launch { seed, ..Launch::new(&buffers, [1, 1, 1], [threads, 1, 1]) })?;
    Ok(out.to_words())
}

/// What the checked build of a kernel puts out.
fn out_of(body: &str, threads: u32) -> Vec<u32> {
    run(&compile(Build::Checked, "", "", body).unwrap(), &[], threads, 0).unwrap()
}

/// The same as numbers.
fn floats_of(body: &str, threads: u32) -> Vec<f32> {
    out_of(body, threads).into_iter().map(f32::from_bits).collect()
}

/// What is wrong with the checked build of a kernel.
fn fault_of(before: &str, head: &str, body: &str, threads: u32) -> FaultKind {
    let kernel = compile(Build::Checked, before, head, body).unwrap();
    run(&kernel, &[0.0; 64], threads, 0).expect_err("a fault").kind
}
