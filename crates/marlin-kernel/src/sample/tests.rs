//! Choices against an obvious reference (f64, full sort, probabilities written out) and against values
//! worked out by hand.

use proptest::prelude::*;

use super::{reference::Row, *};

fn draw(choice: &Choice, logits: &[f32], uniform: f32) -> u32 {
    choose(logits, &Choice { uniform, ..choice.clone() }, 0, &mut Scratch::default()).unwrap()
}

/// Tokens drawn by 200 numbers over 0..1, each once, ascending.
fn support(choice: &Choice, logits: &[f32]) -> Vec<u32> {
    let mut drawn: Vec<u32> = (0..200).map(|at| draw(choice, logits, at as f32 / 200.0)).collect();
    drawn.sort_unstable();
    drawn.dedup();
    drawn
}

#[test]
fn ties_go_to_the_lower_token() {
    let row = [1.0, 5.0, 5.0, -0.0, 5.0];
    assert_eq!(draw(&Choice::default(), &row, 0.0), 1);
    assert_eq!(support(&Choice { top_k: 2, ..PLAIN }, &row), [1, 2]);
    assert_eq!(support(&Choice { top_p: 0.6, ..PLAIN }, &row), [1, 2]);
    assert_eq!(support(&Choice { min_p: 1.0, ..PLAIN }, &row), [1, 2, 4]);
    // Half of four equal tokens is reached by two exactly.
    assert_eq!(support(&Choice { top_p: 0.5, ..PLAIN }, &[7.0; 4]), [0, 1]);
}

#[test]
fn the_number_walks_through_the_tokens_in_order() {
    let row = [0.0, 3.0f32.ln(), f32::NEG_INFINITY, 4.0f32.ln()];
    let at = |uniform| draw(&PLAIN, &row, uniform);
    assert_eq!([at(0.0), at(0.124), at(0.126), at(0.499), at(0.501), at(0.999)], [0, 0, 1, 1, 3, 3]);
}

#[test]
fn rows_without_a_distribution() {
    for temperature in [0.0, 1.0] {
        let choice = Choice { temperature, ..PLAIN };
        let of = |row: &[f32]| choose(row, &choice, 0, &mut Scratch::default());
        let nan = of(&[0.0, f32::NAN, 1.0]);
        assert!(matches!(nan, Err(BadLogits::NotFinite { token: 1, value }) if value.is_nan()), "{nan:?}");
        let inf = of(&[0.0, 1.0, f32::INFINITY]);
        assert_eq!(inf, Err(BadLogits::NotFinite { token: 2, value: f32::INFINITY }));
        assert_eq!(of(&[f32::NEG_INFINITY; 3]), Err(BadLogits::NoToken { tokens: 3 }));
        assert_eq!(of(&[f32::NEG_INFINITY, f32::MIN]), Ok(1));
    }
}

#[test]
fn penalties_by_hand() {
    // Only the differences of two logits show in a greedy choice: find where token 1 overtakes.
    let overtakes = |choice: &Choice, own: u32, logits: [f32; 2], at: f32| {
        let of = |second: f32| choose(&[logits[0], second], choice, own, &mut Scratch::default()).unwrap();
        assert_eq!((of(at - 1e-3), of(at + 1e-3)), (0, 1), "{choice:?}");
    };
    let penalties = Choice {
        temperature: 0.0,
        repetition_penalty: 2.0,
        frequency_penalty: 0.25,
        presence_penalty: 0.5,
        ..PLAIN
    };
    let seen = |seen: &[(u32, u32)]| Choice { seen: seen.to_vec(), ..penalties.clone() };
    overtakes(&seen(&[(0, 0)]), 0, [4.0, 0.0], 2.0);
    overtakes(&seen(&[(0, 0)]), 0, [-4.0, 0.0], -8.0);
    overtakes(&seen(&[(0, 2)]), 0, [3.0, 0.0], 0.5);
    overtakes(&seen(&[(0, 2)]), 0, [-3.0, 0.0], -7.0);
    // The own token counts once more, listed or not; without `own` it does not, nor if it is none.
    let own = |list: &[(u32, u32)]| Choice { own: true, ..seen(list) };
    overtakes(&own(&[(0, 1)]), 0, [3.0, 0.0], 0.5);
    overtakes(&own(&[]), 0, [3.0, 0.0], 0.75);
    overtakes(&own(&[(0, 0)]), NO_TOKEN, [4.0, 0.0], 2.0);
    overtakes(&seen(&[]), 0, [3.0, 0.0], 3.0);
}

