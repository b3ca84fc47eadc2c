//! Moments of inputs against plain loops in f64.

use marlin_format::Weight;
use marlin_quant::Gram;

use crate::random::{Random, on_threads};

const SIZES: [(usize, usize); 7] = [(1, 1), (3, 5), (7, 63), (65, 64), (33, 65), (128, 129), (10, 200)];

fn close(found: f64, expected: f64, size: f64) {
    assert!((found - expected).abs() <= 1e-5 * size, "{found} is not {expected}");
}

#[test]
fn moments_are_the_sums_of_products() {
    for (tokens, cols) in SIZES {
        let mut random = Random(tokens as u64);
        let (inputs, weights) = (random.inputs(tokens, cols), random.gaussian(tokens));
        let weights: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
        for weights in [None, Some(weights.as_slice())] {
            let mut gram = Gram::new(cols);
            gram.add(&inputs, weights);
            let weight = |t: usize| weights.map_or(1.0, |weights| f64::from(weights[t]));
            let sum = |i: usize, j: usize| -> f64 {
                let term = |t: usize| f64::from(inputs[t * cols + i]) * f64::from(inputs[t * cols + j]);
                (0..tokens).map(|t| weight(t) * term(t)).sum()
            };
            let squares = gram.squares();
            for (i, square) in squares.into_iter().enumerate() {
                for j in 0..cols {
                    let size = (sum(i, i) * sum(j, j)).sqrt();
                    close(f64::from(gram.at(i, j)), sum(i, j), size);
                }
                assert_eq!(square, gram.at(i, i));
            }
            assert_eq!(gram.tokens(), tokens as u64);
            close(gram.weight(), (0..tokens).map(weight).sum(), gram.weight());
        }
    }
}

#[test]
fn parts_merge_to_the_whole_and_threads_do_not_matter() {
    let (tokens, cols) = (90, 200);
    let inputs = Random(1).inputs(tokens, cols);
    let whole = |threads| {
        on_threads(threads, || {
            let mut gram = Gram::new(cols);
            inputs.chunks(40 * cols).for_each(|rows| gram.add(rows, None));
            gram
        })
    };
    let mut merged = Gram::new(cols);
    for rows in inputs.chunks(40 * cols) {
        let mut part = Gram::new(cols);
        part.add(rows, None);
        merged.merge(&part);
    }
    for threads in [1, 2, 3, 5] {
        assert_eq!(whole(threads), merged);
    }
}

#[test]
fn bytes_come_back_and_others_are_refused() {
    let mut gram = Gram::new(37);
    gram.add(&Random(2).inputs(9, 37), Some(&[0.3; 9]));
    let bytes = gram.to_bytes();
    assert_eq!(Gram::from_bytes(&bytes).unwrap(), gram);
    assert_eq!(Gram::from_bytes(&bytes).unwrap().to_bytes(), bytes);

    let refused = |bytes: &[u8]| Gram::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(refused(&bytes[..5]), "moments of inputs: 5 bytes, expected 24");
    let cut = refused(&bytes[..bytes.len() - 4]);
    assert_eq!(cut, "moments of inputs: 2832 bytes, expected 2836");
    let mut huge = bytes.clone();
    huge[..8].fill(0xff);
    assert!(refused(&huge).contains("2836 bytes, expected"));
}

#[test]
fn the_loss_is_the_squared_error_of_the_outputs() {
    for (tokens, cols) in SIZES {
        let mut random = Random(cols as u64);
        let (rows, inputs) = (67, random.inputs(tokens, cols));
        let (source, other) = (random.weight(rows, cols), random.weight(rows, cols));
        let mut gram = Gram::new(cols);
        gram.add(&inputs, None);
        let (from, to) = (source.to_f32(), other.to_f32());
        let output = |t: usize, r: usize| -> f64 {
            let term =
                |k: usize| f64::from(from[r * cols + k] - to[r * cols + k]) * f64::from(inputs[t * cols + k]);
            (0..cols).map(term).sum()
        };
        let each = (0..tokens).flat_map(|t| (0..rows).map(move |r| (t, r)));
        let expected: f64 = each.map(|(t, r)| output(t, r).powi(2)).sum();
        let found = gram.loss(&source, &other);
        close(found, expected, expected);
        assert_eq!(found, on_threads(3, || gram.loss(&source, &other)));
        assert_eq!(gram.loss(&source, &source), 0.0);
    }
}

#[test]
fn importance_is_the_mean_square_and_neutral_where_nothing_was_seen() {
    let mut gram = Gram::new(2);
    assert_eq!(gram.importance(), None);
    gram.add(&[1.0, 0.0, 3.0, 0.0], Some(&[1.0, 0.5]));
    // (1 + 9 / 2) / 1.5, and a hundredth of half of that for each.
    let mean = 5.5 / 1.5;
    let importance = gram.importance().unwrap();
    close(f64::from(importance[0]), mean * 1.005, mean);
    close(f64::from(importance[1]), mean * 0.005, mean);
    gram.add(&[f32::NAN, 0.0], None);
    assert_eq!(gram.importance(), None);
    let source = Weight::from_f32(1, 2, &[1.0, 2.0]).unwrap();
    assert!(gram.loss(&source, &Weight::from_f32(1, 2, &[1.5, 2.0]).unwrap()).is_nan());
}
