//! What an Apple GPU does not have, and what the language leaves undefined or the headers out.

use super::*;

#[test]
fn threadgroup_memory_of_64_kib() {
    let before = "struct type_3 {\n    float inner[8192];\n};";
    let head = ", threadgroup type_3& keys\n, threadgroup type_3& values\n";
    let kind = fault_of(before, head, "keys.inner[i] = values.inner[i];", 1);
    assert_eq!(kind.to_string(), "65536 bytes of threadgroup memory, expected at most 32768");
}

#[test]
fn a_buffer_in_slot_31() {
    let kind = fault_of("", ", constant uint& n [[buffer(31)]]\n", "out[i] = n;", 1);
    assert_eq!(kind.to_string(), "32 buffers, expected at most 31");
}

#[test]
fn more_threads_than_there_can_be() {
    let kind = fault_of("", "", "out[0] = i;", 1025);
    assert_eq!(kind.to_string(), "1025 threads in a threadgroup, expected at most 1024");
    let text = text("", "", "out[0] = i;");
    let text = text.replace("kernel void", "[[max_total_threads_per_threadgroup(64)]] kernel void");
    let kernel = COMPILER.compile("test", &text, Build::Checked).unwrap();
    let kind = run(&kernel, &[], 65, 0).unwrap_err().kind;
    assert_eq!(kind.to_string(), "65 threads in a threadgroup, expected at most 64");
}

#[test]
fn a_buffer_that_nobody_bound() {
    let kind = fault_of("", ", constant uint& n [[buffer(7)]]\n", "out[i] = n;", 1);
    assert_eq!(kind.to_string(), "buffer(7) n is not bound");
}

#[test]
fn shifts_divisions_and_conversions_without_a_value() {
    for (body, expected) in [
        ("out[0] = 1u << (i + 32u);", "shift"),
        ("out[0] = 1u / i;", "division"),
        ("int x = 2147483647;\nout[0] = as_type<uint>(x + static_cast<int>(i + 1u));", "addition overflows"),
        ("out[0] = static_cast<uint>(input[0] - 1.0);", "no value in the integer type"),
        ("out[0] = metal::clamp(i, 5u, 4u);", "clamp with a minimum above its maximum"),
        ("out[0] = metal::extract_bits(i, 30u, 3u);", "extract_bits past the last bit"),
        ("out[0] = metal::simd_shuffle(i, 32u);", "reads a lane past the end of the simdgroup"),
        ("out[0] = metal::simd_broadcast(i, static_cast<ushort>(i));", "lanes name different lanes"),
    ] {
        match fault_of("", "", body, 2) {
            FaultKind::Undefined { what } => assert!(what.contains(expected), "{body}: {what}"),
            other => panic!("{body}: {other}"),
        }
    }
}

#[test]
fn unimplemented_functions_fail_to_compile_by_name() {
    for (body, name) in [
        ("out[i] = metal::quad_broadcast(i, 1u);", "quad_broadcast"),
        ("metal::texture2d<float> x;", "texture2d"),
        ("out[i] = metal::simd_shuffle_rotate_up(i, 1u);", "simd_shuffle_rotate_up"),
        ("metal::uint4 x = metal::uint4(1u, 2u);", "no constructor takes these"),
        ("double x = 1.0;", "double"),
    ] {
        match compile(Build::Checked, "", "", body) {
            Err(Error::Compile { message, .. }) => assert!(message.contains(name), "{body}: {message}"),
            Err(other) => panic!("{body}: {other}"),
            Ok(_) => panic!("{body}: compiles"),
        }
    }
}

#[test]
fn an_argument_of_unknown_meaning() {
    match compile(Build::Checked, "", ", uint n [[dispatch_threads_per_threadgroup]]\n", "") {
        Err(Error::Signature { found, .. }) => {
            assert_eq!(found, "argument `uint n [[dispatch_threads_per_threadgroup]]`");
        }
        other => panic!("{:?}", other.err()),
    }
}