#[test]
fn a_choice_out_of_range_is_refused() {
    let (mut plan, _) = plan_of(7, 0);
    plan.logits = Some(crate::plan::BufferId(0));
    let refusal = |change: fn(&mut Batch)| {
        let mut batch = Case::rows("refused", plan.clone(), 1).plays[0].batch.clone();
        batch.choices = vec![PLAIN];
        batch.check(&plan, 16, 4).unwrap();
        change(&mut batch);
        batch.check(&plan, 16, 4).unwrap_err().to_string().strip_prefix("batch: ").unwrap().to_owned()
    };
    assert_eq!(
        refusal(|batch| batch.choices.push(PLAIN)),
        "choices: found 2, expected 0 or 1, one for each output"
    );
    assert_eq!(
        refusal(|batch| batch.choices[0].temperature = -1.0),
        "temperature: found -1, expected 0 or more"
    );
    assert_eq!(refusal(|batch| batch.choices[0].top_p = f32::NAN), "top_p: found NaN, expected 0 to 1");
    assert_eq!(
        refusal(|batch| batch.choices[0].uniform = 1.0),
        "uniform: found 1, expected 0 or more, below 1"
    );
    assert_eq!(
        refusal(|batch| batch.choices[0].repetition_penalty = 0.0),
        "repetition penalty: found 0, expected more than 0"
    );
    assert_eq!(
        refusal(|batch| batch.choices[0].seen = vec![(1, 0), (1, 2)]),
        "seen token: found 1, expected ascending tokens"
    );
    assert_eq!(
        refusal(|batch| batch.choices[0].seen = vec![(7, 0)]),
        "seen token: found 7, expected fewer than 7"
    );
    // A plan that does not sample takes no choice.
    plan.steps.clear();
    let mut batch = Case::rows("refused", plan.clone(), 1).plays[0].batch.clone();
    batch.choices = vec![PLAIN];
    let error = batch.check(&plan, 16, 4).unwrap_err().to_string();
    assert_eq!(error, "batch: choices: found 1, expected 0, as the plan does not sample");
}

#[test]
fn a_plan_samples_once() {
    let (mut plan, logits) = plan_of(7, 0);
    plan.add_sampling("again", logits);
    let error = plan.check().unwrap_err().to_string();
    assert_eq!(error, "step 2 (sampling): steps that sample: found 2, expected 1 at most");
}

#[test]
fn chosen_tokens_are_played_and_checked() {
    let case = chosen_before("chosen");
    let mut player = crate::ReferencePlayer::new(case.plan.clone(), case.page_size, case.pages).unwrap();
    let words = |player: &mut crate::ReferencePlayer, play: usize| {
        use crate::Player;
        player.begin(&case.plays[play].batch).unwrap();
        player.write(case.plays[play].inputs[0].0, &case.plays[play].inputs[0].1).unwrap();
        player.run(0..2).unwrap();
        let (_, out) = case.plan.sampling().unwrap();
        let chosen = player.read(out.buffer).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        (player.read(crate::plan::BufferId(0)).unwrap(), chosen)
    };
    let (_, first) = words(&mut player, 0);
    assert_eq!(first[1], NO_TOKEN);
    let (x, second) = words(&mut player, 1);
    let row = |token: u32| case.plan.weights[0].1.to_f32()[token as usize * 5..][..5].to_vec();
    // Row 0 plays what output 1 chose: nothing, so token 0.
    assert_eq!(x, [row(0), row(first[2]), row(first[0])].concat());
    // Output 0 is of row 2, which played its own best token: now penalised.
    assert_ne!(second[0], first[0]);
    let mut batch = case.plays[1].batch.clone();
    batch.tokens[0] = Batch::chosen(3);
    let error = crate::Player::begin(&mut player, &batch).unwrap_err().to_string();
    assert_eq!(error, "batch: chosen token: found 3, expected an output below 3 of the batch before");
}

