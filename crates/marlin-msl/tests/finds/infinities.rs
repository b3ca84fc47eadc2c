//! Infinities and NaNs: where they are made, and who relies on them.

use super::*;

const INFINITY: &[f32] = &[f32::INFINITY, 1.0, 0.0, 3.0e38, f32::NAN, 70000.0];

#[test]
fn fast_math_shows_who_asks_for_infinity() {
    let body = "out[i] = metal::isinf(input[i]) ? 1u : 0u;";
    let first = |build| run(&compile(build, "", "", body).unwrap(), INFINITY, 1, 0).unwrap()[0];
    assert_eq!(first(Build::Checked), 1);
    assert_eq!(first(Build::Fast), 0);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn infinities_are_found_where_they_are_made() {
    for (body, expected) in [
        ("out[i] = as_type<uint>(input[1] / input[2]);", "a division by zero"),
        ("out[i] = as_type<uint>(input[3] * input[3]);", "an overflow"),
        ("out[i] = as_type<uint>(metal::exp(input[3]));", "an overflow"),
        ("out[i] = as_type<uint>(metal::log(input[2]));", "a division by zero"),
        ("out[i] = as_type<uint>(input[0] - input[0]);", "an operation without a result"),
        ("out[i] = as_type<uint>(static_cast<float>(static_cast<half>(input[5])));", "an overflow"),
        ("out[i] = as_type<uint>(metal::simd_sum(input[3]));", "an operation of the simdgroup"),
    ] {
        let fault = run(&compile(Build::Finite, "", "", body).unwrap(), INFINITY, 2, 0).expect_err(body);
        assert_eq!(fault.kind, FaultKind::NotFinite { what: expected }, "{body}");
        assert_eq!(fault.line, Some(15), "{body}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn finite_numbers_pass_whatever_their_branches_avoid() {
    let body = "metal::float3 x = metal::float3(input[1], input[3], -5.0);
        float quotient = (input[2] > 0.0) ? (input[1] / input[2]) : 2.0;
        metal::float3 y = (x / metal::float3(3.0)) * quotient;
        float z = metal::exp(-80.0) + metal::max(y.x, metal::simd_max(y.z)) + 1e-45;
        out[i] = as_type<uint>(metal::select(z, input[1] - z, z > 1.0));";
    let out = run(&compile(Build::Finite, "", "", body).unwrap(), INFINITY, 64, 0).unwrap();
    assert_eq!(f32::from_bits(out[3]), 2.0 / 3.0);
    let again = compile(Build::Checked, "", "", "out[i] = as_type<uint>(input[1] / input[2]);").unwrap();
    assert_eq!(run(&again, INFINITY, 1, 0).unwrap()[0], f32::INFINITY.to_bits());
}
