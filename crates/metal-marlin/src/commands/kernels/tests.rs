//! What the rows of the table say of a kernel that was tested, that failed, and that has no case.

use std::collections::BTreeMap;

use marlin_kernel::KERNELS;

use super::{FORMATS, Row, Seen, doctor};

fn states(rows: &[Row]) -> Vec<(&str, &[&'static str])> {
    rows.iter().map(|row| (row.state.as_str(), row.formats.as_slice())).collect()
}

#[test]
fn a_failure_is_told_apart_from_what_agrees_and_what_has_no_case() {
    let matmul = doctor::chosen(Some("matmul")).unwrap()[0];
    let failed = BTreeMap::from([("gpu", BTreeMap::from([("mxfp4", 3)]))]);
    let seen = Seen { formats: ["f32", "fp4", "mxfp4"].into(), failed };
    let gpu = seen.rows(matmul, "gpu");
    let rest: Vec<&str> =
        FORMATS.iter().map(|format| format.name()).filter(|name| !seen.formats.contains(name)).collect();
    let find = |state: &str| states(&gpu).into_iter().find(|row| row.0 == state).map(|row| row.1.to_vec());
    assert_eq!(find("failed here: 3 cases"), Some(vec!["mxfp4"]));
    assert_eq!(find("verified here").map(|formats| formats.len()), Some(2));
    assert_eq!(find("not run: no case has it"), Some(rest));
    assert_eq!(seen.rows(matmul, "cpu")[0].state, "verified by CI");
}

#[test]
fn kernels_without_weights_have_one_row() {
    let add = doctor::chosen(Some("add")).unwrap()[0];
    let seen = Seen::of(add, &[], &mut Vec::new(), || ());
    assert_eq!(states(&seen.rows(add, "gpu")), [("verified by CI", &[][..])]);
}

#[test]
fn every_kernel_that_reads_quantized_weights_has_cases_in_every_format() {
    for kernel in KERNELS {
        let seen = Seen::of(kernel, &[], &mut Vec::new(), || ());
        assert_eq!(seen.rows(kernel, "cpu").len(), 1, "{}", kernel.name);
    }
}
