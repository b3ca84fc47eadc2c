//! Perplexity and comparison against naive computations on whole texts.

use marlin_engine::{
    BadLogits, Error,
    score::{Broken, Comparison, Perplexity, Windows, compare, perplexity},
};
use marlin_kernel::Player;

use crate::fake::{FakePlayer, logits_after};

const VOCAB: usize = 31;
const SHARPNESS: f32 = 4.0;

/// A player whose cache holds `windows` windows of `n_ctx` at once.
fn player(n_ctx: usize, windows: usize, page_size: usize) -> FakePlayer {
    let player = FakePlayer::new(VOCAB, n_ctx.div_ceil(page_size) * windows, page_size);
    player.control.lock().unwrap().sharpness = SHARPNESS;
    player
}

/// A text the fake finds likely: each window continues itself greedily, with a second choice
/// now and then, elsewhere in each window.
fn text(windows: usize, n_ctx: usize, bos: Option<u32>) -> Vec<u32> {
    let mut text = Vec::new();
    for window in 0..windows {
        let mut tokens = vec![bos.unwrap_or(window as u32 % VOCAB as u32)];
        while tokens.len() < n_ctx {
            let logits = logits_after(&tokens, VOCAB);
            let mut order: Vec<usize> = (0..VOCAB).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let surprise = tokens.len() % 8 == window + 1;
            let token = order[usize::from(surprise)];
            tokens.push(token as u32);
        }
        if bos.is_some() {
            // The text's own first token is never played, so it may be anything.
            tokens[0] = (window as u32 * 5 + 2) % VOCAB as u32;
        }
        text.extend(tokens);
    }
    text
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit * SHARPNESS)).collect();
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - total.ln()).collect()
}

/// The nll of every scored token, by the protocol's sentence.
fn naive(text: &[u32], n_ctx: usize, bos: Option<u32>) -> Vec<f64> {
    let mut nll = Vec::new();
    for chunk in text.chunks_exact(n_ctx) {
        let mut played = chunk.to_vec();
        played[0] = bos.unwrap_or(played[0]);
        for position in n_ctx / 2..=n_ctx - 2 {
            nll.push(-log_softmax(&logits_after(&played[..=position], VOCAB))[chunk[position + 1] as usize]);
        }
    }
    nll
}

fn score(player: &mut dyn Player, windows: &Windows, rows: usize) -> Perplexity {
    perplexity(player, windows, rows, |_| {}).unwrap()
}

