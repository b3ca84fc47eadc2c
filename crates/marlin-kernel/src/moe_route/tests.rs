//! Routing against choices worked out by hand, and the robustness of its cases.

use super::{KERNEL, SIGMOID, SOFTMAX, reference::moe_route};
use crate::{
    Random,
    plan::{Op, Routing, Scoring},
};

fn experts(chosen: &[(u32, f64)]) -> Vec<u32> {
    chosen.iter().map(|(expert, _)| *expert).collect()
}

fn weights_are(chosen: &[(u32, f64)], expected: &[f64]) -> bool {
    chosen.len() == expected.len() && chosen.iter().zip(expected).all(|((_, a), b)| (a - b).abs() < 1e-6)
}

/// Logits whose sigmoids are the given odds `n : 1`.
fn odds(odds: &[f32]) -> Vec<f32> {
    odds.iter().map(|odds| odds.ln()).collect()
}

#[test]
fn sigmoid_weights_are_renormalised_and_scaled() {
    let routing = Routing { top_k: 2, ..SIGMOID };
    // Scores 1/2, 3/4, 1/4.
    let chosen = moe_route(&odds(&[1.0, 3.0, 1.0 / 3.0]), None, &routing);
    assert_eq!(experts(&chosen), [1, 0]);
    assert!(weights_are(&chosen, &[1.8 * 0.6, 1.8 * 0.4]), "{chosen:?}");
    let plain = moe_route(&odds(&[1.0, 3.0, 1.0 / 3.0]), None, &Routing { normalize: false, ..routing });
    assert!(weights_are(&plain, &[1.8 * 0.75, 1.8 * 0.5]), "{plain:?}");
}

#[test]
fn the_bias_decides_the_choice_and_not_the_weight() {
    let routing = Routing { top_k: 2, scale: 1.0, ..SIGMOID };
    let chosen = moe_route(&odds(&[1.0, 3.0, 1.0 / 3.0]), Some(&[0.0, -1.0, 5.0]), &routing);
    assert_eq!(experts(&chosen), [2, 0]);
    assert!(weights_are(&chosen, &[1.0 / 3.0, 2.0 / 3.0]), "{chosen:?}");
}

#[test]
fn softmax_is_over_all_experts() {
    let routing = Routing { top_k: 2, normalize: false, ..SOFTMAX };
    let logits = odds(&[1.0, 5.0, 2.0]);
    assert!(weights_are(&moe_route(&logits, None, &routing), &[0.625, 0.25]));
    let normalised = Routing { normalize: true, ..routing };
    assert!(weights_are(&moe_route(&logits, None, &normalised), &[5.0 / 7.0, 2.0 / 7.0]));
}

#[test]
fn all_experts_chosen_by_softmax_have_weights_that_sum_to_the_scale() {
    let routing = Routing { scoring: Scoring::Softmax, top_k: 9, normalize: false, scale: 2.5, ..SIGMOID };
    let sum: f64 =
        moe_route(&Random::new(1).normals(9), None, &routing).iter().map(|(_, weight)| weight).sum();
    assert!((sum - 2.5).abs() < 1e-7);
}

#[test]
fn groups_compete_by_their_two_best() {
    // Sums of two: 0.9 + 0.1, 0.6 + 0.5, 0.8 + 0.2; the single best expert is in a group that loses.
    let scores = [0.9, 0.1, 0.05, 0.6, 0.5, 0.05, 0.8, 0.25, 0.05];
    let logits: Vec<f32> = scores.iter().map(|score: &f32| (score / (1.0 - score)).ln()).collect();
    let routing = Routing { top_k: 3, groups: 3, top_groups: 2, ..SIGMOID };
    assert_eq!(experts(&moe_route(&logits, None, &routing)), [6, 3, 4]);
    let one = Routing { top_groups: 1, ..routing };
    assert_eq!(experts(&moe_route(&logits, None, &one)), [3, 4, 5]);
}

#[test]
fn a_group_left_out_stays_out_though_the_kept_choices_are_negative() {
    let routing = Routing { top_k: 2, groups: 2, top_groups: 1, ..SIGMOID };
    let chosen = moe_route(&[0.0; 4], Some(&[-3.0, -3.0, -2.0, -9.0]), &routing);
    assert_eq!(experts(&chosen), [0, 1]);
}

#[test]
fn ties_go_to_the_lower_expert() {
    for routing in [SIGMOID, SOFTMAX] {
        let routing = Routing { top_k: 3, ..routing };
        assert_eq!(experts(&moe_route(&[1.0, 2.0, 1.0, 2.0, 1.0], None, &routing)), [1, 3, 0]);
    }
    let groups = Routing { top_k: 2, groups: 3, top_groups: 1, ..SIGMOID };
    assert_eq!(experts(&moe_route(&[0.5; 6], None, &groups)), [0, 1]);
}

#[test]
fn nan_and_infinite_logits_give_valid_experts() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for routing in [SIGMOID, SOFTMAX, Routing { groups: 4, top_groups: 2, ..SIGMOID }] {
        let routing = Routing { top_k: 4, ..routing };
        for logits in [[nan; 8], [inf; 8], [-inf; 8], [nan, 1.0, inf, -inf, 0.0, nan, 2.0, -1.0]] {
            let mut chosen = experts(&moe_route(&logits, None, &routing));
            chosen.sort_unstable();
            chosen.dedup();
            assert!(chosen.len() == 4 && chosen[3] < 8, "{chosen:?}");
        }
    }
    let chosen = moe_route(&[nan, 1.0, 0.0], None, &Routing { top_k: 2, ..SIGMOID });
    assert_eq!(experts(&chosen), [1, 2]);
}

/// A player's f32 rounding must not change a choice of the cases, or it would be called wrong.
#[test]
fn no_case_is_near_a_tie() {
    let mut random = Random::new(77);
    for case in (KERNEL.cases)() {
        let Op::MoeRoute { logits, bias, routing, .. } = &case.plan.steps[0].op else { unreachable!() };
        let bias = bias.map(|bias| case.plan.weight(bias).to_f32());
        if case.name.contains("equal") {
            continue;
        }
        for row in case.plays[0].inputs[0].1.chunks_exact(logits.len()) {
            let chosen = experts(&moe_route(row, bias.as_deref(), routing));
            for _ in 0..8 {
                let moved: Vec<f32> =
                    row.iter().map(|logit| logit + 4e-6 * (random.unit() as f32 - 0.5)).collect();
                assert_eq!(experts(&moe_route(&moved, bias.as_deref(), routing)), chosen, "{}", case.name);
            }
        }
    }
}
