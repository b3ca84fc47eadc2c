//! Elementary functions as branch-free arithmetic, so that loops over them become vector loops.

/// e^x, relative error below 3e-7, for x in -87..=88; outside, its value at the nearer end.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7, whose remainder is
/// 6e-9, and 2^n by the exponent bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; n times the first is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut power = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power * r + coefficient;
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
    power * scale
}

/// The value of an IEEE half given as bits.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let value = f32::from_bits(magnitude + (112 << 23));
    // Without its hidden bit a subnormal is (value - 2^-15) of a normal number with the same mantissa.
    let value = if bits & 0x7c00 == 0 { (value - 1.0 / 32768.0) * 2.0 } else { value };
    let value = if bits & 0x7c00 == 0x7c00 { f32::from_bits(magnitude | 0x7f80_0000) } else { value };
    f32::from_bits(value.to_bits() | (bits & 0x8000) << 16)
}

/// The value of an FP8 E4M3 number (OCP: no infinity, NaN is 0x7f and 0xff) given as bits.
#[inline(always)]
pub(crate) fn e4m3_to_f32(bits: u8) -> f32 {
    let bits = u32::from(bits);
    let value = f32::from_bits(((bits & 0x7f) << 20) + (120 << 23));
    let value = if bits & 0x78 == 0 { (value - 1.0 / 128.0) * 2.0 } else { value };
    let value = if bits & 0x7f == 0x7f { f32::NAN } else { value };
    f32::from_bits(value.to_bits() | (bits & 0x80) << 24)
}

/// The value of an E8M0 scale (OCP MX: 2^(x - 127), NaN is 0xff) given as bits.
#[inline(always)]
pub(crate) fn e8m0_to_f32(bits: u8) -> f32 {
    let value = f32::from_bits(u32::from(bits) << 23);
    let value = if bits == 0 { f32::from_bits(1 << 22) } else { value };
    if bits == 0xff { f32::NAN } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_3e_7() {
        let mut worst = 0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), exp(-87.0));
        assert_eq!(exp(1e30), exp(88.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn every_half_is_exact() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                found == expected || found.is_nan() && expected.is_nan(),
                "{bits:#x}: {found} {expected}"
            );
            assert_eq!(found.is_sign_negative(), bits & 0x8000 != 0);
        }
    }

    #[test]
    fn every_e4m3_is_exact() {
        for bits in 0..=u8::MAX {
            let exponent = i32::from(bits >> 3 & 15);
            let mantissa = f64::from(bits & 7) / 8.0;
            let magnitude = match exponent {
                0 => mantissa * 2f64.powi(-6),
                _ => (1.0 + mantissa) * 2f64.powi(exponent - 7),
            };
            let expected = if bits & 0x80 == 0 { magnitude } else { -magnitude };
            let found = e4m3_to_f32(bits);
            if bits & 0x7f == 0x7f {
                assert!(found.is_nan());
            } else {
                assert_eq!(f64::from(found), expected, "{bits:#x}");
            }
        }
        assert_eq!(e4m3_to_f32(0x7e), 448.0);
    }

    #[test]
    fn every_e8m0_is_exact() {
        for bits in 0..u8::MAX {
            assert_eq!(f64::from(e8m0_to_f32(bits)), 2f64.powi(i32::from(bits) - 127), "{bits}");
        }
        assert!(e8m0_to_f32(255).is_nan());
    }
}
