//! What a sequence gets depends on its request alone, and no page is ever lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use marlin_engine::{
    BadLogits, Engine, Error, Event, Finish, Limits, Logprobs, Request, Sampler, Sampling, Scratch,
    SequenceId,
};
use proptest::prelude::*;

use crate::fake::{Control, FakePlayer, logits_after};

const VOCAB: usize = 29;

fn engine(pages: usize, page_size: usize, limits: Limits) -> (Engine, Arc<Mutex<Control>>) {
    engine_of(pages, page_size, limits, false)
}

/// The same with a player that chooses tokens itself, or not.
fn engine_of(pages: usize, page_size: usize, limits: Limits, chooses: bool) -> (Engine, Arc<Mutex<Control>>) {
    let player = FakePlayer::new(VOCAB, pages, page_size).choosing(chooses);
    let control = Arc::clone(&player.control);
    (Engine::new(Box::new(player), limits).unwrap(), control)
}

fn limits(max_batch_tokens: usize, max_sequences: usize) -> Limits {
    Limits { max_batch_tokens, max_sequences, ..Limits::default() }
}

fn prompt(len: usize, salt: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 7 + salt * 13 + i * i) % VOCAB as u32).collect()
}

/// What one sequence produced.
#[derive(Debug, Default, PartialEq)]
struct Output {
    tokens: Vec<u32>,
    logprobs: Vec<Logprobs>,
    finish: Option<Finish>,
}

impl Output {
    fn push(&mut self, event: Event) {
        assert_eq!(self.finish, None, "an event after the end");
        self.tokens.extend(event.token);
        self.logprobs.extend(event.logprobs);
        self.finish = event.finish;
    }
}

/// The request served by no engine: one history, one sampler.
fn alone(request: &Request, context: usize) -> Output {
    let mut sampler = Sampler::new(request.sampling.clone(), &request.prompt);
    let (mut scratch, mut tokens, mut output) =
        (Scratch::default(), request.prompt.clone(), Output::default());
    let end = request.max_tokens.map_or(context, |new| tokens.len() + new);
    while output.finish.is_none() {
        let logits = logits_after(&tokens, VOCAB);
        let token = sampler.sample(&logits, &mut scratch).unwrap();
        tokens.push(token);
        output.tokens.push(token);
        if let Some(top) = request.logprobs {
            output.logprobs.push(Logprobs::of(&logits, token, top, &mut scratch).unwrap());
        }
        if request.stop_tokens.contains(&token) {
            output.finish = Some(Finish::StopToken(token));
        } else if tokens.len() == end {
            output.finish = Some(Finish::Length);
        }
    }
    output
}

fn drain(engine: &mut Engine) -> HashMap<SequenceId, Output> {
    let mut outputs: HashMap<SequenceId, Output> = HashMap::new();
    while !engine.is_idle() {
        for event in engine.step().unwrap() {
            outputs.entry(event.sequence).or_default().push(event);
        }
    }
    settle(engine);
    outputs
}

/// Collects what may still be in flight: nothing that an event could come of.
fn settle(engine: &mut Engine) {
    assert_eq!(engine.step().unwrap(), []);
}

