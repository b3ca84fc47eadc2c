//! The product per head against values worked out by hand.

use super::reference::head_matmul;
use crate::case::matrix;

#[test]
fn each_head_has_its_own_rows_of_the_weight() {
    // Head 0 owns rows [1, 2] and [3, 4], head 1 rows [5, 6] and [7, 8].
    let weight = matrix(4, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let out = head_matmul(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 0.0], &weight, 2);
    assert_eq!(out, [1.0, 3.0, 6.0, 8.0, 3.0, 7.0, 10.0, 14.0]);
}
