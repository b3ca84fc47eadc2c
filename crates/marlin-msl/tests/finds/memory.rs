//! Accesses where nothing is, of what nobody wrote, and by nobody's order.

use super::*;

fn of_buffer(kind: &FaultKind) -> (&str, i64, usize) {
    match kind {
        FaultKind::OutOfBounds { of, byte, len } => (of, *byte, *len),
        other => panic!("{other}"),
    }
}

#[test]
fn read_past_a_buffer() {
    let kind = fault_of("", "", "out[i] = as_type<uint>(input[i + 64u]);", 1);
    assert_eq!(of_buffer(&kind), ("buffer(1) input", 256, 256));
}

#[test]
fn write_past_a_buffer() {
    let kind = fault_of("", "", "out[i + 256u] = 1u;", 1);
    assert_eq!(of_buffer(&kind), ("buffer(0) out", 1024, 1024));
}

#[test]
fn index_below_zero_wraps_and_is_found() {
    let kind = fault_of("", "", "out[i - 1u] = 1u;", 1);
    assert_eq!(of_buffer(&kind), ("buffer(0) out", 4 * i64::from(u32::MAX), 1024));
}

#[test]
fn a_memory_bound_at_an_offset_ends_where_it_ends() {
    let kernel = compile(Build::Fast, "", "", "out[i] = 7u;").unwrap();
    let (out, input) = (Memory::new(1024).unwrap(), Memory::new(16).unwrap());
    let buffers = [(0, &out, 960), (1, &input, 0)];
    kernel.run(&Launch::new(&buffers, [1, 1, 1], [16, 1, 1])).unwrap();
    assert_eq!(out.to_words()[239..242], [0, 7, 7]);
    let fault = kernel.run(&Launch::new(&buffers, [1, 1, 1], [17, 1, 1])).unwrap_err();
    assert_eq!(of_buffer(&fault.kind), ("buffer(0) out", 1024, 1024));
    assert_eq!((fault.thread, fault.line), (Some(16), Some(15)));
}

#[test]
fn past_a_threadgroup_array_traps_in_both_builds() {
    let before = "struct type_3 {\n    uint inner[40];\n};";
    let head = ", threadgroup type_3& shared\n";
    let body = "shared.inner[i * 40u] = 1u;";
    assert_eq!(
        fault_of(before, head, body, 2).to_string(),
        "index past the end of a fixed array or vector, which is undefined"
    );
    let kernel = compile(Build::Fast, before, head, body).unwrap();
    let fault = run(&kernel, &[], 2, 0).unwrap_err();
    assert_eq!(of_buffer(&fault.kind), ("threadgroup shared", 160, 160));
}

#[test]
fn past_a_fixed_array_of_one() {
    let before = "struct type_3 {\n    uint inner[1];\n};";
    let body = "type_3 own = {};\nown.inner[i] = 1u;\nout[0] = own.inner[0];";
    assert!(matches!(fault_of(before, "", body, 2), FaultKind::Undefined { .. }));
}

#[test]
fn past_a_vector() {
    let body = "metal::uint4 x = metal::uint4(i);\nout[i] = x[i];";
    assert!(matches!(fault_of("", "", body, 5), FaultKind::Undefined { .. }));
}

/// Sums of neighbours over threadgroup memory, with the barrier or without.
fn neighbours(barrier: &str) -> (String, &'static str, String) {
    let before = "struct type_3 {\n    float inner[64];\n};".to_owned();
    let body = format!("shared.inner[i] = 1.0;\n{barrier}\nout[i] = as_type<uint>(shared.inner[63u - i]);");
    (before, ", threadgroup type_3& shared\n", body)
}

#[test]
fn a_missing_barrier_spoils_the_result_within_eight_seeds() {
    for build in [Build::Checked, Build::Fast] {
        let results = |barrier| {
            let (before, head, body) = neighbours(barrier);
            let kernel = compile(build, &before, head, &body).unwrap();
            (0..8).map(|seed| run(&kernel, &[], 64, seed).unwrap()[..64].to_vec()).collect::<Vec<_>>()
        };
        let expected = vec![1f32.to_bits(); 64];
        let with = results("metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);");
        assert!(with.iter().all(|out| *out == expected));
        assert!(results("").iter().any(|out| *out != expected));
    }
}

#[test]
fn unwritten_threadgroup_memory_is_neither_zero_nor_the_same_twice() {
    let before = "struct type_3 {\n    uint inner[64];\n};";
    let kernel =
        compile(Build::Checked, before, ", threadgroup type_3& shared\n", "out[i] = shared.inner[i];")
            .unwrap();
    let mut seen: Vec<u32> = (0..8).map(|seed| run(&kernel, &[], 64, seed).unwrap()[5]).collect();
    assert!(!seen.contains(&0));
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 4, "{seen:x?}");
}

#[test]
fn a_kernel_without_end_is_stopped() {
    let kernel = compile(Build::Checked, "", "", "while(true) {\nout[1] = out[0] + i;\n}").unwrap();
    let (out, input) = (Memory::new(1024).unwrap(), Memory::new(16).unwrap());
    let buffers = [(0, &out, 0), (1, &input, 0)];
    let patience = std::time::Duration::from_millis(100);
    let launch = Launch { patience, ..Launch::new(&buffers, [1, 1, 1], [2, 1, 1]) };
    let fault = kernel.run(&launch).unwrap_err();
    assert_eq!(fault.kind.to_string(), "still running after 100ms");
    let kernel = compile(Build::Fast, "", "", "while(true) {\nout[i] = metal::simd_sum(i);\n}").unwrap();
    assert!(matches!(kernel.run(&launch).unwrap_err().kind, FaultKind::NeverEnds { .. }));
}

#[test]
fn a_fault_leaves_the_next_run_alone() {
    let bad = compile(
        Build::Checked,
        "",
        "",
        "metal::threadgroup_barrier(metal::mem_flags::mem_none);\nout[i * 512u] = 1u;",
    );
    let good = compile(Build::Checked, "", "", "out[i] = metal::simd_sum(1u);").unwrap();
    let bad = bad.unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for seed in 0..20 {
                    run(&bad, &[], 64, seed).unwrap_err();
                    assert_eq!(run(&good, &[], 64, seed).unwrap()[63], 32);
                }
            });
        }
    });
}

#[test]
fn a_thread_with_too_many_variables() {
    let before = "struct type_3 {\n    uint inner[100000];\n};";
    let body = "type_3 own = {};\nown.inner[i] = input[i] == 0.0 ? 1u : 2u;\nout[i] = own.inner[out[0]];";
    let kernel = compile(Build::Fast, before, "", body).unwrap();
    let fault = run(&kernel, &[0.0; 64], 2, 0).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::WildAccess { .. }), "{fault}");
}
