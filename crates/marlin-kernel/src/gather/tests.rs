//! Gathering against values written down by hand.

use super::reference::gather;

#[test]
fn rows_come_in_the_order_asked_for() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(gather(&x, 2, &[2, 0, 2]), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    assert!(gather(&x, 2, &[]).is_empty());
}
