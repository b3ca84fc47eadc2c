//! An expert against values worked out by hand, and the layer against a dense loop over all experts.

use super::{KERNEL, reference::expert};
use crate::{
    Player, ReferencePlayer,
    case::matrix,
    plan::{Activation, Expert, ExpertBias, Op, Plan},
};

#[test]
fn a_small_expert() {
    // gate x = ln 3, up x = 4: silu is 3/4 ln 3, times 4 is 3 ln 3; down doubles and negates it.
    let mut plan = Plan::default();
    let mut add = |rows, cols, values: &[f32]| plan.add_weight("", matrix(rows, cols, values));
    let (gate, up) = (add(1, 2, &[3.0f32.ln(), 0.0]), add(1, 2, &[3.0, 1.0]));
    let plain = Expert { gate, up, down: add(2, 1, &[2.0, -1.0]), bias: None };
    // Biases that make the same gate and up of another input, and move the output.
    let bias =
        ExpertBias { gate: add(1, 1, &[3.0f32.ln()]), up: add(1, 1, &[4.0]), down: add(1, 2, &[1.0, 5.0]) };
    let three = 3.0 * 3.0f64.ln();
    let out = expert(&[1.0, 1.0], &plain, &plan, Activation::Silu, None);
    assert!((out[0] - 2.0 * three).abs() < 1e-6 && (out[1] + three).abs() < 1e-6, "{out:?}");
    let out = expert(&[0.0, 0.0], &Expert { bias: Some(bias), ..plain }, &plan, Activation::Silu, None);
    assert!((out[0] - 2.0 * three - 1.0).abs() < 1e-6 && (out[1] + three - 5.0).abs() < 1e-6, "{out:?}");
}

#[test]
fn a_dense_loop_over_all_experts_agrees() {
    let case = (KERNEL.cases)().into_iter().find(|case| case.name == "every format, shared").unwrap();
    let Op::MoeExperts { x, experts, weights, bank, shared, activation, rotation, out } =
        case.plan.steps[0].op.clone()
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
            let values =
                expert(&input(x)[row * x.len()..][..x.len()], matrices, &case.plan, activation, rotation);
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
