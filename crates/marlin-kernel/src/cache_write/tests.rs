//! Cache writes against values written down by hand.

use super::reference::cache_write;

#[test]
fn rows_land_in_their_slots_and_nothing_else_changes() {
    let mut cache = [0.0; 12];
    cache_write(&[1.0, 2.0, 3.0, 4.0], &mut cache, 3, 1, &[3, 0]);
    assert_eq!(cache, [0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
}
