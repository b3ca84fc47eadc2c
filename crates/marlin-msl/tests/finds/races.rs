//! Accesses that nothing orders, in the build that records them.

use super::*;

const BEFORE: &str =
    "struct type_3 {\n    uint inner[64];\n};\nstruct type_4 {\n    metal::atomic_uint inner[4];\n};";
const HEAD: &str = "\
, metal::uint3 group [[threadgroup_position_in_grid]]
, threadgroup type_3& shared
, threadgroup type_4& counts
";

fn found(body: &str, grid: u32) -> Option<Box<Fault>> {
    let kernel = compile(Build::Races, BEFORE, HEAD, body).unwrap();
    let (out, input) = (Memory::new(1024).unwrap(), Memory::new(16).unwrap());
    let buffers = [(0, &out, 0), (1, &input, 0)];
    kernel.run(&Launch::new(&buffers, [grid, 1, 1], [64, 1, 1])).err()
}

fn race(body: &str, grid: u32) -> (String, &'static str, &'static str) {
    match found(body, grid).expect("a fault").kind {
        FaultKind::Race { of, one, other, .. } => (of, one, other),
        other => panic!("{body}: {other}"),
    }
}

fn barrier(flags: &str) -> String {
    format!("metal::threadgroup_barrier(metal::mem_flags::{flags});")
}

#[test]
fn a_missing_barrier_is_a_race_whatever_came_of_it() {
    let body = "shared.inner[i] = 1u;\nout[i] = shared.inner[i ^ 1u];";
    let fault = found(body, 1).unwrap();
    match &fault.kind {
        FaultKind::Race { of, .. } => assert_eq!(of, "threadgroup shared"),
        FaultKind::Unwritten { of, .. } => assert_eq!(of, "threadgroup shared"),
        other => panic!("{other}"),
    }
    let body = format!(
        "shared.inner[i] = 1u;\n{}\nout[64u * group.x + i] = shared.inner[i ^ 1u];",
        barrier("mem_threadgroup")
    );
    assert_eq!(found(&body, 3), None);
}

#[test]
fn both_lines_are_named() {
    let fence = barrier("mem_threadgroup");
    let body =
        format!("shared.inner[i] = 1u;\n{fence}\nuint x = shared.inner[63u - i];\nshared.inner[i] = x + 1u;");
    let fault = found(&body, 1).unwrap();
    let FaultKind::Race { other_line: Some(other), .. } = fault.kind else { panic!("{fault}") };
    let mut lines = [fault.line.unwrap(), other];
    lines.sort_unstable();
    assert_eq!(lines[1] - lines[0], 1, "{fault}");
}

#[test]
fn a_barrier_orders_only_what_its_flags_name() {
    let body = |flags| format!("out[i] = i;\n{}\nuint x = out[63u - i];\nout[64u + i] = x;", barrier(flags));
    assert_eq!(found(&body("mem_device"), 1), None);
    let (of, ..) = race(&body("mem_threadgroup"), 1);
    assert_eq!(of, "buffer(0) out");
}

#[test]
fn a_simdgroup_operation_orders_no_memory_but_its_barrier_does() {
    let body = |between: &str| {
        format!("shared.inner[i] = i;\n{between}\nout[64u * group.x + i] = shared.inner[i ^ 1u];")
    };
    race(&body("uint all = metal::simd_sum(i);"), 1);
    let fence = "metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup);";
    assert_eq!(found(&body(fence), 1), None);
    let body = body(fence).replace("i ^ 1u", "i ^ 32u");
    assert!(found(&body, 1).is_some());
}

#[test]
fn threadgroups_that_share_a_word() {
    assert_eq!(race("out[i] = 1u;", 2), ("buffer(0) out".into(), "writes", "writes"));
    assert_eq!(found("out[64u * group.x + i] = out[64u * group.x + i] + 1u;", 2), None);
}

#[test]
fn atomics_do_not_race_with_atomics() {
    let add = "metal::atomic_fetch_add_explicit(&counts.inner[0], 1u, metal::memory_order_relaxed);";
    let start = format!(
        "if (i == 0u) {{\n\
         metal::atomic_store_explicit(&counts.inner[0], 0u, metal::memory_order_relaxed);\n}}\n{}",
        barrier("mem_threadgroup")
    );
    assert_eq!(found(&format!("{start}\n{add}"), 2), None);
    let plain = "out[i] = *(threadgroup uint*)&counts.inner[0];";
    let (of, one, other) = race(&format!("{start}\n{add}\n{plain}"), 1);
    assert_eq!(of, "threadgroup counts");
    assert!(one.contains("atomically") || other.contains("atomically"), "{one} {other}");
}

#[test]
fn an_atomic_store_is_ordered_with_what_it_undoes() {
    let store = |who: &str, value: &str| {
        format!(
            "if ({who}) {{\nmetal::atomic_store_explicit(&counts.inner[0], {value}, \
             metal::memory_order_relaxed);\n}}\n"
        )
    };
    let start = |flags| format!("{}{}\n", store("i == 0u", "0u"), barrier(flags));
    // Threads wait for each other, but nothing says which store stays.
    let set = store("i == 5u", "1u");
    assert_eq!(race(&(start("mem_device") + &set), 1).0, "threadgroup counts");
    assert_eq!(found(&(start("mem_threadgroup") + &set), 2), None);
    let all = store("i % 3u == 0u", "1u");
    assert_eq!(found(&(start("mem_threadgroup") + &all), 1), None);
    let read = "out[64u * group.x + i] = metal::atomic_load_explicit(&counts.inner[0], \
                metal::memory_order_relaxed);";
    assert_eq!(race(&format!("{}{set}{read}", start("mem_threadgroup")), 1).0, "threadgroup counts");
}

#[test]
fn a_write_that_is_ordered_with_most_reads_but_not_all() {
    // Simdgroup 0 reads, often before simdgroup 1 does, and writes after a barrier of its own.
    let body = |readers: u32| {
        format!(
            "if (i == 0u) {{ shared.inner[0] = 1u; }}\n{}\nuint x = 0u;\n\
             if (i < {readers}u) {{ x = shared.inner[0]; }}\n{}\n\
             if (i == 3u) {{ shared.inner[0] = x + 1u; }}",
            barrier("mem_threadgroup"),
            "metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup);"
        )
    };
    assert_eq!(found(&body(32), 8), None);
    assert_eq!(race(&body(64), 8).0, "threadgroup shared");
}

#[test]
fn threadgroup_memory_that_nobody_wrote() {
    let fault = found(&format!("{}\nout[i] = shared.inner[i];", barrier("mem_threadgroup")), 1).unwrap();
    assert_eq!(
        fault.kind,
        FaultKind::Unwritten { of: "threadgroup shared".into(), byte: 4 * i64::from(fault.thread.unwrap()) }
    );
    assert!(fault.line.is_some());
}

#[test]
fn lanes_storing_tiles_over_each_other() {
    let body = "metal::simdgroup_float8x8 m = {};\nsimdgroup_store(m, (device float*)&out[0], 8u);";
    let (of, ..) = race(body, 1);
    assert_eq!(of, "buffer(0) out");
}
