//! Every code of the small floats, and rounding against the nearest of all codes.

use super::*;
use crate::grid::{E2m1, Grid};

const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The OCP definition: (-1)^s * 2^(e - bias) * (1 + m / 2^bits), subnormals without the 1.
fn float(code: u8, exponent_bits: u32, bits: u32, bias: i32) -> f64 {
    let exponent = i32::from(code >> bits) & ((1 << exponent_bits) - 1);
    let significand = f64::from(code & ((1 << bits) - 1)) / f64::from(1 << bits);
    let negative = code >> (bits + exponent_bits) & 1 == 1;
    let magnitude = match exponent {
        0 => significand * 2f64.powi(1 - bias),
        _ => (1.0 + significand) * 2f64.powi(exponent - bias),
    };
    if negative { -magnitude } else { magnitude }
}

#[test]
fn e2m1_codes_are_the_table() {
    for code in 0..16u8 {
        let magnitude = E2M1[usize::from(code & 7)];
        let value = if code < 8 { magnitude } else { -magnitude };
        assert_eq!(f64::from(value), float(code, 2, 1, 1), "code {code}");
        assert_eq!(f32::from(e2m1_to_twice(code)), 2.0 * value, "code {code}");
        let canonical = if code == 8 { 0 } else { code };
        assert_eq!(e2m1_from_twice(e2m1_to_twice(code)), canonical);
        assert_eq!(e2m1_from_f32(value), code);
    }
}

#[test]
fn e2m1_ties_go_to_the_even_code() {
    let ties = [(0.25, 0.0), (0.75, 1.0), (1.25, 1.0), (1.75, 2.0), (2.5, 2.0), (3.5, 4.0), (5.0, 4.0)];
    for (cut, expected) in ties {
        let value = |x: f32| 0.5 * f32::from(e2m1_to_twice(e2m1_from_f32(x)));
        assert_eq!(value(cut), expected, "{cut}");
        assert_eq!(value(-cut), -expected, "-{cut}");
        let (below, above) = (value(cut.next_down()), value(cut.next_up()));
        assert!(below < above && (below == expected || above == expected), "{cut}: {below} {above}");
    }
    for huge in [6.0, 7.0, 1e30, f32::INFINITY] {
        assert_eq!((e2m1_from_f32(huge), e2m1_from_f32(-huge)), (7, 15));
    }
}

#[test]
fn e2m1_codec_and_grid_round_alike() {
    for i in -4000..=4000 {
        let value = i as f32 / 500.0;
        let twice = f32::from(e2m1_to_twice(e2m1_from_f32(value)));
        assert_eq!(E2m1.round(0, 2.0 * value) + 0.0, twice, "{value}");
    }
}

#[test]
fn e4m3_codes_are_the_definition() {
    for code in 0..=255u8 {
        // 0x7f is NaN in the standard and the next step here.
        let value = e4m3_to_f32(code);
        assert_eq!(f64::from(value), float(code, 4, 3, 7), "code {code:#x}");
        assert_eq!(value.is_sign_negative(), code > 0x7f);
        if code & 0x7f != 0x7f {
            assert_eq!(e4m3_from_f32(value), code);
        }
    }
    assert_eq!((e4m3_to_f32(0x7f), e4m3_to_f32(0xff)), (480.0, -480.0));
}

#[test]
fn e5m2_codes_are_the_definition() {
    for code in 0..=255u8 {
        let value = e5m2_to_f32(code);
        // Infinity and NaN read as the largest.
        let finite = code & 0x80 | (code & 0x7f).min(0x7b);
        assert_eq!(f64::from(value), float(finite, 5, 2, 15), "code {code:#x}");
        assert_eq!(value.is_sign_negative(), code > 0x7f);
        assert_eq!(e5m2_from_f32(value), finite);
    }
}

/// A float of 8 bits against the nearest of all its codes, up to `last`.
fn rounds_to_the_nearest_even(decode: fn(u8) -> f32, encode: fn(f32) -> u8, last: u8) {
    let nearest = |value: f32| {
        (0..=last)
            .min_by(|&a, &b| {
                let distance = |code: u8| (f64::from(decode(code)) - f64::from(value)).abs();
                distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)))
            })
            .unwrap()
    };
    for code in 0..last {
        let (here, next) = (decode(code), decode(code + 1));
        for share in [0.0, 0.2, 0.49, 0.5, 0.51, 0.8] {
            let value = here + (next - here) * share;
            for value in [value, value.next_up(), value.next_down().max(0.0)] {
                assert_eq!(encode(value), nearest(value), "{value}");
                assert_eq!(encode(-value), nearest(value) | 0x80, "-{value}");
            }
        }
    }
    let largest = decode(last);
    for huge in [largest, largest * 1.03, largest * 1.2, 1e30, f32::INFINITY] {
        assert_eq!((encode(huge), encode(-huge)), (last, last | 0x80));
    }
    assert_eq!(encode(1e-30), 0);
    assert_eq!(encode(f32::NAN) & 0x7f, 0x7f);
}

#[test]
fn e4m3_and_e5m2_round_to_the_nearest_even_and_saturate() {
    rounds_to_the_nearest_even(e4m3_to_f32, e4m3_from_f32, 0x7e);
    rounds_to_the_nearest_even(e5m2_to_f32, e5m2_from_f32, 0x7b);
}

#[test]
fn e8m0_codes_are_powers_of_two() {
    for code in 0..=255u8 {
        let half = e8m0_to_half(code);
        assert_eq!(f64::from(half), 2f64.powi(i32::from(code) - 128), "code {code}");
        if code < 255 {
            assert_eq!(e8m0_floor(2.0 * half), code);
            assert_eq!(e8m0_floor(half * 3.999), code, "code {code}");
        }
    }
    assert_eq!((e8m0_floor(0.0), e8m0_floor(1e-45)), (0, 0));
}
