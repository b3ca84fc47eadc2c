//! Every code of every grouped format, in every place of a byte: decoded as its definition says, and the
//! same values after encoding them again.

use marlin_format::{Code, FORMATS, Layout, Parts, Rounding, ScaleType, Weight};

/// What stored bits mean with a scale of 1, written out.
fn definition(code: Code, bits: u32, zero: u8, codebook: &[f32]) -> f32 {
    let index = bits as usize;
    let bits = bits as f32;
    match code {
        Code::E2m1 => {
            let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][index % 8];
            if bits < 8.0 { magnitude } else { 0.0 - magnitude }
        }
        Code::Uint4 | Code::Uint3 | Code::Uint2 => bits - f32::from(zero),
        Code::Int4 => bits - 8.0,
        Code::Int8 => bits - 128.0,
        Code::E4m3 => float(index, 4, 3, 7),
        Code::E5m2 => float(index, 5, 2, 15),
        Code::Lookup4 | Code::Lookup3 | Code::Lookup2 => codebook[index],
    }
}

/// The OCP definition: (-1)^s * 2^(e - bias) * (1 + m / 2^bits), subnormals without the 1.
fn float(code: usize, exponent_bits: usize, bits: usize, bias: i32) -> f32 {
    let exponent = (code >> bits) as i32 & ((1 << exponent_bits) - 1);
    let significand = (code & ((1 << bits) - 1)) as f32 / (1 << bits) as f32;
    let magnitude = match exponent {
        0 => significand * 2f32.powi(1 - bias),
        _ => (1.0 + significand) * 2f32.powi(exponent - bias),
    };
    if code >> (bits + exponent_bits) == 1 { -magnitude } else { magnitude }
}

/// Whether a code of a float stands for infinity or NaN.
fn no_number(code: Code, bits: u32) -> bool {
    match code {
        Code::E4m3 => bits & 0x7f == 0x7f,
        Code::E5m2 => bits & 0x7f > 0x7b,
        _ => false,
    }
}

/// `codes` as a stream of `bits`-bit numbers, LSB first, filled up to whole words.
fn stream(codes: &[u32], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; (codes.len() * bits).div_ceil(32) * 4];
    for (at, code) in codes.iter().enumerate() {
        for bit in (0..bits).filter(|bit| code >> bit & 1 == 1) {
            let place = at * bits + bit;
            bytes[place / 8] |= 1 << (place % 8);
        }
    }
    bytes
}

/// The stored scale 1.
fn one(scale: ScaleType) -> Vec<u8> {
    match scale {
        ScaleType::F32 => 1f32.to_le_bytes().to_vec(),
        ScaleType::F16 => 0x3c00u16.to_le_bytes().to_vec(),
        ScaleType::E4m3 => vec![0x38],
        ScaleType::E8m0 => vec![127],
    }
}

#[test]
fn every_code_decodes_as_defined_and_comes_back() {
    for format in FORMATS {
        let layout = format.layout();
        let Layout::Grouped { code, scale, zero, sparse: false, .. } = layout else { continue };
        let count = 1u32 << code.bits();
        let zeros = if zero { 0..count as u8 } else { 0..1 };
        for zero_point in zeros {
            let codes: Vec<u32> = (0..8 * count).map(|k| (k / 8 + 3 * (k % 8)) % count).collect();
            let codes: Vec<u32> = codes.into_iter().filter(|bits| !no_number(code, *bits)).collect();
            let (cols, groups) = (codes.len(), layout.groups(codes.len()));
            let parts = Parts {
                scales: one(scale).repeat(groups).into(),
                zeros: vec![zero_point; layout.zero_bytes(cols)].into(),
                codebook: format.codebook().into(),
                ..Parts::codes_only(stream(&codes, code.bits())[..layout.code_bytes(cols)].to_vec().into())
            };
            let weight = Weight::new(*format, 1, cols, parts).unwrap();
            let value = |&bits: &u32| definition(code, bits, zero_point, format.codebook());
            let expected: Vec<f32> = codes.iter().map(value).collect();
            assert_eq!(weight.to_f32(), expected, "{} zero point {zero_point}", format.name());
            let again = Weight::encode(*format, 1, cols, &expected, Rounding::default()).unwrap();
            assert_eq!(again.to_f32(), expected, "{} encoded, zero point {zero_point}", format.name());
        }
    }
}
