//! Attention against values worked out by hand and against the definition in matrices.

use super::reference::{attention, softmax};
use crate::{Random, plan::AttentionShape};

fn shape(kv_heads: usize, k_width: usize, v_width: usize) -> AttentionShape {
    let v_start = kv_heads * k_width;
    AttentionShape { kv_heads, k_start: 0, k_width, v_start, v_width, scale: 1.0, window: None }
}

#[test]
fn softmax_sums_to_one_and_ignores_a_common_offset() {
    let scores = [0.5, -3.0, 2.0];
    let probabilities = softmax(&scores);
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-15);
    let shifted = softmax(&scores.map(|score| score + 1000.0));
    assert!(probabilities.iter().zip(&shifted).all(|(a, b)| (a - b).abs() < 1e-12));
    assert_eq!(softmax(&[-1e30]), [1.0]);
    let odds = softmax(&[0.0, 3.0f64.ln()]);
    assert!((odds[0] - 0.25).abs() < 1e-15 && (odds[1] - 0.75).abs() < 1e-15);
}

#[test]
fn one_visible_row_gives_its_values() {
    let row = [9.0, 9.0, 1.0, 2.0, 3.0];
    assert_eq!(attention(&[0.3, -0.2], &[&row], &shape(1, 2, 3), &[]), [1.0, 2.0, 3.0]);
}

#[test]
fn odds_of_one_to_three() {
    let three = 3.0f32.ln();
    let out = attention(&[1.0], &[&[0.0, 8.0], &[three, 4.0]], &shape(1, 1, 1), &[]);
    assert!((out[0] - 5.0).abs() < 1e-6, "{out:?}");
}

#[test]
fn a_sink_takes_its_share_and_has_no_value() {
    // Scores ln 3 and 0 beside a sink of ln 4: weights 3/8 and 1/8.
    let three = 3.0f32.ln();
    let rows: [&[f32]; 2] = [&[three, 8.0], &[0.0, 16.0]];
    let out = attention(&[1.0], &rows, &shape(1, 1, 1), &[4.0f32.ln()]);
    assert!((out[0] - 5.0).abs() < 1e-6, "{out:?}");
    // Each head has its own.
    let out = attention(&[1.0; 2], &[&[0.0, 8.0]], &shape(1, 1, 1), &[3.0f32.ln(), -100.0]);
    assert!((out[0] - 2.0).abs() < 1e-6 && (out[1] - 8.0).abs() < 1e-6, "{out:?}");
}

#[test]
fn query_heads_share_key_heads_in_order() {
    // Four query heads over two key/value heads: 0 and 1 read the first, 2 and 3 the second.
    let out = attention(&[1.0; 4], &[&[0.0, 0.0, 10.0, 20.0]], &shape(2, 1, 1), &[]);
    assert_eq!(out, [10.0, 10.0, 20.0, 20.0]);
}

#[test]
fn a_latent_head_reads_its_keys_as_values() {
    let latent = AttentionShape { v_start: 0, ..shape(1, 3, 2) };
    assert_eq!(attention(&[1.0, 1.0, 1.0], &[&[5.0, 6.0, 7.0]], &latent, &[]), [5.0, 6.0]);
}

#[test]
fn the_window_counts_the_token_itself() {
    let window = |window| AttentionShape { window, ..shape(1, 1, 1) };
    assert_eq!(window(None).visible(4), 0..5);
    assert_eq!(window(Some(1)).visible(4), 4..5);
    assert_eq!(window(Some(3)).visible(4), 2..5);
    assert_eq!(window(Some(99)).visible(4), 0..5);
}

#[test]
fn the_definition_in_matrices_agrees() {
    let (tokens, heads, k_width, v_width) = (9, 3, 5, 4);
    let mut random = Random::new(21);
    let row_width = heads * (k_width + v_width);
    let cache: Vec<Vec<f32>> = (0..tokens).map(|_| random.normals(row_width)).collect();
    let q: Vec<Vec<f32>> = (0..tokens).map(|_| random.normals(heads * k_width)).collect();
    let shape = AttentionShape { scale: 0.4, window: Some(4), ..shape(heads, k_width, v_width) };
    for (token, q) in q.iter().enumerate() {
        let rows: Vec<&[f32]> = shape.visible(token).map(|row| cache[row].as_slice()).collect();
        let out = attention(q, &rows, &shape, &[]);
        for head in 0..heads {
            // The whole row of the score matrix, with the hidden positions masked afterwards.
            let masked: Vec<f64> = (0..tokens)
                .map(|at| {
                    let product = |i| f64::from(q[head * k_width + i] * cache[at][head * k_width + i]);
                    let hidden = at > token || at + 4 <= token;
                    if hidden { 0.0 } else { (0.4 * (0..k_width).map(product).sum::<f64>()).exp() }
                })
                .collect();
            let sum: f64 = masked.iter().sum();
            for col in 0..v_width {
                let at = heads * k_width + head * v_width + col;
                let expected: f64 =
                    masked.iter().zip(&cache).map(|(weight, row)| weight * f64::from(row[at])).sum();
                assert!((out[head * v_width + col] - expected / sum).abs() < 1e-6);
            }
        }
    }
}
