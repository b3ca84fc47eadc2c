//! The transform against values worked out by hand, and what it must keep.

use super::{reference::hadamard, transform};
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

#[test]
fn the_passes_give_what_the_definition_gives() {
    for (block, width, blocks) in [(1, 3, 2), (2, 1, 1), (8, 1, 3), (16, 5, 1), (256, 2, 2)] {
        let values = Random::new(block as u64).normals(block * width * blocks);
        let mut found = values.clone();
        transform(&mut found, block, width);
        for lane in 0..width {
            let of_lane =
                |values: &[f32]| values.iter().skip(lane).step_by(width).copied().collect::<Vec<_>>();
            let expected = hadamard(&of_lane(&values), block);
            let close = |(&a, &b): (&f32, &f64)| (f64::from(a) - b).abs() < 1e-5;
            assert!(of_lane(&found).iter().zip(&expected).all(close), "block {block}, width {width}");
        }
    }
}