fn any_request() -> impl Strategy<Value = Request> {
    let sampling = (0usize..4, any::<u64>(), 0usize..6, 0.3f32..=1.0, 0.0f32..0.3).prop_map(
        |(kind, seed, top_k, top_p, min_p)| Sampling {
            temperature: [0.0, 0.7, 1.0, 1.3][kind],
            top_k,
            top_p,
            min_p,
            repetition_penalty: [1.0, 1.2, 1.0, 0.9][kind],
            presence_penalty: [0.0, 0.0, 0.5, 0.0][kind],
            frequency_penalty: [0.3, 0.0, 0.0, 0.1][kind],
            logit_bias: if kind == 3 { vec![(2, 1.5), (3, f32::NEG_INFINITY)] } else { Vec::new() },
            seed: Some(seed),
        },
    );
    let lengths = (1usize..20, prop::option::weighted(0.9, 1usize..25), any::<u32>());
    (lengths, prop::bool::ANY, prop::option::of(0usize..5), sampling).prop_map(
        |((len, max_tokens, salt), stops, logprobs, sampling)| Request {
            prompt: prompt(len, salt % 1000),
            max_tokens,
            stop_tokens: if stops { vec![0, 5] } else { Vec::new() },
            sampling,
            logprobs,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Page size, number of pages, batch size, neighbours, time of arrival, cancelled neighbours and
    /// who chooses the tokens change nothing in what a sequence gets; afterwards all pages are free.
    #[test]
    fn a_sequence_depends_on_its_request_alone(
        requests in prop::collection::vec(
            (any_request(), 0usize..12, prop::option::weighted(0.25, 0usize..20)),
            1..9,
        ),
        page_size in 1usize..7,
        spare_pages in 0usize..20,
        max_sequences in 1usize..6,
        spare_rows in 0usize..12,
        chooses in any::<bool>(),
    ) {
        let pages = 45usize.div_ceil(page_size) + spare_pages;
        let rows = max_sequences + spare_rows;
        let (mut engine, control) = engine_of(pages, page_size, limits(rows, max_sequences), chooses);
        let context = engine.context();
        let mut live: HashMap<SequenceId, (usize, Output)> = HashMap::new();
        let mut cancelled = Vec::new();
        let last_arrival = requests.iter().map(|(_, arrival, _)| *arrival).max().unwrap_or(0);
        for step in 0.. {
            for (index, (request, arrival, _)) in requests.iter().enumerate() {
                if *arrival == step {
                    live.insert(engine.add(request.clone()).unwrap(), (index, Output::default()));
                }
            }
            for (&id, (index, output)) in &live {
                let (_, arrival, cancel) = &requests[*index];
                if cancel.is_some_and(|after| arrival + after == step) {
                    prop_assert_eq!(engine.cancel(id), output.finish.is_none());
                    prop_assert!(!engine.cancel(id), "cancelled twice");
                    cancelled.push(id);
                }
            }
            let before = engine.usage();
            let events = engine.step().unwrap();
            let usage = engine.usage();
            prop_assert!(usage.running <= max_sequences);
            prop_assert_eq!(usage.pages_total, pages);
            prop_assert!(before.running + before.waiting == 0 || control.lock().unwrap().batches > 0);
            for event in events {
                prop_assert!(!cancelled.contains(&event.sequence), "an event after cancelling");
                live.get_mut(&event.sequence).unwrap().1.push(event);
            }
            if engine.is_idle() && step >= last_arrival {
                break;
            }
            prop_assert!(step < 20_000, "no progress");
        }
        settle(&mut engine);
        prop_assert_eq!(engine.usage().pages_free, pages, "pages leaked");
        prop_assert!(control.lock().unwrap().largest <= rows);
        for (id, (index, output)) in live {
            let expected = alone(&requests[index].0, context);
            if cancelled.contains(&id) && output.finish.is_none() {
                prop_assert_eq!(&output.tokens[..], &expected.tokens[..output.tokens.len()]);
            } else {
                prop_assert_eq!(output, expected);
            }
        }
    }

    /// Requests as the network may send them are refused or served, never a panic.
    #[test]
    fn any_numbers_are_refused_or_served(
        bits in prop::array::uniform6(any::<u32>()),
        bias in prop::collection::vec((0u32..40, any::<u32>()), 0..3),
        top_k in prop_oneof![Just(0usize), Just(usize::MAX), 1usize..40],
        max_tokens in prop_oneof![Just(None), Just(Some(usize::MAX)), (0usize..4).prop_map(Some)],
        logprobs in prop_oneof![Just(None), Just(Some(usize::MAX)), (0usize..40).prop_map(Some)],
    ) {
        let [temperature, top_p, min_p, repetition, presence, frequency] = bits.map(f32::from_bits);
        let sampling = Sampling {
            temperature, top_k, top_p, min_p,
            repetition_penalty: repetition, presence_penalty: presence, frequency_penalty: frequency,
            logit_bias: bias.into_iter().map(|(token, bits)| (token, f32::from_bits(bits))).collect(),
            seed: Some(1),
        };
        let prompt = vec![1, 2, 3];
        let tame = Sampling { temperature: 1.0, top_p: 0.9, min_p: 0.1, ..sampling.clone() };
        for sampling in [sampling, tame] {
            let (mut engine, _) = engine(4, 2, limits(8, 2));
            let stop_tokens = Vec::new();
            let request = Request { prompt: prompt.clone(), max_tokens, stop_tokens, sampling, logprobs };
            match engine.add(request) {
                Ok(id) => prop_assert!(drain(&mut engine)[&id].finish.is_some()),
                Err(error) => prop_assert!(matches!(error, Error::Request { .. }), "{}", error),
            }
            prop_assert_eq!(engine.usage().pages_free, 4);
        }
    }
}

fn greedy(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request { prompt, max_tokens: Some(max_tokens), ..Request::default() }
}

/// Sampled with every step that changes logits.
fn seeded(prompt: Vec<u32>, max_tokens: usize) -> Request {
    let sampling = Sampling {
        temperature: 0.8,
        top_p: 0.95,
        repetition_penalty: 1.1,
        presence_penalty: 0.3,
        frequency_penalty: 0.2,
        seed: Some(11),
        ..Sampling::default()
    };
    Request { sampling, ..greedy(prompt, max_tokens) }
}

#[test]
fn preemption_happens_and_changes_nothing() {
    // Four sequences of up to 32 tokens in 16 pages of 4: half of them do not fit together.
    for chooses in [false, true] {
        let (mut engine, _) = engine_of(16, 4, limits(16, 4), chooses);
        let requests: Vec<_> = (0..4).map(|salt| greedy(prompt(8, salt), 24)).collect();
        let ids: Vec<_> = requests.iter().map(|request| engine.add(request.clone()).unwrap()).collect();
        let outputs = drain(&mut engine);
        assert!(engine.usage().preemptions > 0);
        for (id, request) in ids.iter().zip(&requests) {
            assert_eq!(outputs[id], alone(request, 64));
        }
    }
}

#[test]
fn a_page_stays_free_for_each_running_sequence() {
    // Two prompts of 2 pages would fill all 4, and the first token of either would preempt the other.
    let (mut engine, _) = engine(4, 4, limits(16, 2));
    for salt in 0..2 {
        engine.add(greedy(prompt(8, salt), 4)).unwrap();
    }
    engine.step().unwrap();
    assert_eq!((engine.usage().running, engine.usage().waiting), (1, 1));
    assert_eq!(drain(&mut engine).len(), 2);
    assert_eq!(engine.usage().preemptions, 0);
}

#[test]
fn a_long_prompt_does_not_stop_decoding() {
    let (mut engine, _) = engine(100, 1, limits(4, 2));
    let short = engine.add(greedy(prompt(1, 0), 40)).unwrap();
    engine.step().unwrap();
    let long = engine.add(greedy(prompt(30, 1), 1)).unwrap();
    // Three rows of every batch are left for the prompt, one decodes.
    for _ in 0..9 {
        let events = engine.step().unwrap();
        assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [short]);
    }
    let events = engine.step().unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [short, long]);
}

