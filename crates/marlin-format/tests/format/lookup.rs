//! Codebooks: the ones that formats bring along, foreign ones, and those that cannot be used.

use std::sync::Arc;

use crate::random::Random;
use marlin_format::{Error, Parts, Rounding, ScaleSearch, Weight, by_name};

const LOFTQ3: [f32; 8] = [-1.0, -0.478_629_2, -0.217_141_8, 0.0, 0.160_930_2, 0.337_915_2, 0.562_617, 1.0];
const LOFTQ2: [f32; 4] = [-1.0, 0.0, 0.337_915_2, 1.0];
/// Medians of 8 and of 4 equally likely parts of N(0, 1), largest 1.
const MIDPOINTS3: [f32; 8] = [-1.0, -0.578_3, -0.318_6, -0.102_5, 0.102_5, 0.318_6, 0.578_3, 1.0];
const MIDPOINTS2: [f32; 4] = [-1.0, -0.277_0, 0.277_0, 1.0];

/// `||W - Q||^2 / ||W||^2` with a codebook.
fn relative_error(name: &str, codebook: &[f32], search: ScaleSearch, values: &[f32]) -> f64 {
    let how = Rounding { search, importance: None };
    let format = by_name(name).unwrap();
    let weight = Weight::encode_with(format, values.len() / 1024, 1024, values, how, codebook).unwrap();
    let square = |value: f64| value * value;
    let total: f64 = values.iter().map(|value| square(f64::from(*value))).sum();
    let error = |(a, b): (&f32, f32)| square(f64::from(*a) - f64::from(b));
    values.iter().zip(weight.to_f32()).map(error).sum::<f64>() / total
}

#[test]
fn lloyd_max_levels_are_the_best_codebooks() {
    let values = Random(2026).gaussian(1 << 18);
    for (name, loftq, midpoints) in [("nf3", &LOFTQ3[..], &MIDPOINTS3[..]), ("nf2", &LOFTQ2, &MIDPOINTS2)] {
        let ours = by_name(name).unwrap().codebook();
        let errors = [loftq, midpoints, ours].map(|codebook| {
            let error = |search| relative_error(name, codebook, search, &values);
            (error(ScaleSearch::Absmax), error(ScaleSearch::Grid))
        });
        println!("{name}: absmax and searched error of LoftQ, midpoints, Lloyd-Max: {errors:.5?}");
        let best = errors[2].1;
        assert!(best < errors[1].1 && best < errors[0].1, "{name}: {errors:?}");
    }
}

/// The anchors of groups of 64 and their best of 121 scales for codebooks that are not ours.
#[test]
fn errors_of_other_codebooks_are_those_of_the_table() {
    let values = Random(2026).gaussian(1 << 18);
    for (name, codebook, absmax, best) in [
        ("nf3", &LOFTQ3[..], 0.04063, 0.03293),
        ("nf3", &MIDPOINTS3, 0.03657, 0.02929),
        ("nf2", &LOFTQ2, 0.31652, 0.14301),
        ("nf2", &MIDPOINTS2, 0.21629, 0.11144),
    ] {
        let found = relative_error(name, codebook, ScaleSearch::Absmax, &values);
        assert!((found / absmax - 1.0).abs() < 0.01, "{name}: absmax {found:.5}, table {absmax}");
        let found = relative_error(name, codebook, ScaleSearch::Grid, &values);
        assert!(found / best < 1.01 && found / best > 0.96, "{name}: search {found:.5}, table {best}");
    }
}

/// bitsandbytes' FP4 values, in its order of codes, and GGUF's IQ4_NL, whose largest is on one side only.
#[test]
fn codebooks_of_others_keep_their_values() {
    let fp4 = [0.0f32, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0].map(|value| value / 12.0);
    let fp4: Vec<f32> = fp4.iter().copied().chain(fp4.map(|value| -value)).collect();
    let iq4: [f32; 16] = [
        -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0,
        113.0,
    ];
    for codebook in [fp4, iq4.to_vec()] {
        let scales = [0.0123f32, -1.7e-3, 3.0e-20, 5.0];
        let codes: Vec<u8> = (0..64u8).map(|byte| byte.wrapping_mul(37) ^ 0x5a).collect();
        let parts = Parts {
            scales: scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
            codebook: Arc::from(&codebook[..]),
            ..Parts::codes_only(codes.clone().into())
        };
        let weight = Weight::new(by_name("lut4-g32").unwrap(), 1, 128, parts).unwrap();
        weight.validate().unwrap();
        let value =
            |col: usize| scales[col / 32] * codebook[usize::from(codes[col / 2] >> (4 * (col % 2)) & 15)];
        let expected: Vec<f32> = (0..128).map(value).collect();
        assert_eq!(weight.to_f32(), expected);
        assert_eq!(weight.slice_rows(0..1).permute_rows(&[0]).to_f32(), expected);
        let again =
            Weight::encode_with(weight.format(), 1, 128, &expected, Rounding::default(), &codebook).unwrap();
        assert_eq!(again.to_f32(), expected);
    }
}

#[test]
fn codebooks_that_cannot_be_used_are_refused() {
    let nf4 = by_name("nf4").unwrap();
    let encode = |codebook: &[f32]| {
        Weight::encode_with(nf4, 1, 2, &[1.0, 2.0], Rounding::default(), codebook).unwrap_err().to_string()
    };
    assert_eq!(encode(&[1.0; 8]), "codebook of 8 values, nf4 expects 16 finite values, not all 0");
    assert_eq!(encode(&[f32::NAN; 16]), "codebook with NaN, nf4 expects 16 finite values, not all 0");
    assert_eq!(encode(&[0.0; 16]), "codebook of zeros, nf4 expects 16 finite values, not all 0");

    let weight = Weight::encode(nf4, 1, 2, &[1.0, 2.0], Rounding::default()).unwrap();
    let with = |codebook: Vec<f32>| {
        let parts = Parts { codebook: codebook.into(), ..weight.parts().clone() };
        Weight::new(nf4, 1, 2, parts).and_then(|weight| weight.validate())
    };
    assert_eq!(with(vec![0.5; 16]), Ok(()));
    for codebook in [vec![], vec![1.0; 15], vec![f32::INFINITY; 16], vec![0.0; 16]] {
        assert!(matches!(with(codebook), Err(Error::Codebook { format: "nf4", .. })));
    }
    let error = with(vec![f32::MAX; 16]).unwrap_err();
    assert!(matches!(error, Error::Group { field: "scale", .. }), "{error}");

    let int4 = by_name("int4").unwrap();
    let weight = Weight::encode(int4, 1, 2, &[1.0, 2.0], Rounding::default()).unwrap();
    let parts = Parts { codebook: Arc::from([1.0]), ..weight.parts().clone() };
    let error = Weight::new(int4, 1, 2, parts).unwrap_err().to_string();
    assert_eq!(error, "codebook of 1 values, int4 expects none");
}
