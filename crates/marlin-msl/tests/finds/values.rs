//! Functions give what the specification says.

use super::*;

#[test]
fn reductions() {
    assert_eq!(out_of("out[i] = metal::simd_sum(i);", 64)[31..33], [31 * 16, 32 * 32 + 31 * 16]);
    assert_eq!(out_of("out[i] = metal::simd_min(i + 3u);", 64)[63], 35);
    assert_eq!(out_of("out[i] = metal::simd_max(i);", 64)[0], 31);
    assert_eq!(out_of("out[i] = metal::simd_xor(i);", 33)[32], 32);
    assert_eq!(floats_of("out[i] = as_type<uint>(metal::simd_product((i == 3u) ? 5.0 : 1.0));", 32)[9], 5.0);
    let vector = "metal::float4 x = metal::simd_sum(metal::float4(1.0, 2.0, 3.0, static_cast<float>(i)));\n\
                  out[i] = as_type<uint>(x[i % 4u]);";
    assert_eq!(floats_of(vector, 32)[..4], [32.0, 64.0, 96.0, 496.0]);
}

#[test]
fn prefixes() {
    assert_eq!(out_of("out[i] = metal::simd_prefix_exclusive_sum(i + 1u);", 64)[30..34], [465, 496, 0, 33]);
    assert_eq!(out_of("out[i] = metal::simd_prefix_inclusive_sum(i);", 32)[..4], [0, 1, 3, 6]);
    assert_eq!(out_of("out[i] = metal::simd_prefix_inclusive_product(2u);", 8)[7], 256);
}

#[test]
fn lanes_read_lanes() {
    assert_eq!(out_of("out[i] = metal::simd_shuffle_xor(i, 5u);", 64)[40], 45);
    assert_eq!(out_of("out[i] = metal::simd_shuffle(i, static_cast<ushort>(31u - i));", 32)[3], 28);
    assert_eq!(out_of("out[i] = metal::simd_broadcast(i, 7u);", 64)[33], 39);
    assert_eq!(out_of("out[i] = metal::simd_broadcast_first(i);", 64)[63], 32);
    assert_eq!(out_of("out[i] = metal::simd_shuffle_up(i, 2u);", 32)[9], 7);
}

#[test]
fn votes() {
    assert_eq!(out_of("out[i] = metal::simd_any(i == 9u) ? 1u : 0u;", 64)[31..33], [1, 0]);
    assert_eq!(out_of("out[i] = metal::simd_all(i < 33u) ? 1u : 0u;", 64)[31..33], [1, 0]);
    let ballot = "out[i] = metal::uint4((uint64_t)metal::simd_ballot((i & 3u) == 0u), 0, 0, 0).x;";
    assert_eq!(out_of(ballot, 32)[0], 0x1111_1111);
}

#[test]
fn a_barrier_orders_what_threads_write() {
    let body = "out[i] = i;\nmetal::threadgroup_barrier(metal::mem_flags::mem_device);\n\
                uint x = out[63u - i];\n\
                metal::threadgroup_barrier(metal::mem_flags::mem_device);\nout[i] = x;";
    assert_eq!(out_of(body, 64)[..2], [63, 62]);
}

#[test]
fn halves_round_after_each_operation() {
    let body = "half x = static_cast<half>(2048.0);\nhalf one = static_cast<half>(1.0);\n\
                out[i] = as_type<uint>(static_cast<float>((x + one) - x));\n\
                out[i + 1u] = as_type<uint>(static_cast<float>(2049.0h));\n\
                out[i + 2u] = as_type<uint>(half2(metal::float2(1.0, -2.0)));";
    let out = out_of(body, 1);
    assert_eq!([f32::from_bits(out[0]), f32::from_bits(out[1])], [0.0, 2048.0]);
    assert_eq!(out[2], 0xc000_3c00);
}

#[test]
fn literals_are_single() {
    assert_eq!(out_of("out[i] = (0.1 == as_type<float>(0x3dcccccdu)) ? 1u : 0u;", 1)[0], 1);
}

