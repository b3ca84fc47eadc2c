//! The shaders of the benches, which belong to no kernel and have no cases, on their Metal sources.

#![cfg(target_os = "linux")]

use std::path::Path;

use marlin_gpu::emit::{self, Target};
use marlin_kernel::shader::{SHADERS, Variant};
use marlin_msl::{Build, Compiler, Launch, Memory};

/// Bytes of each buffer: what the kernels need for one threadgroup, and more.
const BYTES: usize = 8192;

/// Runs one threadgroup; the words of `scratch` after it. `codes` counts up.
fn run(variant: &Variant, build: Build) -> Vec<u32> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("msl");
    let metal = emit::metal(variant).unwrap();
    let kernel = Compiler::find(cache).unwrap().compile(&variant.name(), &metal.text, build).unwrap();
    let codes: Vec<u8> = (0..BYTES as u32 / 4).flat_map(u32::to_le_bytes).collect();
    let memories: Vec<Memory> = (0..10).map(|_| Memory::new(BYTES).unwrap()).collect();
    memories[4].write(0, &codes);
    let (slot, sized) = &metal.sizes;
    let sizes: Vec<u8> = sized.iter().flat_map(|_| (BYTES as u32).to_le_bytes()).collect();
    memories[*slot as usize].write(0, &sizes);
    let buffers: Vec<(u32, &Memory, usize)> = (0..).zip(&memories).map(|(slot, it)| (slot, it, 0)).collect();
    kernel.run(&Launch { seed: 3, ..Launch::new(&buffers, [1; 3], metal.threads) }).unwrap();
    memories[7].to_words()
}

#[test]
fn they_run_and_compute() {
    let shaders = SHADERS.iter().filter(|it| it.kernel == "bench" && Target::Msl.can_have(it.needs));
    let variants: Vec<Variant> = shaders.flat_map(|shader| shader.variants()).collect();
    assert_eq!(variants.len(), 3, "copy, multiply-adds, matrices");
    for variant in &variants {
        for build in [Build::Checked, Build::Fast] {
            let words = run(variant, build);
            match variant.file {
                "shader/copy" => assert!(words.iter().enumerate().all(|(at, word)| *word == at as u32)),
                _ => {
                    let all = words[..128].iter().map(|word| f32::from_bits(*word));
                    assert!(all.clone().all(f32::is_finite) && all.sum::<f32>() != 0.0, "{}", variant.name());
                }
            }
        }
    }
}
