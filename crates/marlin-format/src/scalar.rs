//! The small floats: E2M1, E4M3 and E5M2 codes, E4M3 and E8M0 scales, each both ways.
//!
//! Reading is plain arithmetic on all 256 bytes and never gives NaN, so that no kernel needs a
//! branch; [`crate::Weight::validate`] refuses the bytes that the standards call NaN. Writing
//! rounds to nearest, ties to even, and saturates.
//!
//! ```text
//!  E2M1   |s|e e|m|           0 .5 1 1.5 2 3 4 6            (OCP MX 1.0, FP4)
//!  E4M3   |s|e e e e|m m m|   bias 7, largest 448, 0x7f NaN  (OCP FP8, E4M3FN)
//!  E5M2   |s|e e e e e|m m|   bias 15, largest 57344, 0x7c infinity, above it NaN  (OCP FP8, E5M2)
//!  E8M0   |e e e e e e e e|   2^(e - 127), 0xff NaN          (OCP MX 1.0, scale)
//! ```

/// Largest finite E4M3 value.
pub const E4M3_MAX: f32 = 448.0;

/// Largest finite E5M2 value.
pub const E5M2_MAX: f32 = 57344.0;

/// Largest E2M1 value.
pub const E2M1_MAX: f32 = 6.0;

/// Twice the value of the E2M1 code in the low nibble: 0, 1, 2, 3, 4, 6, 8, 12 and the negatives.
/// Both zeros give 0. Arithmetic instead of a table, so that loops over it vectorise.
#[inline(always)]
pub const fn e2m1_to_twice(code: u8) -> i8 {
    let magnitude = code & 7;
    // Steps of 1 up to 4, of 2 up to 8, of 4 beyond.
    let twice = magnitude + magnitude.saturating_sub(4) + 2 * magnitude.saturating_sub(6);
    let negative = (code >> 3 & 1).wrapping_neg();
    (twice ^ negative).wrapping_sub(negative) as i8
}

/// The E2M1 code whose doubled value is `twice` (one of 0, ±1, ±2, ±3, ±4, ±6, ±8, ±12).
#[inline(always)]
pub const fn e2m1_from_twice(twice: i8) -> u8 {
    let magnitude = twice.unsigned_abs();
    let above = magnitude.saturating_sub(4);
    let code = magnitude - (above >> 1) - (above >> 3);
    code | (twice as u8 >> 7) << 3
}

/// The E2M1 code nearest to `value`: cut points .25 .75 1.25 1.75 2.5 3.5 5, ties to the even code,
/// 6 beyond. The sign is kept, also that of zero; NaN gives zero.
pub fn e2m1_from_f32(value: f32) -> u8 {
    let magnitude = value.abs();
    let code = u8::from(magnitude > 0.25)
        + u8::from(magnitude >= 0.75)
        + u8::from(magnitude > 1.25)
        + u8::from(magnitude >= 1.75)
        + u8::from(magnitude > 2.5)
        + u8::from(magnitude >= 3.5)
        + u8::from(magnitude > 5.0);
    code | u8::from(value.is_sign_negative()) << 3
}

/// The value of an E4M3 byte. 0x7f and 0xff read as ±480, the step after 448.
#[inline(always)]
pub const fn e4m3_to_f32(code: u8) -> f32 {
    // As an f32 exponent the 4 bits are short of the bias by 120; subnormals come out right too.
    let magnitude = f32::from_bits(((code & 0x7f) as u32) << 20) * f32::from_bits((127 + 120) << 23);
    f32::from_bits(magnitude.to_bits() | ((code & 0x80) as u32) << 24)
}

/// The E4M3 byte nearest to `value`, saturating at ±448. NaN gives 0x7f.
pub fn e4m3_from_f32(value: f32) -> u8 {
    let magnitude = value.abs();
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let code = if value.is_nan() {
        0x7f
    } else if magnitude >= E4M3_MAX {
        0x7e
    } else if magnitude < f32::from_bits((127 - 6) << 23) {
        // Subnormal: steps of 2^-9; 8 steps are the smallest normal, whose code is 8.
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        let bits = magnitude.to_bits();
        let rounded = bits + 0x7_ffff + (bits >> 20 & 1);
        ((rounded >> 20) - (120 << 3)).min(0x7e) as u8
    };
    sign | code
}

/// The value of an E5M2 byte. What the standard calls infinite or NaN reads as ±57344, the largest.
#[inline(always)]
pub const fn e5m2_to_f32(code: u8) -> f32 {
    let magnitude = if code & 0x7f > 0x7b { 0x7b } else { code & 0x7f };
    // As an f32 exponent the 5 bits are short of the bias by 112.
    let magnitude = f32::from_bits((magnitude as u32) << 21) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | ((code & 0x80) as u32) << 24)
}

/// The E5M2 byte nearest to `value`, saturating at ±57344. NaN gives 0x7f.
pub fn e5m2_from_f32(value: f32) -> u8 {
    let magnitude = value.abs();
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let code = if value.is_nan() {
        0x7f
    } else if magnitude >= E5M2_MAX {
        0x7b
    } else if magnitude < f32::from_bits((127 - 14) << 23) {
        // Subnormal: steps of 2^-16; 4 steps are the smallest normal, whose code is 4.
        (magnitude * 65536.0).round_ties_even() as u8
    } else {
        let bits = magnitude.to_bits();
        let rounded = bits + 0xf_ffff + (bits >> 21 & 1);
        ((rounded >> 21) - (112 << 2)).min(0x7b) as u8
    };
    sign | code
}

/// Half the value of an E8M0 byte: 2^(code - 128). All 256 are finite; 0xff, which the standard
/// calls NaN, reads as 2^127. Half, because that is the unit of doubled E2M1 codes, and because
/// the whole of 0xff would not fit.
#[inline(always)]
pub const fn e8m0_to_half(code: u8) -> f32 {
    // 2^-128 and 2^-127 are subnormal in f32.
    let bits = if code < 2 { 0x0020_0000 << code } else { (code as u32 - 1) << 23 };
    f32::from_bits(bits)
}

/// The E8M0 byte of the largest power of two not above `value`; 0 (2^-127) for anything smaller.
pub const fn e8m0_floor(value: f32) -> u8 {
    (value.to_bits() >> 23) as u8
}

#[cfg(test)]
mod tests;