#[test]
fn submitting_and_collecting_in_order() {
    use crate::Player as _;
    let (mut plan, logits) = plan_of(7, 0);
    plan.steps.clear();
    let table = plan.add_weight("table", case::matrix(7, 7, &Random::new(3).normals(49)));
    let x = plan.add_buffer("x", Rows::Tokens, 7, Word::F32);
    plan.add_step("embed", Op::Embed { table, scale: 1.0, out: x });
    plan.add_step("gather", Op::Gather { x, out: logits });
    plan.add_sampling("sample", logits);
    let mut player = crate::ReferencePlayer::new(plan.clone(), 16, 4).unwrap();
    let mut twin = crate::ReferencePlayer::new(plan.clone(), 16, 4).unwrap();
    let chooser = player.chooser().unwrap();
    let mut batch = Case::rows("submitted", plan.clone(), 1).plays[0].batch.clone();
    let error = chooser.submit(&batch).unwrap_err().to_string();
    assert_eq!(error, "batch: choices: found 0, expected 1, one for each output");
    batch.choices = vec![Choice::default()];
    let mut expected = Vec::new();
    for _ in 0..3 {
        chooser.submit(&batch).unwrap();
        twin.begin(&batch).unwrap();
        twin.run(0..3).unwrap();
        expected.push(twin.read(plan.sampling().unwrap().1.buffer).unwrap()[0].to_bits());
        batch.tokens[0] = Batch::chosen(0);
    }
    let collected: Vec<u32> = (0..3).flat_map(|_| chooser.collect().unwrap()).collect();
    assert_eq!(collected, expected);
    let error = chooser.collect().unwrap_err().to_string();
    assert_eq!(error, "batch: batches submitted: found 0, expected 1 or more to collect");
}

/// The probability of each token by the definitions on [`Choice`], penalties left out.
fn probabilities(choice: &Choice, logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let weight = |token: usize| ((logits[token] - logits[order[0]]) / f64::from(choice.temperature)).exp();
    let kept = if choice.top_k > 0 { (choice.top_k as usize).min(order.len()) } else { order.len() };
    let mass: f64 = order[..kept].iter().map(|&token| weight(token)).sum();
    let (mut sum, mut shares) = (0.0, vec![0.0; logits.len()]);
    for &token in &order[..kept] {
        if choice.top_p < 1.0 && sum > 0.0 && sum >= f64::from(choice.top_p) * mass {
            break;
        }
        sum += weight(token);
        if weight(token) >= f64::from(choice.min_p) {
            shares[token] = weight(token);
        }
    }
    let total: f64 = shares.iter().sum();
    shares.iter().map(|weight| weight / total).collect()
}

proptest! {
    /// The cutoff keeps exactly the reference's support, with and without ties.
    #[test]
    fn the_cutoff_keeps_the_support(
        levels in prop::collection::vec(0u32..2000, 1..700),
        steps in prop_oneof![Just(1u32), Just(2000), Just(100)],
        temperature in 0.05f32..3.0,
        top_k in prop_oneof![Just(0u32), 1u32..800],
        top_p in prop_oneof![Just(1.0f32), Just(0.0), 0.0f32..1.0],
        min_p in prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0],
    ) {
        let row: Vec<f32> = levels.iter().map(|level| (level / steps * steps) as f32 / 500.0).collect();
        let choice = Choice { temperature, top_k, top_p, min_p, ..PLAIN };
        let expected = probabilities(&choice, &row);
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let ranked = Row { logits: &row, max, temperature };
        let cutoff = ranked.cutoff(&choice, &mut Vec::new());
        let kept: Vec<u32> = ranked.kept(cutoff).map(|(token, _)| token).collect();
        let possible = |&token: &u32| expected[token as usize] > 0.0;
        let support: Vec<u32> = (0..row.len() as u32).filter(possible).collect();
        prop_assert_eq!(kept, support);
    }

    /// Any share of the mass picks a kept token, and the picks in order of the share are in order.
    #[test]
    fn any_share_picks_a_kept_token(
        row in prop::collection::vec(-20.0f32..20.0, 1..200),
        shares in prop::collection::vec(0.0f64..1.0, 1..20),
        top_k in 0u32..20,
    ) {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let ranked = Row { logits: &row, max, temperature: 1.0 };
        let cutoff = ranked.cutoff(&Choice { top_k, ..PLAIN }, &mut Vec::new());
        let mut shares = shares;
        shares.extend([0.0, 1.0 - f64::EPSILON]);
        shares.sort_by(f64::total_cmp);
        let picks: Vec<u32> = shares.iter().map(|&share| ranked.pick(cutoff, share)).collect();
        prop_assert!(picks.is_sorted());
        prop_assert!(picks.iter().all(|&token| ranked.kept(cutoff).any(|(kept, _)| kept == token)));
    }
}