#[test]
fn comparisons_of_vectors_are_booleans() {
    let body = "metal::bool4 less = metal::uint4(i, 1u, 2u, 3u) < metal::uint4(2u);\n\
                metal::float4 x = metal::select(metal::float4(7.0), metal::float4(9.0), less);\n\
                out[0] = as_type<uint>(x.x + (10.0 * x.z));\n\
                out[1] = static_cast<metal::uint4>(less).y;\n\
                out[2] = static_cast<metal::uint4>(metal::float4(1.0) > metal::float4(0.0)).w;\n\
                out[3] = metal::any(!less) ? 1u : 0u;\n\
                out[4] = metal::all(less) ? 1u : 0u;\n\
                out[5] = (less | !less).w ? 1u : 0u;";
    let out = out_of(body, 1);
    assert_eq!(f32::from_bits(out[0]), 79.0);
    assert_eq!(out[1..6], [1, 1, 1, 0, 1]);
}

#[test]
fn vectors_of_signed_integers() {
    let body = "metal::int4 a = metal::int4(-7, 7, static_cast<int>(i), 1);
        metal::int4 b = (a * 3) / metal::int4(2);
        out[0] = as_type<uint>(b.x);
        out[1] = as_type<uint>(metal::clamp(a, metal::int4(-2), metal::int4(2)).x);
        out[2] = static_cast<metal::uint4>(a < metal::int4(0)).x;
        out[3] = as_type<metal::uint4>(a).x;
        out[4] = as_type<uint>(static_cast<metal::float4>(a).x);
        out[5] = as_type<uint>(metal::select(a, -a, a < 0).x);
        out[6] = as_type<uint>((a >> metal::uint4(1u)).x);
        out[7] = as_type<uint>(static_cast<metal::int4>(metal::float4(-2.5)).y);";
    let expected = [-10, -2, 1, -7, (-7f32).to_bits() as i32, 7, -4, -2];
    assert_eq!(out_of(body, 1)[..8], expected.map(|x: i32| x as u32));
    let kind = fault_of("", "", "metal::int2 x = metal::int2(1);\nout[0] = as_type<uint>(x[i + 2u]);", 1);
    assert!(kind.to_string().contains("a lane past the end"), "{kind}");
}

#[test]
fn constructors_and_swizzles() {
    let body = "metal::float4 a = metal::float4(metal::float2(1.0, 2.0), 3.0, 4.0);\n\
                metal::float4 b = metal::float4(a.wz, a.xy);\n\
                metal::float3 c = metal::float3(b.x, a.yz);\n\
                out[0] = as_type<uint>(metal::dot(a, b));\n\
                out[1] = as_type<uint>(c.x + c.z);\n\
                out[2] = as_type<uint>(metal::dot(metal::float3(half3(c)), metal::float3(1.0)));\n\
                out[3] = (metal::uint4(0x12345678u) >> metal::uint4(0u, 4u, 8u, 12u)).w & 15u;";
    let out = out_of(body, 1);
    assert_eq!(out[..3].iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>(), [21.0, 7.0, 9.0]);
    assert_eq!(out[3], 5);
}

#[test]
fn integers_and_bits() {
    let body = "out[0] = metal::popcount(0xf0f1u);\nout[1] = metal::clz(i);\nout[2] = metal::ctz(40u);\n\
                out[3] = metal::reverse_bits(1u);\nout[4] = metal::extract_bits(0xabcdu, 4u, 8u);\n\
                out[5] = metal::mulhi(0x80000000u, 6u);\nout[6] = as_type<uint>(metal::abs(-5));\n\
                out[7] = metal::clamp(9u, 2u, 4u);";
    assert_eq!(out_of(body, 1)[..8], [9, 32, 3, 1 << 31, 0xbc, 3, 5, 4]);
}