#[test]
fn the_oldest_waiting_sequence_is_next() {
    // 10 pages: the first takes 6, the second needs 8 and waits, the third would fit beside the first
    // but not beside the second, and is younger.
    let (mut engine, _) = engine(10, 1, limits(10, 3));
    let order: Vec<_> =
        [(5, 2), (8, 1), (2, 1)].map(|(len, new)| engine.add(greedy(prompt(len, 9), new)).unwrap()).into();
    let mut finished = Vec::new();
    while !engine.is_idle() {
        finished.extend(engine.step().unwrap().into_iter().filter(|event| event.finish.is_some()));
    }
    assert_eq!(finished.iter().map(|event| event.sequence).collect::<Vec<_>>(), order);
}

#[test]
fn what_never_fits_is_refused_and_what_just_fits_is_served() {
    let (mut engine, _) = engine(3, 4, limits(8, 2));
    assert_eq!(engine.context(), 12);
    let error = engine.add(greedy(prompt(8, 0), 5)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "request: length: found 8 tokens and 5 to generate, expected at most 12 together"
    );
    let full = engine.add(greedy(prompt(8, 0), 4)).unwrap();
    let open = engine.add(Request { prompt: prompt(11, 1), ..Request::default() }).unwrap();
    assert!(engine.add(Request { prompt: prompt(12, 1), ..Request::default() }).is_err());
    let outputs = drain(&mut engine);
    assert_eq!((outputs[&full].tokens.len(), outputs[&open].tokens.len()), (4, 1));
}

