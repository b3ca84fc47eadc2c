//! Barriers and simdgroup operations that not all threads reach.

use super::*;

const BARRIER: &str = "metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);";

fn divergence(body: &str) -> String {
    match fault_of("", "", body, 64) {
        kind @ FaultKind::Divergence { .. } => kind.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_thread_returns_while_others_wait() {
    let said = divergence(&format!("if (i == 40u) {{\nreturn;\n}}\n{BARRIER}\nout[i] = i;"));
    assert!(said.contains("threadgroup_barrier in line"), "{said}");
    assert!(said.ends_with("thread 40 has returned"), "{said}");
}

#[test]
fn halves_of_a_threadgroup_at_different_barriers() {
    let said = divergence(&format!("if (i < 32u) {{\n{BARRIER}\n}} else {{\n{BARRIER}\n}}\nout[i] = i;"));
    assert_eq!(said.matches("threadgroup_barrier in line").count(), 2, "{said}");
}

#[test]
fn one_branch_of_a_simdgroup_at_a_barrier() {
    let said = divergence(&format!("if ((i & 1u) == 0u) {{\n{BARRIER}\n}}\nout[i] = metal::simd_sum(i);"));
    assert!(said.contains("threadgroup_barrier") && said.contains("simd_sum"), "{said}");
}

#[test]
fn lanes_at_different_operations() {
    let said =
        divergence("if (i < 5u) {\nout[i] = metal::simd_sum(i);\n} else {\nout[i] = metal::simd_max(i);\n}");
    assert!(said.contains("simd_sum in line") && said.contains("simd_max in line"), "{said}");
}

#[test]
fn lanes_at_one_operation_called_twice() {
    let body = "uint x = i;\nif (i < 5u) {\nx = metal::simd_sum(x);\n} else {\n\
                x = metal::simd_sum(x);\n}\nout[i] = x;";
    divergence(body);
}

#[test]
fn a_simdgroup_may_do_without_returned_lanes_but_not_read_them() {
    let early = "if (i >= 20u) {\nreturn;\n}\n";
    assert_eq!(out_of(&format!("{early}out[i] = metal::simd_sum(1u);"), 32)[..21], {
        let mut expected = [20; 21];
        expected[20] = 0;
        expected
    });
    let kind = fault_of("", "", &format!("{early}out[i] = metal::simd_shuffle(i, 25u);"), 32);
    assert!(kind.to_string().contains("simd_shuffle: reads a lane that has returned"), "{kind}");
}

#[test]
fn whole_threadgroups_return_early() {
    assert_eq!(out_of(&format!("if (out[0] == 0u) {{\nreturn;\n}}\n{BARRIER}\nout[i] = 1u;"), 64)[0], 0);
}

#[test]
fn sizes_of_simdgroups_are_what_the_launch_says() {
    let kernel = compile(Build::Checked, "", "", "out[i] = metal::simd_sum(1u);").unwrap();
    let (out, input) = (Memory::new(1024).unwrap(), Memory::new(16).unwrap());
    let buffers = [(0, &out, 0), (1, &input, 0)];
    for simdgroup in [8, 32, 64] {
        kernel.run(&Launch { simdgroup, ..Launch::new(&buffers, [1, 1, 1], [64, 1, 1]) }).unwrap();
        assert_eq!(out.to_words()[..64], [simdgroup; 64]);
    }
}
