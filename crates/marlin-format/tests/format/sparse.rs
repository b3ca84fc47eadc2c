//! 2:4 sparse rows: which columns are kept, what becomes of them, positions that cannot be.

use crate::random::Random;
use marlin_format::{
    Error, FORMATS, Format, Layout, Parts, Rounding, Row, RowMut, ScaleSearch, Weight, by_name,
    position_bytes,
};

fn sparse() -> impl Iterator<Item = &'static dyn Format> {
    let is_sparse = |format: &&dyn Format| matches!(format.layout(), Layout::Grouped { sparse: true, .. });
    FORMATS.iter().copied().filter(is_sparse)
}

/// The format of all columns that a sparse format takes two of four of.
fn dense(format: &dyn Format) -> &'static dyn Format {
    by_name(format.name().strip_suffix("+sparse24").unwrap()).unwrap()
}

fn encode(format: &'static dyn Format, values: &[f32], importance: Option<&[f32]>) -> Weight {
    let how = Rounding { search: ScaleSearch::Grid, importance };
    Weight::encode(format, 1, values.len(), values, how).unwrap()
}

#[test]
fn every_code_has_a_sparse_form() {
    let names: Vec<&str> = sparse().map(|format| format.name()).collect();
    assert_eq!(names.len(), 5);
    for format in sparse() {
        let (sparse, dense) = (format.layout(), dense(format).layout());
        assert_eq!((sparse.code(), sparse.group()), (dense.code(), dense.group()), "{}", format.name());
    }
}

#[test]
fn the_two_largest_of_four_are_kept_also_of_the_last_few() {
    for cols in [1, 2, 3, 4, 5, 7, 31, 33, 64, 129, 258] {
        let values = Random(cols as u64).gaussian(cols);
        for format in sparse() {
            let decoded = encode(format, &values, None).to_f32();
            for (values, decoded) in values.chunks(4).zip(decoded.chunks(4)) {
                let mut largest: Vec<f32> = values.iter().map(|value| value.abs()).collect();
                largest.sort_by(|a, b| b.total_cmp(a));
                let cut = largest.get(2).copied().unwrap_or(0.0);
                for (value, decoded) in values.iter().zip(decoded) {
                    let kept = value.abs() > cut || values.len() <= 2;
                    assert!(kept || *decoded == 0.0, "{}: {values:?} {decoded}", format.name());
                }
            }
        }
    }
}

/// A mask that someone else chose stays, even where what it keeps is smaller than what it drops elsewhere,
/// and the values are those of the dense format for the kept columns alone.
#[test]
fn a_sparse_row_keeps_its_columns_and_loses_only_rounding() {
    let mut random = Random(11);
    let mut values = random.gaussian(512);
    for four in values.chunks_mut(4) {
        let a = random.bits() as usize % 4;
        let b = (a + 1 + random.bits() as usize % 3) % 4;
        four[a] = 0.0;
        four[b] = 0.0;
    }
    let importance: Vec<f32> =
        (0..512).map(|col| if col % 3 == 0 { 0.0 } else { 1.0 + col as f32 }).collect();
    for format in sparse() {
        for importance in [None, Some(&importance[..])] {
            let weight = encode(format, &values, importance);
            let parts = weight.parts();
            let start = parts.codes.len() - position_bytes(512);
            let positions = &parts.codes[start..];
            for (four, values) in values.chunks(4).enumerate() {
                let nibble = positions[four / 2] >> (4 * (four % 2));
                let places = [usize::from(nibble & 3), usize::from(nibble >> 2 & 3)];
                assert!(places[0] < places[1], "{}", format.name());
                for (at, value) in values.iter().enumerate() {
                    assert!(
                        *value == 0.0 || places.contains(&at),
                        "{}: {values:?} {places:?}",
                        format.name()
                    );
                }
            }
        }
        let error = |decoded: Vec<f32>| -> f64 {
            values.iter().zip(decoded).map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).sum()
        };
        let sparse = error(encode(format, &values, None).to_f32());
        let dense = error(encode(dense(format), &values, None).to_f32());
        assert!(sparse <= 1.05 * dense, "{}: {sparse}, dense {dense}", format.name());
    }
}

/// What others choose, a mask and levels, is assigned as it is.
#[test]
fn two_levels_of_four_are_assigned_as_they_are() {
    let values = Random(12).gaussian(300);
    for format in sparse() {
        let weight = encode(format, &values, None);
        let row = weight.row(0);
        let level = |col: usize, value: f32| {
            let group = col / format.layout().group();
            format.levels(row, group).unwrap().nearest(value)
        };
        // The first and the last of each four, whichever are larger.
        let masked = |(col, value): (usize, &f32)| if col % 4 % 3 == 0 { level(col, *value) } else { 0.0 };
        let expected: Vec<f32> = values.iter().enumerate().map(masked).collect();
        let (mut codes, mut scales) = (vec![0; row.codes.len()], row.scales.to_vec());
        let (codes, scales) = (&mut codes[..], &mut scales[..]);
        let Row { cols, codebook, tensor_scale, .. } = row;
        let mut out = RowMut { cols, codes, scales, zeros: &mut [], codebook, tensor_scale };
        format.assign(&expected, out.reborrow()).unwrap();
        let mut decoded = vec![0.0; 300];
        format.decode(out.as_row(), &mut decoded);
        assert_eq!(decoded, expected, "{}", format.name());
    }
}

/// What the smaller two of each four carry of N(0, 1).
#[test]
fn dropping_half_of_the_columns_costs_what_the_table_says() {
    let values = Random(2026).gaussian(1 << 18);
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    let decoded = encode(by_name("fp8-e4m3+sparse24").unwrap(), &values, None).to_f32();
    let error: f64 = values.iter().zip(decoded).map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).sum();
    // 0.1322 of dropping, 0.0007 of the other 0.8678 of rounding.
    assert!((error / squares / 0.1328 - 1.0).abs() < 0.01, "{}", error / squares);
}

#[test]
fn importance_decides_which_columns_are_kept() {
    for format in sparse() {
        let decoded = encode(format, &[1.0, 2.0, 3.0, 4.0], Some(&[100.0, 50.0, 1.0, 1.0])).to_f32();
        let dropped: Vec<bool> = decoded.iter().map(|value| *value == 0.0).collect();
        assert_eq!(dropped, [false, false, true, true], "{}", format.name());
    }
}

#[test]
fn positions_that_do_not_ascend_are_found() {
    for format in sparse() {
        let weight = encode(format, &[1.0; 300], None);
        assert_eq!(weight.validate(), Ok(()), "{}", format.name());
        for pair in [0x0u8, 0x5, 0x1, 0x6, 0xf] {
            let mut codes = weight.parts().codes.to_vec();
            let at = codes.len() - position_bytes(300) + 35;
            codes[at] = codes[at] & 15 | pair << 4;
            let parts = Parts { codes: codes.into(), ..weight.parts().clone() };
            let weight = Weight::new(format, 1, 300, parts).unwrap();
            let Err(Error::Group { field: "positions", group, row: 0, .. }) = weight.validate() else {
                panic!("{}: {pair:x} was not found", format.name())
            };
            assert_eq!(group, 284 / format.layout().group(), "{}", format.name());
            assert!(weight.to_f32().iter().all(|value| value.is_finite()));
        }
    }
}