#[test]
fn refused_requests_say_why() {
    let (mut engine, _) = engine(3, 4, limits(8, 2));
    let good = greedy(vec![1], 1);
    let with = |sampling| Request { sampling, ..good.clone() };
    let cases = [
        (greedy(vec![], 1), "prompt: found 0 tokens, expected at least 1"),
        (greedy(vec![29], 1), "prompt: found token 29, expected tokens below 29"),
        (greedy(vec![1], 0), "max_tokens: found 0, expected at least 1"),
        (
            greedy(vec![1], usize::MAX),
            "length: found 1 tokens and 18446744073709551615 to generate, expected at most 12 together",
        ),
        (Request { logprobs: Some(30), ..good.clone() }, "logprobs: found 30, expected at most 29"),
        (
            with(Sampling { temperature: -1.0, ..Sampling::default() }),
            "temperature: found -1, expected 0 or more",
        ),
        (
            with(Sampling { temperature: f32::NAN, ..Sampling::default() }),
            "temperature: found NaN, expected 0 or more",
        ),
        (with(Sampling { top_p: 1.01, ..Sampling::default() }), "top_p: found 1.01, expected 0 to 1"),
        (with(Sampling { min_p: -0.1, ..Sampling::default() }), "min_p: found -0.1, expected 0 to 1"),
        (
            with(Sampling { repetition_penalty: 0.0, ..Sampling::default() }),
            "repetition_penalty: found 0, expected more than 0",
        ),
        (
            with(Sampling { presence_penalty: f32::INFINITY, ..Sampling::default() }),
            "presence_penalty: found inf, expected a finite number",
        ),
        (
            with(Sampling { logit_bias: vec![(29, 1.0)], ..Sampling::default() }),
            "logit_bias: found 1 for token 29, expected a number below +inf for a token below 29",
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(engine.add(request).unwrap_err().to_string(), format!("request: {expected}"));
    }
    assert!(engine.is_idle());
}

#[test]
fn contradicting_limits_are_refused() {
    let refused = |pages, limits| {
        let player = Box::new(FakePlayer::new(VOCAB, pages, 4));
        Engine::new(player, limits).err().map(|error| error.to_string())
    };
    assert_eq!(refused(1, limits(1, 1)), None);
    let expected = "limits: max_batch_tokens: found 3, expected at least max_sequences, 4";
    assert_eq!(refused(1, limits(3, 4)).as_deref(), Some(expected));
    assert_eq!(
        refused(1, limits(3, 0)).as_deref(),
        Some("limits: max_sequences: found 0, expected at least 1")
    );
    assert_eq!(refused(0, limits(3, 1)).as_deref(), Some("limits: pages: found 0, expected at least 1"));
}

#[test]
fn a_failed_batch_changes_nothing_and_can_be_tried_again() {
    for chooses in [false, true] {
        let (mut engine, control) = engine_of(30, 2, limits(5, 3), chooses);
        let requests: Vec<_> = (0..3).map(|salt| seeded(prompt(7, salt), 6)).collect();
        let ids: Vec<_> = requests.iter().map(|request| engine.add(request.clone()).unwrap()).collect();
        let mut outputs: HashMap<SequenceId, Output> = HashMap::new();
        let mut errors = Vec::new();
        for round in 0.. {
            control.lock().unwrap().failures = usize::from(round % 3 == 0);
            control.lock().unwrap().losses = usize::from(round % 7 == 4);
            match engine.step() {
                Ok(events) => events
                    .into_iter()
                    .for_each(|event| outputs.entry(event.sequence).or_default().push(event)),
                Err(error) => errors.push(error.to_string()),
            }
            if engine.is_idle() {
                break;
            }
        }
        assert!(errors.contains(&"fake: told to fail".to_owned()));
        assert_eq!(errors.contains(&"fake: told to lose".to_owned()), chooses);
        for (id, request) in ids.iter().zip(&requests) {
            assert_eq!(outputs[id], alone(request, 60));
        }
    }
}

#[test]
fn unusable_logits_end_one_sequence_only() {
    for chooses in [false, true] {
        let (mut engine, control) = engine_of(30, 2, limits(16, 3), chooses);
        let (bad, good) = (greedy(prompt(5, 1), 6), greedy(prompt(5, 2), 6));
        let fate = alone(&bad, 60);
        let history: Vec<u32> = bad.prompt.iter().chain(&fate.tokens[..2]).copied().collect();
        control.lock().unwrap().poison = Some(history);
        let (bad_id, good_id) = (engine.add(bad).unwrap(), engine.add(good.clone()).unwrap());
        let outputs = drain(&mut engine);
        assert_eq!(outputs[&good_id], alone(&good, 60));
        assert_eq!(outputs[&bad_id].tokens, fate.tokens[..2]);
        let finish = outputs[&bad_id].finish.as_ref();
        match chooses {
            true => assert_eq!(finish, Some(&Finish::Failed(BadLogits::Unusable))),
            false => assert!(
                matches!(finish, Some(Finish::Failed(BadLogits::NotFinite { token: 0, .. }))),
                "{finish:?}"
            ),
        }
        assert_eq!(engine.usage().pages_free, 30);
    }
}

#[test]
fn a_player_that_chooses_is_given_the_next_batch_first() {
    let (mut engine, control) = engine_of(30, 4, limits(16, 3), true);
    let (short, long) = (greedy(prompt(5, 1), 4), seeded(prompt(6, 2), 9));
    engine.add(short).unwrap();
    engine.add(long).unwrap();
    assert_eq!(engine.step().unwrap(), []);
    drain(&mut engine);
    let control = control.lock().unwrap();
    // The prompts and all tokens but the last of each: none is played in vain.
    assert_eq!(control.rows, 5 + 3 + 6 + 8);
    assert_eq!((control.batches, control.ahead), (9, 8));
}

#[test]
fn pages_of_a_sequence_that_ended_are_free_when_nothing_writes_to_them() {
    let (mut engine, _) = engine_of(30, 4, limits(16, 3), true);
    let mut request = greedy(prompt(5, 1), 9);
    request.stop_tokens = vec![alone(&request, 60).tokens[0]];
    engine.add(request).unwrap();
    engine.step().unwrap();
    let events = engine.step().unwrap();
    assert!(matches!(events[0].finish, Some(Finish::StopToken(_))), "{events:?}");
    assert!(engine.is_idle());
    assert_eq!(engine.usage().pages_free, 28);
    settle(&mut engine);
    assert_eq!(engine.usage().pages_free, 30);
}

#[test]
fn a_request_that_only_the_host_can_sample_is_served_among_others() {
    let (mut engine, control) = engine_of(60, 4, limits(16, 3), true);
    let plain = seeded(prompt(5, 1), 20);
    let biased = Request {
        sampling: Sampling { logit_bias: vec![(3, 5.0)], ..Sampling::default() },
        ..greedy(prompt(4, 2), 5)
    };
    let first = engine.add(plain.clone()).unwrap();
    let mut outputs: HashMap<SequenceId, Output> = HashMap::new();
    for _ in 0..4 {
        engine.step().unwrap().into_iter().for_each(|event| outputs.entry(first).or_default().push(event));
    }
    let second = engine.add(biased.clone()).unwrap();
    for (id, output) in drain(&mut engine) {
        let found = outputs.entry(id).or_default();
        found.tokens.extend(output.tokens);
        found.finish = output.finish;
    }
    assert_eq!((&outputs[&first], &outputs[&second]), (&alone(&plain, 60), &alone(&biased, 60)));
    assert!(control.lock().unwrap().ahead > 10);
}

#[test]
fn an_idle_engine_plays_nothing() {
    let (mut engine, control) = engine(3, 4, limits(8, 2));
    assert_eq!(engine.step().unwrap(), []);
    let id = engine.add(greedy(vec![1], 3)).unwrap();
    assert!(engine.cancel(id));
    assert_eq!(engine.step().unwrap(), []);
    assert_eq!(control.lock().unwrap().batches, 0);
}

#[test]
fn unseeded_sequences_differ() {
    let (mut engine, _) = engine(60, 4, limits(8, 2));
    let request = Request {
        sampling: Sampling { temperature: 1.5, ..Sampling::default() },
        ..greedy(prompt(3, 0), 40)
    };
    let ids = [engine.add(request.clone()).unwrap(), engine.add(request).unwrap()];
    let outputs = drain(&mut engine);
    assert_ne!(outputs[&ids[0]].tokens, outputs[&ids[1]].tokens);
}
