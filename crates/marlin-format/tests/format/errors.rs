//! What is refused, and in which words.

use half::f16;
use marlin_format::{Error, FORMATS, Format, Layout, Parts, Rounding, ScaleType, Weight, by_name};

fn encode(name: &str, cols: usize, values: &[f32]) -> Result<Weight, Error> {
    Weight::encode(by_name(name).unwrap(), values.len() / cols, cols, values, Rounding::default())
}

#[test]
fn formats_are_found_by_name_and_have_one_each() {
    assert_eq!(FORMATS[0].name(), "fp4", "the default comes first");
    for format in FORMATS {
        assert_eq!(by_name(format.name()).unwrap().name(), format.name());
        assert_eq!(FORMATS.iter().filter(|other| other.name() == format.name()).count(), 1);
        assert!(format.summary().len() <= 80, "{}", format.summary());
    }
    let text = by_name("fp5").unwrap_err().to_string();
    assert!(text.starts_with("format fp5: unknown, expected one of fp4, fp4-g32,"), "{text}");
}

#[test]
fn bits_per_weight_are_those_of_the_help_text() {
    let expected = [
        ("fp4", 4.5),
        ("fp4-g32", 4.5),
        ("fp4-g64", 4.25),
        ("fp4-g128", 4.125),
        ("mxfp4", 4.25),
        ("int4", 4.15625),
        ("int4-g64", 4.3125),
        ("int4-g32", 4.625),
        ("int3", 3.296875),
        ("int3-g128", 3.1484375),
        ("int2", 2.28125),
        ("int2-g32", 2.5625),
        ("int4-sym", 4.125),
        ("int8", 8.125),
        ("nf4", 4.25),
        ("nf3", 3.25),
        ("nf2", 2.25),
        ("lut4", 4.5),
        ("lut4-g32", 5.0),
        ("fp8-e4m3", 8.0),
        ("fp8-e4m3-g128", 8.25),
        ("fp8-e5m2", 8.0),
        ("fp4+sparse24", 3.5),
        ("int4-sym+sparse24", 3.125),
        ("nf4+sparse24", 3.25),
        ("int8+sparse24", 5.125),
        ("fp8-e4m3+sparse24", 5.0),
        ("bf16", 16.0),
        ("f32", 32.0),
        ("q4_0", 4.5),
        ("q8_0", 8.5),
        ("q4_k", 4.5),
        ("q6_k", 6.5625),
        ("q2_k", 2.625),
        ("q3_k", 3.4375),
        ("q5_k", 5.5),
        ("mxfp4-gguf", 4.25),
    ];
    for (name, bits) in expected {
        assert_eq!(by_name(name).unwrap().layout().bits_per_weight(), bits, "{name}");
    }
}

