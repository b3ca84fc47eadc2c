//! Identities of the divergence on single rows.

use proptest::prelude::*;

use super::*;

fn row() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-30.0f32..30.0, 17)
}

#[test]
fn divergence_by_hand() {
    // p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 - ln 3 / 2.
    let pair = Pair::of(&[0.0, 0.0], &[0.0, 3f32.ln()], 1).unwrap();
    assert!((pair.kl - (2f64.ln() - 3f64.ln() / 2.0)).abs() < 1e-7, "{}", pair.kl);
    assert!((pair.reference_nll - 2f64.ln()).abs() < 1e-7);
    assert!((pair.candidate_nll - (4.0f64 / 3.0).ln()).abs() < 1e-7);
    assert!(!pair.same_top);
}

#[test]
fn impossible_tokens() {
    let masked = [1.0, f32::NEG_INFINITY, 2.0];
    assert_eq!(Pair::of(&masked, &masked, 0).unwrap().kl, 0.0);
    assert!(Pair::of(&masked, &[1.0, 0.0, 2.0], 0).unwrap().kl.is_finite());
    assert_eq!(Pair::of(&[1.0, 0.0, 2.0], &masked, 0).unwrap().kl, f64::INFINITY);
}

proptest! {
    #[test]
    fn of_a_row_with_itself_is_zero(row in row()) {
        let pair = Pair::of(&row, &row, 3).unwrap();
        prop_assert_eq!(pair.kl, 0.0);
        prop_assert!(pair.same_top);
    }

    #[test]
    fn shifting_all_logits_changes_nothing(row in row(), other in row(), shift in -8i8..8) {
        let shift = f32::from(shift);
        let shifted: Vec<f32> = other.iter().map(|logit| logit + shift).collect();
        let (kl, moved) = (Pair::of(&row, &other, 0).unwrap().kl, Pair::of(&row, &shifted, 0).unwrap().kl);
        prop_assert!((kl - moved).abs() <= 1e-4, "{} {}", kl, moved);
    }

    #[test]
    fn is_the_textbook_sum_and_not_negative(row in row(), other in row()) {
        let log_softmax = |row: &[f32]| -> Vec<f64> {
            let total: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            row.iter().map(|&logit| f64::from(logit) - total.ln()).collect()
        };
        let (p, q) = (log_softmax(&row), log_softmax(&other));
        let expected: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        let kl = Pair::of(&row, &other, 0).unwrap().kl;
        prop_assert!((kl - expected).abs() <= 1e-10 * expected.max(1.0), "{} {}", kl, expected);
        prop_assert!(kl >= -1e-12);
    }
}
