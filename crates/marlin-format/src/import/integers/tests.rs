//! Every way in gives the values by definition, bit for bit.

use super::*;

/// Codes, `[rows, cols]`, as streams.
fn streams(bits: usize, cols: usize, codes: &[u8]) -> Bytes {
    let row = |codes: &[u8]| {
        let mut row = vec![0; row_bytes(bits, cols)];
        write_stream(bits, codes, &mut row);
        row
    };
    codes.chunks(cols).flat_map(row).collect::<Vec<u8>>().into()
}

fn noise(len: usize, bits: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 9) as u8 & ((1u16 << bits) - 1) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Scales for 3 rows of `groups`.
fn scales(groups: usize, scale: impl Fn(usize) -> f32) -> Vec<f32> {
    (0..3 * groups).map(scale).collect()
}

/// Checks the format and every value of 3 rows of 160 columns in groups of 64: the last is short.
fn check(bits: usize, scales: Vec<f32>, offsets: Offsets, format: &str) {
    let (rows, cols, group) = (3, 160, 64);
    let codes = noise(rows * cols, bits);
    let integers = Integers {
        rows,
        cols,
        bits,
        group,
        codes: streams(bits, cols, &codes),
        scales: scales.clone(),
        offsets: offsets.clone(),
    };
    let weight = integers.weight().unwrap();
    assert_eq!(weight.format().name(), format);
    for (at, (found, code)) in weight.to_f32().into_iter().zip(codes).enumerate() {
        let g = at / cols * 3 + at % cols / group;
        let expected = match &offsets {
            Offsets::Zero(zero) => scales[g] * f32::from(i16::from(code) - zero),
            Offsets::Zeros(zeros) => scales[g] * f32::from(i16::from(code) - zeros[g]),
            Offsets::Values(values) => scales[g] * f32::from(code) + values[g],
        };
        assert_eq!(found.to_bits(), expected.to_bits(), "{format}: {at}: {found}, expected {expected}");
    }
    weight.validate().unwrap();
}

fn zeros(zero: impl Fn(i16) -> i16) -> Offsets {
    Offsets::Zeros((0..9).map(zero).collect())
}

#[test]
fn halves_stay_halves() {
    let half = |at: usize| f16::from_f32(0.001 * (at + 1) as f32).to_f32();
    check(4, scales(3, half), zeros(|g| 8 + g), "int4-g64");
    check(4, scales(3, half), zeros(|_| 8), "int4-sym-g64");
    check(4, scales(3, half), Offsets::Zero(8), "int4-sym-g64");
    check(8, scales(3, half), Offsets::Zero(128), "int8-g64");
}

#[test]
fn what_halves_cannot_hold_becomes_scale_and_offset() {
    let half = |at: usize| f16::from_f32(0.001 * (at + 1) as f32).to_f32();
    // 2^-30 is no half, and has one significant bit.
    let tiny = |at: usize| (at + 1) as f32 * 2f32.powi(-30);
    check(4, scales(3, tiny), zeros(|g| 16 - g), "affine4-g64");
    check(8, scales(3, half), zeros(|g| 256 - 30 * g), "affine8-g64");
    check(8, scales(3, tiny), zeros(|g| 1 + g), "affine8-g64");
    check(5, scales(3, half), zeros(|g| 3 * g), "affine8-g64");
    // Full significands: the zero point is taken from the code.
    let full = |at: usize| 0.1 / (at + 1) as f32;
    check(4, scales(3, full), zeros(|g| g), "affine8-g64");
    check(8, scales(3, full), Offsets::Zero(128), "affine8-g64");
    check(8, scales(3, full), zeros(|g| 100 * g % 256), "f32");
}

#[test]
fn offsets_are_kept_as_they_are() {
    let half = |at: usize| f16::from_f32(0.001 * (at + 1) as f32).to_f32();
    for bits in [2, 3, 4, 5, 6, 8] {
        let offsets =
            Offsets::Values((0..9).map(|g| f16::from_f32(-0.01 * g as f32 - 0.1).to_f32()).collect());
        let format = if bits <= 4 { "affine4-g64" } else { "affine8-g64" };
        check(bits, scales(3, half), offsets, format);
    }
    // 1e6 + 128 * 1e-6 needs more bits than f32 has.
    check(8, scales(3, |_| 1e-6), Offsets::Values(vec![1e6; 9]), "f32");
}

#[test]
fn groups_are_cut_into_ours_or_refused() {
    let weight = |group: usize, cols: usize| {
        let groups = cols.div_ceil(group);
        Integers {
            rows: 1,
            cols,
            bits: 4,
            group,
            codes: streams(4, cols, &noise(cols, 4)),
            scales: (1..=groups).map(|g| g as f32).collect(),
            offsets: Offsets::Zero(8),
        }
        .weight()
    };
    for (group, cols, format) in [
        (128, 300, "int4-sym"),
        (256, 520, "int4-sym"),
        (96, 200, "int4-sym-g32"),
        (64, 200, "int4-sym-g64"),
        (37, 37, "int4-sym"),
        (1000, 999, "int4-sym"),
        (48, 100, "affine4-g16"),
    ] {
        let found = weight(group, cols).unwrap();
        assert_eq!(found.format().name(), format, "{group}");
        let codes = noise(cols, 4);
        for (col, value) in found.to_f32().into_iter().enumerate() {
            assert_eq!(value, (col / group + 1) as f32 * (f32::from(codes[col]) - 8.0), "{group}: {col}");
        }
    }
    assert_eq!(
        weight(24, 100).unwrap_err().to_string(),
        "groups of 24 columns, expected a multiple of 16, or one group a row"
    );
}

#[test]
fn scales_that_are_no_numbers_are_named() {
    let weight = |scales: [f32; 2], offsets: Offsets| {
        Integers {
            rows: 1,
            cols: 32,
            bits: 8,
            group: 16,
            codes: vec![0; 32].into(),
            scales: scales.into(),
            offsets,
        }
        .weight()
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        weight([1.0, f32::NAN], Offsets::Zero(0)),
        "row 0, group 1: scale NaN, integers expects one with which every value is finite"
    );
    assert_eq!(
        weight([1.0, 1.0], Offsets::Values(vec![f32::INFINITY, 0.0])),
        "row 0, group 0: offset inf, integers expects a finite one"
    );
}
