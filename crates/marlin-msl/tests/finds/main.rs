//! Small kernels, each with one mistake or one function, as naga would write them.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use marlin_msl::{Build, Compiler, Launch, Memory};

#[test]
fn adds() {
    let cache = tempfile::tempdir().unwrap();
    let text = "\
#include <metal_stdlib>
using metal::uint;
typedef float type_1[1];
kernel void main_(
  uint i [[thread_position_in_grid]]
, device type_1& x [[buffer(0)]]
) {
    x[i] = x[i] + 1.0;
}
";
    let kernel = Compiler::find(cache.path()).unwrap().compile("add", text, Build::Checked).unwrap();
    let memory = Memory::new(256).unwrap();
    kernel.run(&Launch::new(&[(0, &memory, 0)], [2, 1, 1], [32, 1, 1])).unwrap();
    assert!(memory.to_words().iter().all(|word| *word == 1f32.to_bits()));
    let fault = kernel.run(&Launch::new(&[(0, &memory, 0)], [3, 1, 1], [32, 1, 1])).unwrap_err();
    assert!(fault.to_string().ends_with("of buffer(0) x, which has 256"), "{fault}");
}
