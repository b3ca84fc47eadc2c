//! An expert against values worked out by hand, and the layer against a dense loop over all experts.

use super::{KERNEL, reference::expert};
use crate::{
    Player, ReferencePlayer,
    case::matrix,
    plan::{Activation, Op},
};

#[test]
fn a_small_expert() {
    // gate x = ln 3, up x = 4: silu is 3/4 ln 3, times 4 is 3 ln 3; down doubles and negates it.
    let (gate, up) = (matrix(1, 2, &[3.0f32.ln(), 0.0]), matrix(1, 2, &[3.0, 1.0]));
    let out = expert(&[1.0, 1.0], &gate, &up, &matrix(2, 1, &[2.0, -1.0]), Activation::Silu);
    let three = 3.0 * 3.0f64.ln();
    assert!((out[0] - 2.0 * three).abs() < 1e-6 && (out[1] + three).abs() < 1e-6, "{out:?}");
}

#[test]
fn a_dense_loop_over_all_experts_agrees() {
    let case = (KERNEL.cases)().into_iter().find(|case| case.name == "every format, shared").unwrap();
    let Op::MoeExperts { x, experts, weights, bank, shared, activation, out } = case.plan.steps[0].op.clone()
    else {
        unreachable!()
    };
    let input = |view: crate::plan::View| -> &[f32] {
        let found = case.plays[0].inputs.iter().find(|(buffer, _)| *buffer == view.buffer);
        &found.unwrap().1
    };
    let mut player = ReferencePlayer::new(case.plan.clone(), case.page_size, case.pages).unwrap();
    player.begin(&case.plays[0].batch).unwrap();
    for (buffer, values) in &case.plays[0].inputs {
        player.write(*buffer, values).unwrap();
    }
    player.run(0..1).unwrap();
    let found = player.read(out.buffer).unwrap();
    let shared_at = bank.len();
    for row in 0..17 {
        let mut expected: Vec<f64> =
            input(out)[row * 21..][..21].iter().map(|&value| f64::from(value)).collect();
        for (at, matrices) in bank.iter().chain(&shared).enumerate() {
            // The weight of an expert that is not chosen is zero.
            let chosen = &input(experts)[row * 4..][..4];
            let place = chosen.iter().position(|word| word.to_bits() as usize == at);
            let weight = place.map_or(0.0, |place| f64::from(input(weights)[row * 4 + place]));
            let weight = if at == shared_at { 1.0 } else { weight };
            let [gate, up, down] = [matrices.gate, matrices.up, matrices.down].map(|id| case.plan.weight(id));
            let values = expert(&input(x)[row * x.len()..][..x.len()], gate, up, down, activation);
            for (sum, value) in expected.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        for (found, expected) in found[row * 21..][..21].iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "row {row}: {found} {expected}");
        }
    }
}

#[test]
fn an_expert_that_does_not_exist_is_an_error() {
    let case = &(KERNEL.cases)()[0];
    let mut player = ReferencePlayer::new(case.plan.clone(), case.page_size, case.pages).unwrap();
    player.begin(&case.plays[0].batch).unwrap();
    // Nothing was written: the experts are the bits of NaN.
    let error = player.run(0..1).unwrap_err().to_string();
    assert_eq!(error, "reference: row 0 chooses expert 2143289344, there are 5");
}