#[test]
fn functions_of_floats() {
    let body = "out[0] = as_type<uint>(metal::fma(2.0, 3.0, 4.0));\n\
                out[1] = as_type<uint>(metal::rsqrt(16.0));\nout[2] = as_type<uint>(metal::ceil(1.25));\n\
                out[3] = as_type<uint>(metal::max(-1.0, metal::exp(0.0)));\n\
                out[4] = as_type<uint>(metal::rint(2.5));\nout[5] = as_type<uint>(metal::round(2.5));\n\
                out[6] = as_type<uint>(metal::fract(-0.25));\n\
                out[7] = as_type<uint>(metal::mix(1.0, 3.0, 0.5));\n\
                out[8] = as_type<uint>(metal::sign(-3.0));\nout[9] = as_type<uint>(metal::step(2.0, 2.0));";
    assert_eq!(floats_of(body, 1)[..10], [10.0, 0.25, 2.0, 1.0, 2.0, 3.0, 0.75, 2.0, -1.0, 1.0]);
}

#[test]
fn atomics() {
    let before = "struct type_3 {\n    metal::atomic_uint inner[4];\n};";
    let head = ", threadgroup type_3& counts\n";
    let body = "metal::memory_order order = metal::memory_order_relaxed;
        if (i < 4u) {
            metal::atomic_store_explicit(&counts.inner[i], 0u, metal::memory_order_relaxed);
        }
        metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
        uint place = metal::atomic_fetch_add_explicit(&counts.inner[i & 1u], 1u, metal::memory_order_relaxed);
        metal::atomic_fetch_max_explicit(&counts.inner[2], i, metal::memory_order_relaxed);
        metal::atomic_fetch_or_explicit(&counts.inner[3], 1u << (i & 31u), metal::memory_order_relaxed);
        out[4u + 2u * place + (i & 1u)] = 1u;
        metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
        if (i < 4u) {
            out[i] = metal::atomic_load_explicit(&counts.inner[i], order);
        }";
    let kernel = compile(Build::Checked, before, head, body).unwrap();
    for seed in 0..4 {
        let out = run(&kernel, &[], 64, seed).unwrap();
        assert_eq!(out[..4], [32, 32, 63, u32::MAX]);
        assert_eq!(out[4..69], [[1; 64].as_slice(), &[0]].concat());
    }
}

#[test]
fn who_a_thread_is() {
    let head = "\
, metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 at [[thread_position_in_grid]]
, metal::uint2 own [[thread_position_in_threadgroup]]
, metal::uint3 groups [[threadgroups_per_grid]]
, metal::uint3 threads [[threads_per_threadgroup]]
, uint subgroup [[simdgroup_index_in_threadgroup]]
, uint subgroups [[simdgroups_per_threadgroup]]
, uint lane [[thread_index_in_simdgroup]]
, uint lanes [[threads_per_simdgroup]]
";
    let body = "uint to = 12u * ((group.z * groups.y + group.y) * groups.x + group.x);
        if (i == 37u) {
            out[to] = group.x;
            out[to + 1u] = group.y;
            out[to + 2u] = group.z;
            out[to + 3u] = at.x;
            out[to + 4u] = at.y;
            out[to + 5u] = own.x;
            out[to + 6u] = own.y;
            out[to + 7u] = subgroup;
            out[to + 8u] = subgroups;
            out[to + 9u] = lane;
            out[to + 10u] = lanes;
            out[to + 11u] = threads.x;
        }";
    let kernel = compile(Build::Checked, "", head, body).unwrap();
    let (out, input) = (Memory::new(1024).unwrap(), Memory::new(16).unwrap());
    let buffers = [(0, &out, 0), (1, &input, 0)];
    kernel.run(&Launch::new(&buffers, [2, 3, 2], [10, 5, 1])).unwrap();
    let at = 12 * (2 * 3 - 1 + 2 * 3);
    assert_eq!(out.to_words()[at..at + 12], [1, 2, 1, 17, 13, 7, 3, 1, 2, 5, 32, 10]);
}
