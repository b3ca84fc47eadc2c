//! Text of one answer: whole characters, stop strings, timings, and a free engine afterwards.

use marlin_engine::{Engine, Error, Finish, Generation, Limits, Request, Sampling, TextStream};
use marlin_text::{Detokenizer, GgufVocab, Tokenizer};
use proptest::prelude::*;

use crate::fake::FakePlayer;

const END: u32 = 2;
const TOKENS: [&str; 11] = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "<0xE2>", "<0x82>", "<0xAC>", "▁b"];

fn tokenizer() -> Tokenizer {
    let kind = |token: &&str| match *token {
        "<unk>" => 2,
        "<s>" | "</s>" => 3,
        byte if byte.starts_with("<0x") => 6,
        _ => 1,
    };
    let vocab = GgufVocab {
        model: "llama".to_owned(),
        pre: None,
        tokens: TOKENS.map(str::to_owned).to_vec(),
        types: TOKENS.iter().map(kind).collect(),
        scores: vec![0.0; TOKENS.len()],
        merges: Vec::new(),
        bos: Some(1),
        eos: Some(END),
        unk: Some(0),
        add_bos: None,
        add_eos: None,
        add_space_prefix: None,
    };
    Tokenizer::from_gguf(&vocab).unwrap()
}

fn engine() -> Engine {
    Engine::new(Box::new(FakePlayer::new(TOKENS.len(), 60, 3)), Limits::default()).unwrap()
}

fn request(seed: u64, max_tokens: usize, stop_tokens: Vec<u32>) -> Request {
    let sampling = Sampling { temperature: 1.0, seed: Some(seed), ..Sampling::default() };
    Request { prompt: vec![1, 4, 5], max_tokens: Some(max_tokens), stop_tokens, sampling, logprobs: Some(1) }
}

fn decode(tokens: &[u32]) -> String {
    let mut detokenizer = Detokenizer::new(&tokenizer(), true);
    let text: String = tokens.iter().map(|&token| detokenizer.push(token)).collect();
    text + &detokenizer.finish()
}

/// Text, tokens and end of one answer.
fn answer(request: Request, stops: &[&str]) -> (String, Vec<u32>, Finish) {
    let mut engine = engine();
    let stream = TextStream::new(&tokenizer(), true, stops).unwrap();
    let mut generation = Generation::start(&mut engine, request, stream).unwrap();
    let (mut text, mut tokens) = (String::new(), Vec::new());
    for piece in &mut generation {
        let piece = piece.unwrap();
        assert!(piece.logprobs.is_some());
        text += &piece.text;
        tokens.extend(piece.token);
    }
    let (finish, timings) = (generation.finish().cloned().unwrap(), generation.timings());
    assert!(generation.next().is_none());
    assert_eq!((timings.prompt_tokens, timings.new_tokens), (3, tokens.len()));
    assert_eq!(timings.decode_rate().is_some(), tokens.len() > 1);
    assert!(timings.prompt_rate().is_some_and(|rate| rate > 0.0));
    drop(generation);
    assert!(engine.is_idle());
    assert_eq!(engine.usage().pages_free, 60);
    (text, tokens, finish)
}

proptest! {
    #[test]
    fn text_is_the_decoded_tokens_up_to_the_stop(
        seed in any::<u64>(),
        max_tokens in 1usize..60,
        stop_tokens in prop::sample::select(vec![vec![], vec![END], vec![3, 5]]),
        stops in prop::sample::subsequence(vec!["aab", " b ", "€", "bab", "a\u{20ac}", "\u{fffd}a"], 0..4),
    ) {
        let (text, tokens, finish) = answer(request(seed, max_tokens, stop_tokens.clone()), &stops);
        let (free_text, free_tokens, _) = answer(request(seed, max_tokens, stop_tokens), &[]);
        let stopped = matches!(finish, Finish::StopToken(_));
        let shown = &tokens[..tokens.len() - usize::from(stopped)];
        let first_end = stops.iter().filter_map(|stop| free_text.find(stop).map(|at| at + stop.len())).min();
        match first_end {
            Some(end) => {
                let ends = stops.iter().filter(|stop| free_text[..end].ends_with(**stop));
                let stop = ends.map(|stop| stop.len()).max();
                prop_assert_eq!(finish, Finish::StopString);
                prop_assert_eq!(text, &free_text[..end - stop.unwrap()]);
                prop_assert_eq!(&tokens[..], &free_tokens[..tokens.len()]);
            }
            None => {
                prop_assert_eq!(&text, &decode(shown));
                prop_assert_eq!((text, tokens), (free_text, free_tokens));
                prop_assert!(stopped || finish == Finish::Length);
            }
        }
    }
}

#[test]
fn an_abandoned_answer_is_cancelled() {
    let mut engine = engine();
    let stream = || TextStream::new::<&str>(&tokenizer(), true, &[]).unwrap();
    let mut generation = Generation::start(&mut engine, request(1, 50, vec![]), stream()).unwrap();
    generation.next().unwrap().unwrap();
    drop(generation);
    assert!(engine.is_idle());
    assert_eq!(engine.usage().pages_free, 60);

    engine.add(request(1, 5, vec![])).unwrap();
    let busy = Generation::start(&mut engine, request(2, 5, vec![]), stream()).err().unwrap();
    assert_eq!(busy.to_string(), "request: engine: found 1 sequences, expected an idle one");
}

#[test]
fn an_empty_stop_string_is_refused() {
    assert!(matches!(TextStream::new(&tokenizer(), true, &["a", ""]), Err(Error::Text(_))));
}

#[test]
fn a_failing_player_can_be_tried_again() {
    let player = FakePlayer::new(TOKENS.len(), 60, 3);
    let control = std::sync::Arc::clone(&player.control);
    let mut engine = Engine::new(Box::new(player), Limits::default()).unwrap();
    let stream = TextStream::new::<&str>(&tokenizer(), true, &[]).unwrap();
    let expected = answer(request(9, 12, vec![]), &[]);
    let mut generation = Generation::start(&mut engine, request(9, 12, vec![]), stream).unwrap();
    let mut text = generation.next().unwrap().unwrap().text;
    control.lock().unwrap().failures = 1;
    assert!(matches!(generation.next(), Some(Err(Error::Player(_)))));
    text.extend(generation.map(|piece| piece.unwrap().text));
    assert_eq!(text, expected.0);
}
