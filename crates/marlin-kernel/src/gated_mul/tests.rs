//! The gates against values worked out by hand, and far from zero.

use super::reference::{activate, gated_mul};
use crate::plan::Activation::{ClampedSwiglu, GeluTanh, Silu};

#[test]
fn known_values() {
    assert_eq!(activate(Silu, 0.0, 1.0), 0.0);
    // sigmoid(ln 3) is 3/4.
    let three = 3.0f64.ln();
    assert!((activate(Silu, three, 1.0) - 0.75 * three).abs() < 1e-15);
    // gelu(1) by the tanh formula, worked out with a calculator.
    assert!((activate(GeluTanh, 1.0, 1.0) - 0.841_191_990_6).abs() < 1e-9);
    assert_eq!(activate(GeluTanh, 0.0, 1.0), 0.0);
}

#[test]
fn far_from_zero_they_are_the_identity_or_zero() {
    for activation in [Silu, GeluTanh] {
        assert_eq!(activate(activation, 800.0, 1.0), 800.0);
        assert_eq!(activate(activation, -800.0, 1.0), 0.0);
    }
}

#[test]
fn x_less_its_mirror_is_x() {
    for activation in [Silu, GeluTanh] {
        for x in [0.1, 1.7, 5.0] {
            assert!((activate(activation, x, 1.0) - activate(activation, -x, 1.0) - x).abs() < 1e-12);
        }
    }
}

#[test]
fn both_are_clamped_and_one_is_added_to_up() {
    let clamped = ClampedSwiglu { limit: 7.0 };
    // sigmoid(1.702 x) is 3/4 where 1.702 x is ln 3.
    let x = 3.0f64.ln() / 1.702;
    assert!((activate(clamped, x, 3.0) - 0.75 * x * 4.0).abs() < 1e-15);
    assert!((activate(clamped, x, -9.0) - 0.75 * x * -6.0).abs() < 1e-15);
    assert_eq!(activate(clamped, x, 9.0), activate(clamped, x, 7.0));
    assert_eq!(activate(clamped, 800.0, 1.0), activate(clamped, 7.0, 1.0));
    // The gate has no limit below.
    assert_eq!(activate(clamped, -800.0, 1.0), 0.0);
}

#[test]
fn the_gate_multiplies_up() {
    assert_eq!(gated_mul(&[0.0, 0.0], &[5.0, -1.0], Silu), [0.0, 0.0]);
    let out = gated_mul(&[3.0f32.ln()], &[4.0], Silu);
    assert!((out[0] - 3.0 * 3.0f64.ln()).abs() < 1e-6);
}
