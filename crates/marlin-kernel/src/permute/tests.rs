//! Columns against values written down by hand.

use super::reference::permute;

#[test]
fn columns_come_in_the_order_asked_for() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(permute(&x, &[2, 0, 1]), [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
    assert_eq!(permute(&x, &[0; 6]), [1.0; 6]);
}
