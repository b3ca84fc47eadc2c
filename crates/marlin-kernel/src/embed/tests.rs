//! The lookup against values written down by hand.

use super::reference::embed;
use crate::case::matrix;

#[test]
fn rows_come_in_the_order_of_the_tokens() {
    let table = matrix(3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(embed(&table, &[2, 0, 2], 0.5), [2.5, 3.0, 0.5, 1.0, 2.5, 3.0]);
}