#[test]
fn streams_of_another_length_are_refused() {
    for format in FORMATS {
        let layout = format.layout();
        let cols = 256;
        let lengths = [layout.code_bytes(cols), layout.scale_bytes(cols), layout.zero_bytes(cols)];
        for (stream, name) in ["codes", "scales", "zeros"].into_iter().enumerate() {
            for extra in [-1isize, 1] {
                let mut wrong = lengths.map(|len| 2 * len);
                let Some(found) = wrong[stream].checked_add_signed(extra) else { continue };
                wrong[stream] = found;
                let [codes, scales, zeros] = wrong.map(|len| vec![0; len].into());
                let parts =
                    Parts { scales, zeros, codebook: format.codebook().into(), ..Parts::codes_only(codes) };
                let expected = 2 * lengths[stream];
                assert_eq!(
                    Weight::new(*format, 2, cols, parts).unwrap_err(),
                    Error::Length { stream: name, format: format.name(), rows: 2, cols, found, expected }
                );
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    for format in FORMATS {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 3 * 256];
            values[256 + 7] = bad;
            let error = Weight::encode(*format, 3, 256, &values, Rounding::default()).unwrap_err();
            let Error::NotFinite { row: 1, col: 7, value } = error else {
                panic!("{}: {error}", format.name())
            };
            assert_eq!(value.to_bits(), bad.to_bits());
        }
    }
    let error = Weight::encode(FORMATS[0], 2, 3, &[0.0; 5], Rounding::default()).unwrap_err();
    assert_eq!(error, Error::Values { found: 5, expected: 6 });
}

#[test]
fn values_beyond_the_format_are_refused_not_made_infinite() {
    // The largest value that is fine, and the next that is not.
    for (name, fine, beyond) in [
        ("f16", 65519.0, 65520.0),
        ("bf16", f32::from_bits(0x7f7f_7fff), f32::from_bits(0x7f7f_8000)),
        ("fp4-g32", 65504.0 * 6.0, 65520.0 * 6.0),
        ("fp4-g128", 65504.0 * 6.0, 65520.0 * 6.0),
        ("int4", 65504.0 * 15.0, 65520.0 * 15.0),
        ("int3", 65504.0 * 7.0, 65520.0 * 7.0),
        ("int2", 65504.0 * 3.0, 65520.0 * 3.0),
        ("int4-sym", -65504.0 * 8.0, -65520.0 * 8.0),
        ("int8", -65504.0 * 128.0, -65520.0 * 128.0),
        ("int4-sym+sparse24", -65504.0 * 8.0, -65520.0 * 8.0),
        ("nf4", 65504.0, 65520.0),
        ("nf2", -65504.0, -65520.0),
    ] {
        let row = |value| {
            let mut values = vec![1.0; 2 * 200];
            values[200 + 170] = value;
            values
        };
        let weight = encode(name, 200, &row(fine)).unwrap();
        assert!(weight.to_f32().iter().all(|value| value.is_finite()), "{name}");
        let error = encode(name, 200, &row(beyond)).unwrap_err();
        let Error::Overflow { format, row: 1, col: 170, value, limit } = error else {
            panic!("{name}: {error}")
        };
        assert_eq!((format, value), (name, beyond));
        assert!(limit.is_finite() && limit >= 65504.0, "{name}: {limit}");
    }
    let text = encode("f16", 2, &[1.0, 2.0, 3.0, 7e4]).unwrap_err().to_string();
    assert_eq!(text, "row 1, column 1: 70000 overflows f16, largest 65504");
}

/// A weight `[3, 300]` of ones with the scale of row 2, group 1 (0 if it is the only one) replaced.
fn with_scale(name: &str, bits: &[u8]) -> Weight {
    let weight = encode(name, 300, &[1.0; 900]).unwrap();
    let mut scales = weight.parts().scales.to_vec();
    let at = weight.layout().scale_bytes(300) * 2 + bits.len() * second(weight.format());
    scales[at..at + bits.len()].copy_from_slice(bits);
    let parts = Parts { scales: scales.into(), ..weight.parts().clone() };
    Weight::new(weight.format(), 3, 300, parts).unwrap()
}

/// The second group of a row, or the only one.
fn second(format: &dyn Format) -> usize {
    usize::from(format.layout().groups(300) > 1)
}

#[test]
fn scales_that_are_not_numbers_are_found() {
    for format in FORMATS {
        let Layout::Grouped { scale, .. } = format.layout() else { continue };
        let bad: &[&[u8]] = match scale {
            ScaleType::F16 => {
                &[&f16::NAN.to_le_bytes(), &f16::INFINITY.to_le_bytes(), &[0, 0xfc], &[1, 0x7c]]
            }
            ScaleType::F32 => &[&f32::NAN.to_le_bytes(), &f32::INFINITY.to_le_bytes(), &[0, 0, 0x80, 0xff]],
            ScaleType::E4m3 => &[&[0x7f], &[0xff]],
            ScaleType::E8m0 => &[&[0xff], &[0xfe], &[0xfd]],
        };
        for bits in bad {
            let weight = with_scale(format.name(), bits);
            let error = weight.validate().unwrap_err();
            let Error::Group { row: 2, group, field: "scale", .. } = error else { panic!("{error}") };
            assert_eq!(group, second(*format), "{}", format.name());
            assert!(
                matches!(scale, ScaleType::F16 | ScaleType::F32)
                    || weight.to_f32().iter().all(|value| !value.is_nan()),
                "{}",
                format.name()
            );
            assert!(weight.slice_rows(0..2).validate().is_ok());
        }
        let good: &[&[u8]] = match scale {
            ScaleType::F16 => &[&f16::MAX.to_le_bytes(), &f16::MIN.to_le_bytes(), &[1, 0], &[0, 0]],
            ScaleType::F32 => &[&1e30f32.to_le_bytes(), &(-1e30f32).to_le_bytes(), &[1, 0, 0, 0], &[0; 4]],
            ScaleType::E4m3 => &[&[0x7e], &[0xfe], &[0], &[1]],
            ScaleType::E8m0 => &[&[0xfc], &[0], &[1]],
        };
        for bits in good {
            let weight = with_scale(format.name(), bits);
            assert_eq!(weight.validate(), Ok(()), "{} {bits:?}", format.name());
            assert!(weight.to_f32().iter().all(|value| value.is_finite()), "{} {bits:?}", format.name());
        }
    }
    let text = with_scale("fp4", &[0x7f]).validate().unwrap_err().to_string();
    assert_eq!(text, "row 2, group 1: scale NaN, fp4 expects one with which every value is finite");
}

#[test]
fn tensor_scales_and_zero_points_are_checked() {
    let weight = encode("fp4", 40, &[1.0; 80]).unwrap();
    let with = |tensor_scale| {
        let parts = Parts { tensor_scale, ..weight.parts().clone() };
        Weight::new(weight.format(), 2, 40, parts).unwrap().validate()
    };
    assert_eq!(with(0.0), Ok(()));
    assert_eq!(with(1e-38), Ok(()));
    assert!(matches!(with(f32::NAN), Err(Error::TensorScale { format: "fp4", .. })));
    assert_eq!(with(f32::INFINITY), Err(Error::TensorScale { format: "fp4", found: f32::INFINITY }));
    assert!(matches!(with(3e38), Err(Error::Group { row: 0, group: 0, field: "scale", .. })));

    let weight = encode("int4-g32", 70, &[1.0; 140]).unwrap();
    let with = |zero| {
        let zeros = vec![0, 0, 0, 16, zero, 0].into();
        let parts = Parts { zeros, ..weight.parts().clone() };
        Weight::new(weight.format(), 2, 70, parts).unwrap()
    };
    assert_eq!(with(16).validate(), Ok(()));
    let error = with(17).validate().unwrap_err();
    assert_eq!(error.to_string(), "row 1, group 1: zero point 17, int4-g32 expects at most 16");
    // Even then nothing panics.
    assert!(with(255).to_f32().iter().all(|value| value.is_finite()));

    let weight = encode("int3", 70, &[1.0; 70]).unwrap();
    let parts = Parts { zeros: vec![8, 9].into(), ..weight.parts().clone() };
    let error = Weight::new(weight.format(), 1, 70, parts).unwrap().validate().unwrap_err();
    assert_eq!(error.to_string(), "row 0, group 1: zero point 9, int3 expects at most 8");
}

#[test]
fn tensor_scales_are_powers_of_two_that_keep_the_largest_scale_in_range() {
    let fp4 = by_name("fp4").unwrap();
    for absmax in [1e-45f32, 1e-38, 1e-30, 0.07, 1.0, 2688.0, 2688.1, 5376.0, 1e20, 3e38, f32::MAX] {
        let scale = fp4.tensor_scale(absmax);
        assert_eq!(scale.to_bits() & 0x7f_ffff, 0, "{absmax}: {scale} is no power of two");
        assert!(scale.is_normal() && (1.0 / scale).is_normal() && 1.0 / (1.0 / scale) == scale);
        let largest = f64::from(absmax) / 6.0 / f64::from(scale);
        assert!(largest <= 448.0 && (largest > 224.0 || scale == 2f32.powi(-126)), "{absmax}: {largest}");
    }
    assert_eq!(fp4.tensor_scale(0.0), 1.0);
    assert_eq!(by_name("int4").unwrap().tensor_scale(5.0), 1.0);
}