#[test]
fn perplexity_is_the_naive_one_however_it_is_batched() {
    for (n_ctx, bos) in [(3, None), (16, None), (17, Some(7)), (33, Some(0))] {
        let text = [text(5, n_ctx, bos), vec![0; n_ctx - 1]].concat();
        let expected = naive(&text, n_ctx, bos);
        let windows = Windows::new(text, n_ctx, bos).unwrap();
        for (rows, side_by_side, page_size) in
            [(1, 1, 1), (7, 1, 4), (n_ctx, 2, 5), (1000, 3, 8), (1000, 9, 64)]
        {
            let found = score(&mut player(n_ctx, side_by_side, page_size), &windows, rows);
            assert_eq!(found.nll.len(), 5 * (n_ctx - 1 - n_ctx / 2));
            for (found, expected) in found.nll.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
    }
}

#[test]
fn perplexity_and_error_are_llama_cpps() {
    let windows = Windows::new(text(6, 32, None), 32, None).unwrap();
    let mut passes = 0;
    let found = perplexity(&mut player(32, 1, 16), &windows, 64, |so_far| {
        passes += 1;
        assert_eq!(so_far.nll.len(), passes * 15);
    })
    .unwrap();
    let count = found.nll.len() as f64;
    let mean = found.nll.iter().sum::<f64>() / count;
    let square = found.nll.iter().map(|nll| nll * nll).sum::<f64>() / count;
    let estimate = found.perplexity();
    assert!((estimate.value - mean.exp()).abs() < 1e-9);
    let error = mean.exp() * ((square - mean * mean) / (count - 1.0)).sqrt();
    assert!((estimate.error - error).abs() < 1e-9);
    assert!(error > 0.0 && estimate.value < 0.5 * VOCAB as f64, "{estimate:?}");
    assert_eq!((passes, found.broken()), (6, None));
}

fn compare_with_noise(noise: f32, rows: usize) -> Comparison {
    let windows = Windows::new(text(8, 24, Some(3)), 24, Some(3)).unwrap();
    let (mut reference, mut candidate) = (player(24, 2, 4), player(24, 5, 7));
    candidate.control.lock().unwrap().noise = noise;
    compare(&mut reference, &mut candidate, &windows, rows, |_| {}).unwrap()
}

#[test]
fn a_model_agrees_with_itself_exactly() {
    let same = compare_with_noise(0.0, 9);
    assert_eq!(same.kl, vec![0.0; 8 * 11]);
    assert_eq!((same.mean_kl().value, same.kl_quantiles([0.0, 0.5, 1.0])), (0.0, [0.0; 3]));
    assert_eq!((same.agreement().value, same.agreement().error), (1.0, 0.0));
    assert_eq!((same.perplexity_ratio().value, same.perplexity_ratio().error), (1.0, 0.0));
    assert_eq!(
        (same.mean_delta_p().value, same.rms_delta_p().value, same.rms_delta_p().error),
        (0.0, 0.0, 0.0)
    );
    assert_eq!(same.reference, same.candidate);
    assert_eq!(same.broken(), []);
}

#[test]
fn statistics_of_a_comparison() {
    let found = compare_with_noise(0.5, 50);
    assert_eq!(found, compare_with_noise(0.5, 1), "batching must not matter");
    let count = found.kl.len();
    assert_eq!(found.reference.nll, compare_with_noise(0.0, 50).reference.nll);
    assert!(found.kl.iter().all(|&kl| kl > 0.0));
    let [median, p90, p99, p999, max] = found.kl_quantiles([0.5, 0.9, 0.99, 0.999, 1.0]);
    assert!(median < p90 && p90 < p99 && p99 < p999 && p999 < max, "{median} {p90} {p99} {p999} {max}");
    assert_eq!(max, found.kl.iter().copied().fold(0.0, f64::max));

    let share = found.same_top.iter().filter(|&&same| same).count() as f64 / count as f64;
    let sigma = (share * (1.0 - share) / (count - 1) as f64).sqrt();
    assert!(
        (found.agreement().value - share).abs() < 1e-12 && (found.agreement().error - sigma).abs() < 1e-12
    );
    assert!(share < 1.0, "noise that changes no choice tests nothing");

    let ratio = found.candidate.perplexity().value / found.reference.perplexity().value;
    assert!((found.perplexity_ratio().value - ratio).abs() < 1e-9);
    let apart = found.candidate.mean_nll().error.hypot(found.reference.mean_nll().error);
    assert!(found.delta_nll().error < apart, "pairing must narrow the error");

    let deltas = found.candidate.nll.iter().zip(&found.reference.nll);
    let deltas: Vec<f64> =
        deltas.map(|(candidate, reference)| (-candidate).exp() - (-reference).exp()).collect();
    let rms = (deltas.iter().map(|delta| delta * delta).sum::<f64>() / count as f64).sqrt();
    assert!((found.mean_delta_p().value - deltas.iter().sum::<f64>() / count as f64).abs() < 1e-12);
    assert!((found.rms_delta_p().value - rms).abs() < 1e-12);
}

#[test]
fn broken_forward_passes_are_marked() {
    let windows = Windows::new(text(8, 24, None), 24, None).unwrap();
    let mut flat = player(24, 2, 4);
    flat.control.lock().unwrap().sharpness = 1e-6;
    let guess = score(&mut flat, &windows, 50);
    assert!((guess.perplexity().value - VOCAB as f64).abs() < 0.01);
    assert!(matches!(guess.broken(), Some(Broken::Perplexity { vocab_size: VOCAB, .. })));

    let found = compare(&mut player(24, 2, 4), &mut flat, &windows, 50, |_| {}).unwrap();
    assert_eq!(found.reference.broken(), None);
    // A flat row keeps its order: the choices agree and only the perplexity tells.
    assert!(matches!(found.broken()[..], [Broken::Perplexity { .. }]));
    assert!(matches!(compare_with_noise(40.0, 50).broken()[..], [.., Broken::Agreement { .. }]));
}

#[test]
fn a_nan_ends_the_evaluation_and_is_named() {
    let text = text(4, 16, None);
    let windows = Windows::new(text.clone(), 16, None).unwrap();
    let mut broken = player(16, 2, 4);
    broken.control.lock().unwrap().poison = Some(text[32..=32 + 10].to_vec());
    for rows in [3, 100] {
        let error = perplexity(&mut broken, &windows, rows, |_| {}).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Window { window: 2, position: 10, logits: BadLogits::NotFinite { token: 0, .. } }
            ),
            "{error:?}"
        );
        let error = compare(&mut player(16, 2, 4), &mut broken, &windows, rows, |_| {}).unwrap_err();
        assert!(matches!(error, Error::Window { window: 2, position: 10, .. }), "{error:?}");
    }
    // A position that is not scored may be anything.
    broken.control.lock().unwrap().poison = Some(text[32..=32 + 7].to_vec());
    assert_eq!(score(&mut broken, &windows, 5).nll.len(), 28);
}

#[test]
fn what_does_not_fit_is_refused() {
    let windows = Windows::new(text(2, 16, None), 16, None).unwrap();
    let message =
        |mut player: FakePlayer| perplexity(&mut player, &windows, 8, |_| {}).unwrap_err().to_string();
    let small = FakePlayer::new(VOCAB, 3, 5);
    assert_eq!(message(small), "evaluation: window: found 16, expected at most the 15 tokens of the cache");
    let narrow = message(FakePlayer::new(4, 4, 5));
    assert!(
        narrow.starts_with("evaluation: token: found ") && narrow.ends_with("expected tokens below 4"),
        "{narrow}"
    );
    let mut wide = FakePlayer::new(VOCAB + 1, 4, 5);
    let error = compare(&mut player(16, 1, 4), &mut wide, &windows, 8, |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "evaluation: candidate's vocabulary: found 32, expected the reference's 31"
    );
    let mut failing = player(16, 1, 4);
    failing.control.lock().unwrap().failures = 1;
    assert!(matches!(perplexity(&mut failing, &windows, 8, |_| {}), Err(Error::Player(_))));
}
