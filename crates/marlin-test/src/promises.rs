//! What the `Player` interface promises beside correct numbers: refusals, sizes, chunks.

use marlin_kernel::{
    Batch, Error, Player, SequenceRows,
    plan::{BufferId, Op, Plan, View},
    sample::Choice,
};

use crate::tiny_model;

/// Makes a player from a plan, a page size and a number of pages.
pub type Make<'a> = dyn Fn(Plan, usize, usize) -> Result<Box<dyn Player>, Error> + 'a;

/// Tokens of a page in these tests.
const PAGE_SIZE: usize = 16;

/// Plays the tokens as one sequence in chunks of `len` on the player's pages, last page first, and
/// returns the logits of all tokens.
///
/// # Errors
/// Those of the player. Panics if its pages do not hold the tokens.
pub fn play_in_chunks(player: &mut dyn Player, tokens: &[u32], len: usize) -> Result<Vec<f32>, Error> {
    assert!(tokens.len() <= player.page_size() * player.pages(), "{} tokens", tokens.len());
    let pages: Vec<u32> = (0..player.pages() as u32).rev().collect();
    let mut logits = Vec::new();
    for (at, tokens) in tokens.chunks(len).enumerate() {
        let (rows, first) = (tokens.len(), (at * len) as u32);
        let batch = Batch {
            tokens: tokens.to_vec(),
            positions: (first..first + rows as u32).collect(),
            sequences: vec![SequenceRows { rows: 0..rows, pages: pages.clone() }],
            outputs: (0..rows as u32).collect(),
            ..Batch::default()
        };
        logits.extend(player.play(&batch)?);
    }
    Ok(logits)
}

/// Checks the promises with a tiny model, logits of chunks within `relative` of the largest logit.
///
/// Panics with the promise that is broken.
pub fn keeps_its_promises(make: &Make<'_>, relative: f32) {
    refuses_a_bad_plan(make);
    refuses_bad_batches(make);
    moves_buffers_whole(make);
    chunks_do_not_matter(make, relative);
    chooses_experts_that_exist(make);
}

fn refuses_a_bad_plan(make: &Make<'_>) {
    let mut plan = tiny_model("f32");
    plan.caches.clear();
    let refused = make(plan, PAGE_SIZE, 2).map(|player| player.describe());
    assert!(matches!(refused, Err(Error::Step { .. })), "a plan without its caches: {refused:?}");
}

fn refuses_bad_batches(make: &Make<'_>) {
    let mut player = make(tiny_model("f32"), PAGE_SIZE, 2).expect("the tiny model fits");
    assert_eq!((player.page_size(), player.pages()), (PAGE_SIZE, 2));
    let good = Batch {
        tokens: vec![1, 2],
        positions: vec![0, 1],
        sequences: vec![SequenceRows { rows: 0..2, pages: vec![1] }],
        outputs: vec![1],
        ..Batch::default()
    };
    player.begin(&good).expect("the good batch fits");
    type Change = fn(&mut Batch);
    let bad: [(&str, Change); 8] = [
        ("an unknown token", |batch| batch.tokens[0] = u32::MAX),
        ("a position too few", |batch| batch.positions.truncate(1)),
        ("a position left out", |batch| batch.positions[1] = 2),
        ("a page that does not exist", |batch| batch.sequences[0].pages[0] = 2),
        ("a row that belongs to no sequence", |batch| batch.sequences[0].rows.end = 1),
        ("an output that does not exist", |batch| batch.outputs[0] = 2),
        ("a token that no batch before chose", |batch| batch.tokens[0] = Batch::chosen(1)),
        ("more choices than outputs", |batch| batch.choices = vec![Choice::default(); 2]),
    ];
    for (what, change) in bad {
        let mut batch = good.clone();
        change(&mut batch);
        let refused = player.begin(&batch);
        assert!(matches!(refused, Err(Error::Batch { .. })), "{what}: {refused:?}");
    }
}

fn moves_buffers_whole(make: &Make<'_>) {
    let plan = tiny_model("f32");
    let mut player = make(plan.clone(), PAGE_SIZE, 2).expect("the tiny model fits");
    let batch = Batch {
        tokens: vec![1, 2, 3],
        positions: vec![4, 5, 6],
        sequences: vec![SequenceRows { rows: 0..3, pages: vec![1] }],
        outputs: vec![1],
        ..Batch::default()
    };
    player.begin(&batch).expect("the batch fits");
    for (at, buffer) in plan.buffers.iter().enumerate() {
        let id = BufferId(at as u32);
        let len = batch.rows(buffer.rows) * buffer.width;
        let values: Vec<f32> = (0..len).map(|at| at as f32 - 7.5).collect();
        player.write(id, &values).expect("the length is right");
        assert_eq!(player.read(id).expect("a buffer can be read"), values, "{}", buffer.label);
        let refused = player.write(id, &values[1..]);
        assert!(matches!(refused, Err(Error::Batch { .. })), "{}: {refused:?}", buffer.label);
    }
}

fn chunks_do_not_matter(make: &Make<'_>, relative: f32) {
    let tokens: Vec<u32> = (0..39).map(|at| at * at % 29).collect();
    let play = |len| {
        let mut player = make(tiny_model("f32"), PAGE_SIZE, 4).expect("the tiny model fits");
        play_in_chunks(player.as_mut(), &tokens, len).expect("the tokens can be played")
    };
    let whole = play(tokens.len());
    let largest = whole.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for len in [1, 7, 32] {
        let chunks = play(len);
        assert_eq!(chunks.len(), whole.len());
        let off = chunks.iter().zip(&whole).fold(0.0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off <= relative * largest, "chunks of {len}: off by {off}, largest logit {largest}");
    }
}

/// Whatever the logits, experts are chosen that exist, each once: kernels index with them.
fn chooses_experts_that_exist(make: &Make<'_>) {
    let plan = tiny_model("f32");
    let route = plan.steps.iter().position(|step| matches!(step.op, Op::MoeRoute { .. })).expect("a router");
    let Op::MoeRoute { logits: View { buffer, width: count, .. }, experts, .. } = plan.steps[route].op else {
        unreachable!("the step found above")
    };
    let mut player = make(plan.clone(), PAGE_SIZE, 1).expect("the tiny model fits");
    let batch = Batch {
        tokens: vec![0],
        positions: vec![0],
        sequences: vec![SequenceRows { rows: 0..1, pages: vec![0] }],
        ..Batch::default()
    };
    player.begin(&batch).expect("the batch fits");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for from in 0..count {
            let logits: Vec<f32> = (0..count).map(|at| if at >= from { bad } else { at as f32 }).collect();
            player.write(buffer, &logits).expect("the length is right");
            player.run(route..route + 1).expect("a step without matrices");
            let words = player.read(experts.buffer).expect("a buffer can be read");
            let mut chosen: Vec<u32> = words.into_iter().map(f32::to_bits).collect();
            assert!(chosen.iter().all(|&expert| (expert as usize) < count), "{logits:?}: {chosen:?}");
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), experts.width, "{logits:?}: {chosen:?}");
        }
    }
}
