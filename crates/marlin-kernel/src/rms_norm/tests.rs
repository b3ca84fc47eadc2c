//! The norm against values worked out by hand, and its invariants.

use super::reference::rms_norm;
use crate::Random;

#[test]
fn three_and_four_have_a_root_mean_square_of_five_over_root_two() {
    let out = rms_norm(&[3.0, 4.0], &[1.0, 2.0], 0.0);
    let root = 2.0f64.sqrt() / 5.0;
    assert!((out[0] - 3.0 * root).abs() < 1e-15 && (out[1] - 8.0 * root).abs() < 1e-15, "{out:?}");
}

#[test]
fn equal_values_become_the_weight() {
    let out = rms_norm(&[-7.0; 6], &[1.0, 2.0, 3.0], 0.0);
    assert_eq!(out, [-1.0, -2.0, -3.0, -1.0, -2.0, -3.0]);
}

#[test]
fn zeros_stay_zeros() {
    assert_eq!(rms_norm(&[0.0; 3], &[1.0; 3], 1e-6), [0.0; 3]);
}

#[test]
fn the_length_of_the_input_does_not_matter_without_eps() {
    let x = Random::new(5).normals(33);
    let doubled: Vec<f32> = x.iter().map(|value| 2.0 * value).collect();
    assert_eq!(rms_norm(&x, &[1.0; 33], 0.0), rms_norm(&doubled, &[1.0; 33], 0.0));
}
