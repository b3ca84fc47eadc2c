//! Samples against an obvious reference: f64, full sort, probabilities written out.

use super::*;

/// The probability of each token by the definitions on [`Sampling`], step by step.
fn reference(sampling: &Sampling, logits: &[f32], prompt: &[u32], answer: &[u32]) -> Vec<f64> {
    let mut logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    for &(token, bias) in &sampling.logit_bias {
        logits[token as usize] += f64::from(bias);
    }
    for (token, logit) in (0u32..).zip(&mut logits) {
        let count = answer.iter().filter(|&&seen| seen == token).count();
        if count > 0 || prompt.contains(&token) {
            let penalty = f64::from(sampling.repetition_penalty);
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        if count > 0 {
            *logit -=
                count as f64 * f64::from(sampling.frequency_penalty) + f64::from(sampling.presence_penalty);
        }
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let max = logits[order[0]];
    if sampling.temperature == 0.0 {
        return (0..logits.len()).map(|token| f64::from(u8::from(token == order[0]))).collect();
    }
    let weight = |token: usize| ((logits[token] - max) / f64::from(sampling.temperature)).exp();
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let mass: f64 = order.iter().map(|&token| weight(token)).sum();
    let mut sum = 0.0;
    let mut kept = vec![0.0; logits.len()];
    for &token in &order {
        if sampling.top_p < 1.0 && sum > 0.0 && sum >= f64::from(sampling.top_p) * mass {
            break;
        }
        sum += weight(token);
        if weight(token) >= f64::from(sampling.min_p) {
            kept[token] = weight(token);
        }
    }
    let total: f64 = kept.iter().sum();
    kept.iter().map(|weight| weight / total).collect()
}

/// Tokens drawn by a fresh sampler for each seed.
fn draw(sampling: &Sampling, logits: &[f32], prompt: &[u32], answer: &[u32], seed: u64) -> u32 {
    let mut sampler = Sampler::new(Sampling { seed: Some(seed), ..sampling.clone() }, prompt);
    answer.iter().for_each(|&token| sampler.accept(token));
    sampler.sampled = 0;
    sampler.sample(logits, &mut Scratch::default()).unwrap()
}

/// Draws agree with the reference: nothing outside the support, and chi-square below the value that
/// a right sampler exceeds once in a million (Wilson and Hilferty's approximation, 1931).
fn assert_distribution(sampling: &Sampling, logits: &[f32], prompt: &[u32], answer: &[u32]) {
    const DRAWS: u64 = 20_000;
    let expected = reference(sampling, logits, prompt, answer);
    let mut counts = vec![0u64; logits.len()];
    for seed in 0..DRAWS {
        counts[draw(sampling, logits, prompt, answer, seed) as usize] += 1;
    }
    // Rare tokens share one bin, as the test needs about five expected draws in each.
    let (mut chi, mut bins, mut rare) = (0.0, 0, (0.0, 0.0));
    let mut add = |found: f64, share: f64| {
        chi += (found - share * DRAWS as f64).powi(2) / (share * DRAWS as f64);
        bins += 1;
    };
    for (token, (&count, &share)) in counts.iter().zip(&expected).enumerate() {
        assert!(share > 0.0 || count == 0, "token {token} has probability 0, drawn {count} times");
        if share * DRAWS as f64 >= 5.0 {
            add(count as f64, share);
        } else {
            rare = (rare.0 + count as f64, rare.1 + share);
        }
    }
    if rare.1 * DRAWS as f64 >= 5.0 {
        add(rare.0, rare.1);
    } else {
        assert!(rare.0 < 30.0, "rare tokens drawn {} times", rare.0);
    }
    let freedom = f64::from(bins - 1).max(1.0);
    let spread = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - spread + 4.753 * spread.sqrt()).powi(3);
    assert!(chi <= limit, "{sampling:?}: chi-square {chi}, at most {limit} for {bins} bins");
}

const PLAIN: Sampling = Sampling {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    logit_bias: Vec::new(),
    seed: None,
};

fn logits() -> Vec<f32> {
    (0..23).map(|i: u32| ((i * 37 % 23) as f32 - 11.0) / 4.0 + (i % 3) as f32 / 8.0).collect()
}

#[test]
fn distributions_are_as_defined() {
    let cases = [
        PLAIN,
        Sampling { temperature: 0.3, ..PLAIN },
        Sampling { temperature: 2.5, ..PLAIN },
        Sampling { top_k: 5, ..PLAIN },
        Sampling { top_p: 0.8, ..PLAIN },
        Sampling { min_p: 0.2, ..PLAIN },
        Sampling { temperature: 0.7, top_k: 12, top_p: 0.9, min_p: 0.05, ..PLAIN },
        Sampling { repetition_penalty: 1.5, ..PLAIN },
        Sampling { presence_penalty: 1.0, frequency_penalty: 0.4, ..PLAIN },
        Sampling { frequency_penalty: -0.5, ..PLAIN },
        Sampling { logit_bias: vec![(0, 3.0), (7, -100.0), (9, f32::NEG_INFINITY)], ..PLAIN },
        Sampling { repetition_penalty: 1.2, presence_penalty: 0.3, top_p: 0.95, temperature: 0.8, ..PLAIN },
    ];
    for sampling in cases {
        assert_distribution(&sampling, &logits(), &[1, 2, 2, 20], &[4, 4, 4, 8, 20]);
    }
}

#[test]
fn a_uniform_row_stays_uniform() {
    assert_distribution(&PLAIN, &[0.5; 64], &[], &[]);
    assert_distribution(&Sampling { min_p: 1.0, ..PLAIN }, &[-3.0; 7], &[], &[]);
}

#[test]
fn one_generator_gives_independent_draws() {
    // Pairs of successive draws of one sampler, uniform over 8 * 8 cells.
    let mut sampler = Sampler::new(Sampling { seed: Some(3), ..PLAIN }, &[]);
    let mut scratch = Scratch::default();
    let mut counts = [0u32; 64];
    for _ in 0..20_000 {
        let first = sampler.sample(&[0.0; 8], &mut scratch).unwrap();
        counts[(first * 8 + sampler.sample(&[0.0; 8], &mut scratch).unwrap()) as usize] += 1;
    }
    let chi: f64 = counts.iter().map(|&count| (f64::from(count) - 312.5).powi(2) / 312.5).sum();
    assert!(chi < 130.0, "chi-square {chi} for 63 degrees of freedom");
}

#[test]
fn edges_of_each_filter() {
    let row = logits();
    let best = argmax(&row);
    let same = |sampling: Sampling| (0..50).all(|seed| draw(&sampling, &row, &[], &[], seed) == best);
    assert!(same(Sampling { temperature: 0.0, ..PLAIN }));
    assert!(same(Sampling { top_k: 1, ..PLAIN }));
    assert!(same(Sampling { top_p: 0.0, ..PLAIN }));
    assert!(same(Sampling { min_p: 1.0, ..PLAIN }));
    assert!(same(Sampling { temperature: f32::MIN_POSITIVE, ..PLAIN }));
    assert!(!same(PLAIN));
    for all in [
        Sampling { top_k: row.len(), ..PLAIN },
        Sampling { top_k: usize::MAX, ..PLAIN },
        Sampling { top_p: 1.0, min_p: 0.0, ..PLAIN },
    ] {
        assert!((0..200).all(|seed| draw(&all, &row, &[], &[], seed) == draw(&PLAIN, &row, &[], &[], seed)));
    }
    assert_distribution(&Sampling { temperature: f32::MAX, ..PLAIN }, &row, &[], &[]);
    assert_eq!(draw(&PLAIN, &[-1.0], &[], &[], 0), 0);
}

#[test]
fn extreme_rows() {
    let low = [f32::MIN, f32::NEG_INFINITY, f32::MIN, f32::NEG_INFINITY];
    for sampling in [
        PLAIN,
        Sampling { temperature: 0.0, ..PLAIN },
        Sampling { top_k: 3, top_p: 0.9, min_p: 0.1, ..PLAIN },
        Sampling { temperature: 1e-30, repetition_penalty: 1.0, ..PLAIN },
    ] {
        assert!((0..50).all(|seed| draw(&sampling, &low, &[], &[], seed).is_multiple_of(2)), "{sampling:?}");
    }
    let wide = [f32::MIN, f32::MAX, 0.0];
    assert!((0..50).all(|seed| draw(&PLAIN, &wide, &[], &[], seed) == 1));
    let sample =
        |row: &[f32], sampling: Sampling| Sampler::new(sampling, &[1]).sample(row, &mut Scratch::default());
    for temperature in [0.0, 1.0] {
        let sampling = Sampling { temperature, ..PLAIN };
        let nan = sample(&[0.0, f32::NAN, 1.0], sampling.clone());
        assert!(matches!(nan, Err(BadLogits::NotFinite { token: 1, value }) if value.is_nan()), "{nan:?}");
        let inf = sample(&[0.0, 1.0, f32::INFINITY], sampling.clone());
        assert_eq!(inf, Err(BadLogits::NotFinite { token: 2, value: f32::INFINITY }));
        let none = sample(&[f32::NEG_INFINITY; 3], sampling.clone());
        assert_eq!(none, Err(BadLogits::NoToken { tokens: 3 }));
        let biased =
            Sampling { logit_bias: vec![(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)], ..sampling };
        assert_eq!(sample(&[0.0, 1.0], biased), Err(BadLogits::NoToken { tokens: 2 }));
    }
}

#[test]
fn samples_are_remembered() {
    // A presence penalty far above the spread makes greedy sampling walk through all tokens.
    let sampling = Sampling { temperature: 0.0, presence_penalty: 100.0, ..PLAIN };
    let mut sampler = Sampler::new(sampling, &[0]);
    let mut scratch = Scratch::default();
    let row = [1.0, 4.0, 2.0, 3.0];
    let walk: Vec<u32> = (0..5).map(|_| sampler.sample(&row, &mut scratch).unwrap()).collect();
    assert_eq!(walk, [1, 3, 2, 0, 1]);
}

#[test]
fn logprobs_are_of_the_unmodified_row() {
    let row = logits();
    let mut scratch = Scratch::default();
    let total: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
    let logprob = |token: usize| (f64::from(row[token]).exp() / total).ln() as f32;
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
    for top in [0, 1, 5, row.len()] {
        let found = Logprobs::of(&row, 6, top, &mut scratch).unwrap();
        assert!((found.logprob - logprob(6)).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|&(token, _)| token).collect::<Vec<_>>(), order[..top]);
        assert!(found.top.iter().all(|&(token, value)| (value - logprob(token as usize)).abs() < 1e-6));
    }
    assert!(Logprobs::of(&[0.0, f32::NAN], 0, 0, &mut scratch).is_err());
}

fn argmax(row: &[f32]) -> u32 {
    (0u32..).zip(row).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
}

#[test]
fn a_choice_says_what_sampling_does() {
    let sampling = Sampling { temperature: 0.9, presence_penalty: 1.0, seed: Some(5), ..PLAIN };
    let mut sampler = Sampler::new(sampling, &[3, 1, 3]);
    let (row, mut scratch) = (logits(), Scratch::default());
    let mut own = 0;
    for pending in [false, true, true, true] {
        // The choice after a token that is not known yet is the one after it, own token included.
        let choice = sampler.choice(pending).unwrap();
        if pending {
            sampler.accept(own);
        }
        assert_eq!(choice.own, pending);
        let chosen = choose(&row, &choice, own, &mut scratch.choice).unwrap();
        let mut twin = sampler.clone();
        assert_eq!(twin.sample(&row, &mut scratch).unwrap(), chosen);
        own = chosen;
    }
    assert_eq!(sampler.choice.seen.iter().map(|seen| seen.1).sum::<u32>(), 3);
    let biased = Sampler::new(Sampling { logit_bias: vec![(0, 1.0)], ..PLAIN }, &[]);
    assert_eq!(biased.choice(false), None);
}
