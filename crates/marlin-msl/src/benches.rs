//! The shaders of the benches, which belong to no kernel and have no cases: run, their results looked at.

use std::time::Instant;

use marlin_gpu::emit::{self, Target};
use marlin_kernel::shader::{SHADERS, Variant};

use crate::{Build, Compiler, Launch, Memory, agreement::Found};

/// Bytes of each buffer: what the kernels need for one threadgroup, and more.
const BYTES: usize = 8192;

/// Runs every bench shader that Metal has words for in each build.
pub fn check(compiler: &Compiler) -> Found {
    let shaders = SHADERS.iter().filter(|it| it.kernel == "bench" && Target::Msl.can_have(it.needs));
    let start = Instant::now();
    let mut found = Found { kernel: "bench", ..Found::default() };
    for variant in shaders.flat_map(|shader| shader.variants()) {
        for build in [Build::Checked, Build::Fast, Build::Races] {
            let wrong = run(compiler, &variant, build).and_then(|words| look(&variant, &words));
            let name = |wrong| format!("bench, {}, {build:?}: {wrong}", variant.name());
            found.failures.extend(wrong.err().map(name));
        }
        found.cases += 1;
        found.variants.insert(variant.name());
    }
    found.time = start.elapsed();
    found
}

/// Runs one threadgroup; the words of `scratch` after it. `codes` counts up.
fn run(compiler: &Compiler, variant: &Variant, build: Build) -> Result<Vec<u32>, String> {
    let metal = emit::metal(variant).map_err(|error| error.to_string())?;
    let kernel = compiler.compile(&variant.name(), &metal.text, build).map_err(|error| error.to_string())?;
    let codes: Vec<u8> = (0..BYTES as u32 / 4).flat_map(u32::to_le_bytes).collect();
    let memories: Result<Vec<Memory>, _> = (0..10).map(|_| Memory::new(BYTES)).collect();
    let memories = memories.map_err(|error| error.to_string())?;
    memories[4].write(0, &codes);
    let (slot, sized) = &metal.sizes;
    let sizes: Vec<u8> = sized.iter().flat_map(|_| (BYTES as u32).to_le_bytes()).collect();
    memories[*slot as usize].write(0, &sizes);
    let buffers: Vec<(u32, &Memory, usize)> = (0..).zip(&memories).map(|(slot, it)| (slot, it, 0)).collect();
    let launch = Launch { seed: 3, ..Launch::new(&buffers, [1; 3], metal.threads) };
    kernel.run(&launch).map_err(|fault| fault.to_string())?;
    Ok(memories[7].to_words())
}

/// A copy holds what was copied; a sum of products is a number, and not all of them are zero.
fn look(variant: &Variant, words: &[u32]) -> Result<(), String> {
    let right = match variant.file {
        "shader/copy" => words.iter().enumerate().all(|(at, word)| *word == at as u32),
        _ => {
            let all = words[..128].iter().map(|word| f32::from_bits(*word));
            all.clone().all(f32::is_finite) && all.sum::<f32>() != 0.0
        }
    };
    right.then_some(()).ok_or_else(|| format!("wrong results: {:x?}", &words[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_run_and_compute() {
        let cache = tempfile::tempdir().unwrap();
        let found = check(&Compiler::find(cache.path()).unwrap());
        assert_eq!((found.cases, found.failures), (3, Vec::new()), "copy, multiply-adds, matrices");
    }

    #[test]
    fn a_copy_that_is_none_is_seen() {
        let copy = SHADERS.iter().find(|shader| shader.file == "shader/copy").unwrap().variants().remove(0);
        assert_eq!(look(&copy, &[0, 1, 2, 3, 4, 5, 6, 7]), Ok(()));
        assert!(look(&copy, &[0, 1, 2, 3, 4, 5, 6, 6]).is_err());
    }
}
