//! The transform against values worked out by hand, and what it must keep.

use super::reference::hadamard;
use crate::Random;

#[test]
fn two_and_four_values() {
    let root = 0.5f64.sqrt();
    assert_eq!(hadamard(&[3.0, 1.0], 2), [4.0 * root, 2.0 * root]);
    assert_eq!(hadamard(&[1.0, 2.0, 3.0, 4.0], 4), [5.0, -1.0, -2.0, 0.0]);
}

#[test]
fn twice_is_nothing_and_lengths_stay() {
    for block in [2, 32, 256] {
        let x = Random::new(block as u64).normals(2 * block);
        let once: Vec<f32> = hadamard(&x, block).into_iter().map(|value| value as f32).collect();
        let twice = hadamard(&once, block);
        assert!(x.iter().zip(&twice).all(|(&a, &b)| (f64::from(a) - b).abs() < 1e-5), "block {block}");
        let square = |values: &[f32]| values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
        assert!((square(&x) / square(&once) - 1.0).abs() < 1e-6);
    }
}
