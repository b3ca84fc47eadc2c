//! Matrices of columns, and those of a simdgroup.

use super::*;

#[test]
fn columns_of_float4x4() {
    let body = "metal::float4x4 m = metal::float4x4 {};
        m[0] = metal::float4(1.0, 2.0, 3.0, 4.0);
        m[2].y = 5.0;
        metal::float4 x = m * metal::float4(1.0, 0.0, 2.0, 0.0);
        metal::float4 y = metal::float4(0.0, 1.0, 0.0, 0.0) * m;
        out[0] = as_type<uint>(x.y);
        out[1] = as_type<uint>(y.z);
        out[2] = as_type<uint>(metal::transpose(m)[3].x);
        out[3] = as_type<uint>((m + m)[2][1]);";
    assert_eq!(floats_of(body, 1)[..4], [12.0, 5.0, 4.0, 10.0]);
}

const HELPERS: &str = "\
struct type_3 {
    half inner[128];
};
struct type_4 {
    float inner[64];
};
metal::simdgroup_half8x8 NagaCooperativeLoad(const threadgroup half* ptr, int stride, bool is_row_major) {
    metal::simdgroup_half8x8 m;
    simdgroup_load(m, ptr, stride, 0, is_row_major);
    return m;
}
metal::simdgroup_float8x8 NagaCooperativeMultiplyAdd(const thread metal::simdgroup_half8x8& a, \
const thread metal::simdgroup_half8x8& b, const thread metal::simdgroup_float8x8& c) {
    metal::simdgroup_float8x8 d;
    simdgroup_multiply_accumulate(d,a,b,c);
    return d;
}";

/// Multiplies two tiles of 8x8 from the input, adds 1 and writes the product twice: as it is, and transposed.
fn product(transposed: bool) -> Vec<f32> {
    let body = format!(
        "staged.inner[i] = static_cast<half>(input[i]);
        staged.inner[64u + i] = static_cast<half>(input[64u + i]);
        sums.inner[i] = 1.0;
        metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
        if (i < 32u) {{
            metal::simdgroup_half8x8 a = NagaCooperativeLoad(&staged.inner[0], 8u, false);
            metal::simdgroup_half8x8 b = NagaCooperativeLoad(&staged.inner[64], 8u, {transposed});
            metal::simdgroup_float8x8 c;
            simdgroup_load(c, &sums.inner[0], 8u);
            metal::simdgroup_float8x8 d = NagaCooperativeMultiplyAdd(a, b, c);
            simdgroup_store(d, &outs[0], 8u);
            simdgroup_store(d, &outs[128], 8u, 0, true);
        }}"
    );
    let head =
        ", device type_2& outs [[buffer(2)]]\n, threadgroup type_3& staged\n, threadgroup type_4& sums\n";
    let kernel = compile(Build::Checked, HELPERS, head, &body).unwrap();
    let input: Vec<u8> = tiles().iter().flat_map(|x| x.to_le_bytes()).collect();
    let (out, memory, outs) =
        (Memory::new(16).unwrap(), Memory::new(512).unwrap(), Memory::new(1024).unwrap());
    memory.write(0, &input);
    let buffers = [(0, &out, 0), (1, &memory, 0), (2, &outs, 0)];
    kernel.run(&Launch::new(&buffers, [1, 1, 1], [64, 1, 1])).unwrap();
    outs.to_words().into_iter().map(f32::from_bits).collect()
}

fn tiles() -> Vec<f32> {
    (0..128).map(|i| ((i * 37) % 23) as f32 - 11.0).collect()
}

#[test]
fn multiply_accumulate_is_a_plain_loop() {
    let tiles = tiles();
    for transposed in [false, true] {
        let out = product(transposed);
        for row in 0..8 {
            for column in 0..8 {
                let b = |k: usize| tiles[64 + if transposed { 8 * column + k } else { 8 * k + column }];
                let sum = (0..8).map(|k| tiles[8 * row + k] * b(k)).sum::<f32>() + 1.0;
                assert_eq!(out[8 * row + column], sum, "{row} {column} {transposed}");
                assert_eq!(out[128 + 8 * column + row], sum, "{row} {column} {transposed}");
            }
        }
    }
    assert_ne!(product(false), product(true));
}

#[test]
fn lanes_must_agree_on_a_tile() {
    for (at, stride, transposed, expected) in [
        ("i & 1u", "8u", "false", "lanes give different addresses"),
        ("0", "8u + (i & 1u)", "false", "lanes give different strides or origins"),
        ("0", "8u", "(i & 1u) == 0u", "lanes disagree on the transposition"),
    ] {
        let body = format!(
            "metal::simdgroup_float8x8 m;\nsimdgroup_load(m, &input[{at}], {stride}, 0, {transposed});\n\
             out[i] = 1u;"
        );
        let kind = fault_of("", "", &body, 32);
        assert!(kind.to_string().contains(expected), "{kind}");
    }
}

#[test]
fn a_tile_past_the_end() {
    let body = "metal::simdgroup_float8x8 m;\nsimdgroup_load(m, &input[1], 8u);\nout[i] = 1u;";
    match fault_of("", "", body, 32) {
        FaultKind::OutOfBounds { of, byte: 256, .. } => assert_eq!(of, "buffer(1) input"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_simdgroup_of_another_size_has_no_matrices() {
    let kernel = compile(
        Build::Checked,
        "",
        "",
        "metal::simdgroup_float8x8 m;\nsimdgroup_load(m, &input[0], 8u);\nout[i] = 1u;",
    )
    .unwrap();
    let (out, input) = (Memory::new(1024).unwrap(), Memory::new(256).unwrap());
    let buffers = [(0, &out, 0), (1, &input, 0)];
    let launch = Launch { simdgroup: 16, ..Launch::new(&buffers, [1, 1, 1], [32, 1, 1]) };
    let fault = kernel.run(&launch).unwrap_err();
    assert!(fault.to_string().contains("a simdgroup_matrix needs a simdgroup of 32"), "{fault}");
}
