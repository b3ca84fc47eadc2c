//! Sums against values worked out by hand: exact in f64 where f32 would round.

use super::reference::add;

#[test]
fn sums_are_not_rounded_to_f32() {
    assert_eq!(add(&[1.0, 2.0, 16_777_216.0], &[10.0, -2.0, 1.0]), [11.0, 0.0, 16_777_217.0]);
}
