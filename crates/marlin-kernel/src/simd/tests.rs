//! Products have the same bits however many are computed together and whichever path reads the weight.

use marlin_format::FORMATS;

use super::{Activation, Isa, Scratch};
use crate::{
    Random,
    matmul::simd::{Product, for_pick},
};

/// Activations that are enough for every path: in place, tiles of 4, 2 and 1.
const ROWS: usize = 7;

fn activations(isa: Isa, random: &mut Random, cols: usize, int8: bool) -> Vec<Activation> {
    let mut rows = vec![Activation::default(); ROWS];
    for row in &mut rows {
        let forms = super::Forms { f32: !int8, int8 };
        row.load(isa, &random.normals(cols), forms);
    }
    rows
}

/// Products as `[picks, rows]`.
fn compute(isa: Isa, product: &Product<'_>) -> Vec<f32> {
    let (rows, picks) = (product.rows.len(), product.picks.len());
    let mut out = vec![f32::NAN; rows * picks];
    product.compute(isa, &mut Scratch::default(), &mut out);
    let mut sorted = vec![f32::NAN; rows * picks];
    for pick in 0..picks {
        for_pick(&out, rows, picks, pick, |start, values| {
            sorted[pick * rows + start..][..values.len()].copy_from_slice(values);
        });
    }
    sorted
}

/// Every format with columns it can hold, multiples of 32 or not.
fn shapes() -> impl Iterator<Item = (&'static dyn marlin_format::Format, usize)> {
    let cols =
        |multiple: usize| if multiple == 1 { vec![1, 31, 96, 272] } else { vec![multiple, 3 * multiple] };
    FORMATS.iter().flat_map(move |format| {
        cols(format.layout().cols_multiple()).into_iter().map(move |cols| (*format, cols))
    })
}

#[test]
fn a_product_does_not_depend_on_its_neighbours() {
    let mut random = Random::new(5);
    for (format, cols) in shapes() {
        let weight = random.weight(format, 11, cols).unwrap();
        for (isa, int8) in Isa::available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
            let x = activations(isa, &mut random, cols, int8 && Product::forms(&weight, int8).int8);
            let picks: Vec<u32> = (0..ROWS as u32).rev().collect();
            let product = Product { weight: &weight, rows: 0..11, x: &x, picks: &picks, int8 };
            let together = compute(isa, &product);
            for (pick, at) in picks.iter().enumerate() {
                let alone = compute(isa, &Product { picks: &[*at], ..product.clone() });
                assert_eq!(alone, together[pick * 11..][..11], "{isa}, {}, {cols} columns", format.name());
            }
            for rows in [0..4, 3..6, 4..11, 10..11, 5..5] {
                let some = compute(isa, &Product { rows: rows.clone(), picks: &[2], ..product.clone() });
                let whole = &together[(ROWS - 1 - 2) * 11..][..11];
                assert_eq!(some, whole[rows], "{isa}, {}, {cols} columns", format.name());
            }
        }
    }
}

#[test]
fn instruction_sets_agree() {
    let mut random = Random::new(6);
    for (format, cols) in shapes() {
        let weight = random.weight(format, 5, cols).unwrap();
        let values: Vec<Vec<f32>> = (0..3).map(|_| random.normals(cols)).collect();
        for int8 in [false, true] {
            let results = Isa::available().into_iter().map(|isa| {
                let mut x = vec![Activation::default(); 3];
                for (x, values) in x.iter_mut().zip(&values) {
                    x.load(isa, values, Product::forms(&weight, int8));
                }
                let product = Product { weight: &weight, rows: 0..5, x: &x, picks: &[0, 1, 2], int8 };
                (isa, compute(isa, &product))
            });
            let results: Vec<_> = results.collect();
            let (_, expected) = &results[0];
            let largest = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            for (isa, found) in &results {
                let apart = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
                // Only the fused rounding of multiply-add may differ.
                assert!(apart <= 3e-6 * largest, "{isa}, {}, {cols} columns: {apart:e}", format.name());
            }
        }
    }
}

#[test]
fn weights_without_integer_codes_always_meet_f32_activations() {
    for format in FORMATS {
        let weight = Random::new(7).weight(*format, 1, 256).unwrap();
        let integers = format.layout().has_integers();
        assert_eq!(Product::forms(&weight, true).f32, !integers, "{}", format.name());
        assert!(Product::forms(&weight, false).f32);
    }
}
