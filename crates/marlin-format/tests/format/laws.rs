//! The laws of `marlin_format::laws`, over every format and many kinds of rows.

use crate::random::Random;
use marlin_format::{
    Code, FORMATS, Format, Layout, Parts, Rounding, ScaleSearch, ScaleType, Weight, laws, position_bytes,
};
use proptest::prelude::*;

const BOTH: [ScaleSearch; 2] = [ScaleSearch::Absmax, ScaleSearch::Grid];

/// Columns around the edges of groups, bytes and spans.
const COLS: [usize; 19] = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 65, 127, 129, 255, 256, 257, 513];

fn check(verdict: laws::Verdict) {
    if let Err(reason) = verdict {
        panic!("{reason}");
    }
}

fn each_format(law: impl Fn(&'static dyn Format) -> laws::Verdict) {
    FORMATS.iter().for_each(|format| check(law(*format)));
}

/// Rows as networks have them, and as they do not: tails, outliers, ties, one sign, zeros.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let cols = prop_oneof![1usize..=40, 120usize..=136, 250usize..=300];
    (cols, any::<u64>(), 0..7).prop_map(|(cols, seed, kind)| {
        let mut random = Random(seed);
        let mut values = random.gaussian(cols);
        for value in &mut values {
            match kind {
                0 => {}
                1 => *value *= value.abs().powi(3),
                2 => *value = if random.uniform() < 0.02 { *value * 100.0 } else { *value * 0.01 },
                3 => *value = (*value * 2.0).round() * 0.25,
                4 => *value = value.abs() + 1.0,
                5 => *value = if random.uniform() < 0.7 { 0.0 } else { *value },
                _ => *value = f32::from_bits(value.to_bits() & 0xffff_0000),
            }
        }
        values
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn encoding_twice_is_encoding_once(values in rows()) {
        each_format(|format| laws::idempotent(format, values.len(), &values));
    }

    #[test]
    fn decoding_is_scale_times_code_plus_offset(values in rows()) {
        let how = Rounding::default();
        for format in FORMATS {
            if let Ok(weight) = Weight::encode(*format, 1, values.len(), &values, how) {
                check(laws::decodes_as_unpacked(&weight));
            }
        }
    }

    #[test]
    fn levels_are_what_codes_decode_to(values in rows(), seed in any::<u64>()) {
        let others = Random(seed).gaussian(values.len());
        for format in FORMATS {
            if let Ok(weight) = Weight::encode(*format, 1, values.len(), &values, Rounding::default()) {
                check(laws::levels_decode(&weight, &values));
                check(laws::levels_decode(&weight, &others));
            }
        }
    }

    #[test]
    fn order_is_kept(values in rows()) {
        for search in BOTH {
            let how = Rounding { search, importance: None };
            each_format(|format| laws::keeps_order(format, values.len(), &values, how));
        }
    }

    #[test]
    fn signs_are_symmetric(values in rows()) {
        for search in BOTH {
            let how = Rounding { search, importance: None };
            each_format(|format| laws::odd(format, values.len(), &values, how));
        }
    }

    #[test]
    fn powers_of_two_pass_through(mut values in rows(), exponent in -3..=3i32) {
        // Every group gets a value of 1 or more, so that scales stay clear of f16's subnormals.
        values.iter_mut().step_by(16).for_each(|value| *value += 1f32.copysign(*value));
        for format in FORMATS.iter().filter(|format| format.name() != "f16") {
            for search in BOTH {
                let how = Rounding { search, importance: None };
                check(laws::homogeneous(*format, values.len(), &values, (exponent as f32).exp2(), how));
            }
        }
    }

    #[test]
    fn groups_stand_alone(values in rows()) {
        for search in BOTH {
            let how = Rounding { search, importance: None };
            each_format(|format| laws::groups_are_independent(format, &values, how));
        }
    }

    #[test]
    fn errors_are_bounded(values in rows()) {
        each_format(|format| laws::error_is_bounded(format, values.len(), &values));
    }

    #[test]
    fn searching_never_hurts(values in rows(), seed in any::<u64>()) {
        each_format(|format| laws::search_never_hurts(format, &values, None));
        let mut random = Random(seed);
        let importance: Vec<f32> = values.iter().map(|_| (random.uniform() as f32).powi(4)).collect();
        each_format(|format| laws::search_never_hurts(format, &values, Some(&importance)));
    }

    #[test]
    fn representable_rows_come_back(cols in 1usize..=300, seed in any::<u64>(), exponent in -20..=20i32) {
        for format in FORMATS {
            if let Some(weight) = any_row(*format, cols, seed, (exponent as f32).exp2()) {
                check(laws::representable_comes_back(&weight));
                check(laws::decodes_as_unpacked(&weight));
                check(laws::levels_decode(&weight, &weight.to_f32()));
            }
        }
    }
}

/// A grouped row of random bytes: all that a file could hold and still be valid.
fn any_row(format: &'static dyn Format, cols: usize, seed: u64, factor: f32) -> Option<Weight> {
    let layout = format.layout();
    let Layout::Grouped { code, scale, tensor_scale, sparse, .. } = layout else { return None };
    let mut random = Random(seed);
    let mut bytes = |len: usize| -> Vec<u8> { (0..len).map(|_| random.bits() as u8).collect() };
    let mut codes = bytes(layout.code_bytes(cols));
    let mut scales = bytes(layout.scale_bytes(cols));
    let zeros: Vec<u8> = bytes(layout.zero_bytes(cols)).iter().map(|zero| zero % code.max_zero()).collect();
    if !seed.is_multiple_of(3) {
        // A few bytes only, so that the largest code is seldom used.
        let few = codes.len().min(1 + seed as usize % 2);
        (few..codes.len()).for_each(|at| codes[at] = codes[at % few]);
    }
    if sparse {
        let positions = codes.len() - position_bytes(cols);
        let pair = |byte: u8| [0x4, 0x8, 0x9, 0xc, 0xd, 0xe][usize::from(byte) % 6];
        codes[positions..].iter_mut().for_each(|byte| *byte = pair(*byte) | pair(*byte >> 4) << 4);
    }
    if code == Code::E4m3 {
        // Not the NaN, which reads as a value that is not written.
        codes.iter_mut().filter(|code| **code & 0x7f == 0x7f).for_each(|code| *code ^= 1);
    }
    match scale {
        ScaleType::F32 => scales.as_chunks_mut::<4>().0.iter_mut().for_each(|scale| {
            *scale = (random.gaussian(1)[0] * factor).to_le_bytes();
        }),
        ScaleType::F16 => scales.chunks_exact_mut(2).for_each(|scale| {
            if scale[1] & 0x7c == 0x7c {
                scale[1] ^= 0x40;
            }
        }),
        ScaleType::E4m3 => {
            scales.iter_mut().filter(|scale| **scale & 0x7f == 0x7f).for_each(|scale| *scale ^= 1)
        }
        ScaleType::E8m0 => scales.iter_mut().for_each(|scale| *scale = (*scale).min(252)),
    }
    let tensor_scale = if tensor_scale { factor } else { 1.0 };
    // The format's own codebook, or any.
    let codebook = match (format.codebook().len(), seed % 2) {
        (len @ 1.., 0) => random.gaussian(len).into(),
        _ => format.codebook().into(),
    };
    let (codes, scales, zeros) = (codes.into(), scales.into(), zeros.into());
    let parts = Parts { codes, scales, zeros, codebook, tensor_scale };
    let weight = Weight::new(format, 1, cols, parts).unwrap();
    weight.validate().unwrap();
    Some(weight)
}

#[test]
fn sizes_are_those_of_the_layout() {
    for cols in COLS.into_iter().chain([0, 1024]) {
        for rows in [0, 1, 3] {
            each_format(|format| laws::sizes(format, rows, cols));
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for cols in COLS {
        for format in FORMATS {
            if let Ok(weight) = Weight::encode(*format, 2, cols, &vec![0.0; 2 * cols], Rounding::default()) {
                assert!(weight.to_f32().iter().all(|value| value.to_bits() == 0), "{}", format.name());
                weight.validate().unwrap();
            }
        }
    }
}

#[test]
fn constants_come_back_within_the_precision_of_the_scale() {
    for cols in COLS {
        for constant in [1.0f32, -1.0, 0.3, -7.77, 1234.5, 3.0e-3] {
            for format in FORMATS {
                let Ok(weight) = Weight::encode(*format, 1, cols, &vec![constant; cols], Rounding::default())
                else {
                    continue;
                };
                let precision = match format.layout() {
                    Layout::Grouped { sparse: true, .. } => continue,
                    Layout::Grouped { scale: ScaleType::E8m0, .. } => 0.2,
                    Layout::Grouped { scale: ScaleType::E4m3, .. } => 1.0 / 16.0,
                    _ => 1.0 / 256.0,
                };
                for value in weight.to_f32() {
                    let error = (value - constant).abs() / constant.abs();
                    assert!(error <= precision, "{} of {constant}: {value}", format.name());
                }
            }
        }
    }
}

#[test]
fn tiny_values_lose_no_more_than_the_smallest_scale() {
    for exponent in [-149, -140, -127, -60, -30, -20] {
        let factor = 2f64.powi(exponent);
        let values: Vec<f32> =
            Random(5).gaussian(150).iter().map(|x| (f64::from(*x) * factor) as f32).collect();
        each_format(|format| laws::error_is_bounded(format, values.len(), &values));
        each_format(|format| laws::idempotent(format, values.len(), &values));
        each_format(|format| laws::search_never_hurts(format, &values, None));
    }
}

#[test]
fn huge_values_stay_finite() {
    let mut values = Random(6).gaussian(300);
    values[7] = 5.0;
    let wide = |format: &&&'static dyn Format| match format.layout() {
        Layout::Dense { .. } => format.name() != "f16",
        Layout::Grouped { scale, .. } => scale != ScaleType::F16,
        Layout::Affine { .. } | Layout::Blocks { .. } => false,
    };
    for format in FORMATS.iter().filter(wide) {
        for largest in [1e30f32, 1e38, 3.3e38, if format.name() == "bf16" { 3.38e38 } else { f32::MAX }] {
            let values: Vec<f32> = values.iter().map(|value| value / 5.0 * largest).collect();
            check(laws::error_is_bounded(*format, 300, &values));
            let weight = Weight::encode(*format, 1, 300, &values, Rounding::default()).unwrap();
            assert!(
                weight.to_f32().iter().all(|value| value.is_finite()),
                "{} at {largest:e}",
                format.name()
            );
            weight.validate().unwrap();
        }
    }
}
