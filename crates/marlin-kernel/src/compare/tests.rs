//! Every kind of difference is found, and its numbers are right.

use super::{Deviation, Failure, columns, compare};
use crate::{
    Tolerance,
    plan::{Buffer, BufferId, Rows, View, Word},
};

fn buffer(word: Word) -> Buffer {
    Buffer { label: "out".to_owned(), rows: Rows::Tokens, width: 2, word }
}

const LOOSE: Tolerance = Tolerance { relative: 1.0, peak: 1.0 };

#[test]
fn the_norm_and_the_peak_are_relative_to_the_truth() {
    let found = compare(&buffer(Word::F32), &[true; 2], &[3.0, 3.0], &[3.0, 4.0], LOOSE).unwrap();
    assert_eq!(found, Deviation { relative: 0.2, peak: 0.25 });
}

#[test]
fn one_bad_value_among_many_good_ones_is_too_far() {
    let expected = [1.0; 2000];
    let mut found = expected;
    found[1001] = 1.1;
    let tolerance = Tolerance { relative: 0.01, peak: 0.05 };
    let failure = compare(&buffer(Word::F32), &[true; 2], &found, &expected, tolerance).unwrap_err();
    assert!(matches!(failure, Failure::Far { row: 500, col: 1, found: 1.1, .. }), "{failure}");
    assert!(failure.to_string().starts_with("out: relative error 2.24e-3, worst value 1.00e-1"), "{failure}");
}

#[test]
fn zeros_are_compared_as_they_are() {
    let compare =
        |found: &[f32]| compare(&buffer(Word::F32), &[true; 2], found, &[0.0; 2], Tolerance::relative(1e-3));
    assert!(compare(&[0.0, 1e-4]).is_ok());
    assert!(matches!(compare(&[0.0, 1e-2]), Err(Failure::Far { .. })));
}

#[test]
fn nan_and_infinity_never_agree() {
    for value in [f32::NAN, f32::INFINITY] {
        for (found, expected) in [(value, 1.0), (1.0, value), (value, value)] {
            let failure = compare(&buffer(Word::F32), &[true; 2], &[0.0, found], &[0.0, expected], LOOSE);
            assert!(matches!(failure, Err(Failure::NotFinite { row: 0, col: 1, .. })));
        }
    }
}

#[test]
fn words_are_compared_as_bits() {
    let words = [f32::from_bits(7), f32::from_bits(9)];
    let other = [f32::from_bits(7), f32::from_bits(8)];
    assert!(compare(&buffer(Word::U32), &[true; 2], &words, &words, LOOSE).is_ok());
    let failure = compare(&buffer(Word::U32), &[true; 2], &other, &words, LOOSE).unwrap_err();
    assert_eq!(failure.to_string(), "out: row 0, column 1: found word 8, expected 9");
}

#[test]
fn columns_outside_the_views_do_not_count() {
    let view = View { buffer: BufferId(0), start: 1, heads: 2, stride: 3, width: 1 };
    let covered = columns(6, std::iter::once(&view));
    assert_eq!(covered, [false, true, false, false, true, false]);
    let wide = Buffer { width: 6, ..buffer(Word::F32) };
    let (found, expected) = ([9.0, 1.0, 9.0, 9.0, 2.0, 9.0], [0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
    assert_eq!(compare(&wide, &covered, &found, &expected, LOOSE).unwrap(), Deviation::default());
}

#[test]
fn another_length_is_a_difference() {
    let failure = compare(&buffer(Word::F32), &[true; 2], &[0.0; 2], &[0.0; 4], LOOSE).unwrap_err();
    assert_eq!(failure.to_string(), "out: found 2 values, expected 4");
}
