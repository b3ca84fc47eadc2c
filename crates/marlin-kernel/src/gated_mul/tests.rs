//! The gates against values worked out by hand, and far from zero.

use super::reference::{activate, gated_mul};
use crate::plan::Activation::{GeluTanh, Silu};

#[test]
fn known_values() {
    assert_eq!(activate(Silu, 0.0), 0.0);
    // sigmoid(ln 3) is 3/4.
    let three = 3.0f64.ln();
    assert!((activate(Silu, three) - 0.75 * three).abs() < 1e-15);
    // gelu(1) by the tanh formula, worked out with a calculator.
    assert!((activate(GeluTanh, 1.0) - 0.841_191_990_6).abs() < 1e-9);
    assert_eq!(activate(GeluTanh, 0.0), 0.0);
}

#[test]
fn far_from_zero_they_are_the_identity_or_zero() {
    for activation in [Silu, GeluTanh] {
        assert_eq!(activate(activation, 800.0), 800.0);
        assert_eq!(activate(activation, -800.0), 0.0);
    }
}

#[test]
fn x_less_its_mirror_is_x() {
    for activation in [Silu, GeluTanh] {
        for x in [0.1, 1.7, 5.0] {
            assert!((activate(activation, x) - activate(activation, -x) - x).abs() < 1e-12);
        }
    }
}

#[test]
fn the_gate_multiplies_up() {
    assert_eq!(gated_mul(&[0.0, 0.0], &[5.0, -1.0], Silu), [0.0, 0.0]);
    let out = gated_mul(&[3.0f32.ln()], &[4.0], Silu);
    assert!((out[0] - 3.0 * 3.0f64.ln()).abs() < 1e-6);
}
