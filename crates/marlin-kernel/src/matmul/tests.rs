//! The product against values worked out by hand.

use super::reference::matmul;
use crate::case::matrix;

#[test]
fn two_rows_times_three_outputs() {
    let weight = matrix(3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let out = matmul(&[1.0, 1.0, 2.0, -1.0], &weight, None);
    assert_eq!(out, [3.0, 7.0, 11.0, 0.0, 2.0, 4.0]);
}

#[test]
fn the_bias_is_added_to_every_row() {
    let weight = matrix(2, 1, &[1.0, -1.0]);
    assert_eq!(matmul(&[1.0, 2.0], &weight, Some(&[10.0, 20.0])), [11.0, 19.0, 12.0, 18.0]);
}

#[test]
fn large_terms_that_cancel_leave_the_small_one() {
    let weight = matrix(1, 3, &[1e8, 1.0, -1e8]);
    assert_eq!(matmul(&[1.0, 1.0, 1.0], &weight, None), [1.0]);
}
