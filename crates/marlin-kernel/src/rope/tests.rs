//! The rotation against values worked out by hand, and its invariants.

use std::f32::consts::FRAC_PI_2;

use super::reference::rope;
use crate::{Random, plan::RopeStyle};

const STYLES: [RopeStyle; 2] = [RopeStyle::Interleaved, RopeStyle::Half];

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn a_quarter_turn_of_the_first_pair() {
    let frequencies = [FRAC_PI_2, 0.0];
    let interleaved = rope(&[1.0, 2.0, 3.0, 4.0], 1, &frequencies, RopeStyle::Interleaved, 1.0);
    assert!(close(&interleaved, &[-2.0, 1.0, 3.0, 4.0]), "{interleaved:?}");
    let half = rope(&[1.0, 2.0, 3.0, 4.0], 1, &frequencies, RopeStyle::Half, 1.0);
    assert!(close(&half, &[-3.0, 2.0, 1.0, 4.0]), "{half:?}");
}

#[test]
fn position_zero_only_scales() {
    let x = Random::new(1).normals(24);
    let expected: Vec<f64> = x.iter().map(|&value| 0.5 * f64::from(value)).collect();
    for style in STYLES {
        assert_eq!(rope(&x, 0, &[1.0, 0.1, 0.01, 0.001], style, 0.5), expected);
    }
}

#[test]
fn lengths_are_kept() {
    let x = Random::new(2).normals(16);
    let norm = |x: &[f64]| x.iter().map(|value| value * value).sum::<f64>();
    let before = norm(&x.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
    for style in STYLES {
        let after = norm(&rope(&x, 777, &[1.0, 0.1, 0.01, 0.001], style, 1.0));
        assert!((after - before).abs() < 1e-12 * before);
    }
}

#[test]
fn the_styles_are_equal_after_a_permutation() {
    let frequencies = [1.0, 0.3, 0.1];
    let half = Random::new(3).normals(6);
    // Dimension i of the half style is dimension order[i] of the interleaved style.
    let order = [0, 2, 4, 1, 3, 5];
    let mut interleaved = [0.0; 6];
    for (at, &to) in order.iter().enumerate() {
        interleaved[to] = half[at];
    }
    let half = rope(&half, 31, &frequencies, RopeStyle::Half, 1.0);
    let interleaved = rope(&interleaved, 31, &frequencies, RopeStyle::Interleaved, 1.0);
    assert!(order.iter().enumerate().all(|(at, &to)| half[at] == interleaved[to]));
}

#[test]
fn a_dot_product_depends_on_the_distance_only() {
    let (q, k) = (Random::new(4).normals(8), Random::new(5).normals(8));
    let frequencies = [1.0, 0.1, 0.01, 0.001];
    for style in STYLES {
        let score = |at_q, at_k| -> f64 {
            let (q, k) = (rope(&q, at_q, &frequencies, style, 1.0), rope(&k, at_k, &frequencies, style, 1.0));
            q.iter().zip(&k).map(|(q, k)| q * k).sum()
        };
        assert!((score(9, 4) - score(105, 100)).abs() < 1e-9);
    }
}
