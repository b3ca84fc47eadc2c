//! What the predecessor's shaders did, done to ours: both mistakes are found.

#![cfg(target_os = "linux")]

use std::{path::Path, sync::Arc};

use marlin_gpu::emit;
use marlin_kernel::{Case, KERNELS, Kernel, shader::Variant};
use marlin_msl::{Build, Compiler, agreement::setups, device::Sources};

/// What is said of a case of `matmul` when `change` has been made to one of its sources.
fn found(case: &str, variant: &Variant, change: impl Fn(&str) -> String) -> String {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("msl");
    let sources = Sources::new(Compiler::find(cache).unwrap());
    let text = emit::metal(variant).unwrap().text;
    let changed = change(&text);
    assert_ne!(text, changed, "nothing to change");
    let sources = Arc::new(sources.with(variant.clone(), changed));
    let (kernel, case) = matmul(case);
    let setup = &setups()[1];
    let (executed, result) = setup.play(kernel, &case, &sources, (Build::Checked, 0));
    assert!(executed.contains(&variant.name()), "{executed:?}");
    result.unwrap_err()
}

fn matmul(name: &str) -> (&'static Kernel, Case) {
    let kernel = KERNELS.iter().find(|kernel| kernel.name == "matmul").unwrap();
    let case = (kernel.cases)().into_iter().find(|case| case.name == name);
    (kernel, case.unwrap_or_else(|| panic!("no case is called {name}")))
}

/// The product of many rows without matrices, FP4.
fn product() -> Variant {
    let slots = vec![("format", "shader/format/e2m1_e4m3")];
    Variant { file: "matmul/matmul", slots, constants: Vec::new() }
}

const CASE: &str = "rows 33, [65, 272], fp4";

#[test]
fn sixty_four_kib_of_threadgroup_memory() {
    let larger = |text: &str| {
        let (_, argument) = text.split_once("threadgroup type_").unwrap();
        let (number, _) = argument.split_once('&').unwrap();
        let (before, rest) = text.split_once(&format!("struct type_{number} {{")).unwrap();
        let (element, rest) = rest.split_once(" inner[").unwrap();
        let (_, after) = rest.split_once(']').unwrap();
        format!("{before}struct type_{number} {{{element} inner[16384]{after}")
    };
    let message = found(CASE, &product(), larger);
    assert!(message.contains("matmul-e2m1_e4m3"), "{message}");
    assert!(message.contains("bytes of threadgroup memory, expected at most 32768"), "{message}");
}

#[test]
fn code_1_of_e2m1_as_a_quarter() {
    // 0.5 in the unit of the codes, 2^14.
    let halved = "metal::select(a, 0.5 * a, metal::abs(a) == metal::float2(0.000030517578125))";
    let quarter = |text: &str| text.replace("metal::float4(a, b)", &format!("metal::float4({halved}, b)"));
    let message = found(CASE, &product(), quarter);
    assert!(message.starts_with("matmul, ") && message.contains("relative error"), "{message}");
}
