//! Chooses a token from the logits of each output: penalties, temperature, top-k, top-p, min-p, and
//! one number of the caller's generator.
//!
//! | argument | shape | type |
//! |---|---|---|
//! | logits | `[outputs, vocabulary]`, contiguous | f32 |
//! | out | `[outputs, 1]` | u32, written |
//!
//! How is a value of the batch: one [`Choice`] an output, or none at all, and then the step does
//! nothing. A row with a NaN or +inf, or of -inf only, gives [`NO_TOKEN`]. The words of `out` outlive
//! the batch: the next may name them, see [`Batch::chosen`](crate::Batch::chosen).
//! Moves the logits once or a few times; some operations a logit.

mod choice;
pub mod rank;
pub mod reference;
pub mod softmax;

pub use choice::{Choice, NO_TOKEN};
pub use softmax::BadLogits;

use crate::{
    Batch, Case, Cost, Error, Kernel, Random, RowRule, case,
    contract::Contract,
    kernel::{Work, copied},
    plan::{Op, Plan, Rows, View, Word},
};
use reference::{Scratch, choose};

/// The row of the table of kernels.
pub static KERNEL: Kernel = Kernel {
    name: "sample",
    summary: "chooses tokens: penalties, temperature, top-k, top-p, min-p",
    rows: RowRule::Outputs,
    in_place: false,
    tolerance: copied,
    cases,
    contract,
    cost,
    play: reference::play,
};

fn contract(op: &Op, c: &mut Contract<'_>) -> Result<(), Error> {
    let Op::Sample { logits, out } = op else { unreachable!("{op:?} is no sample") };
    c.reads("logits", logits)?;
    c.contiguous("logits", logits)?;
    c.writes_words("out", out)?;
    c.equal("columns of out", out.len(), 1)
}

fn cost(op: &Op, work: &Work<'_>) -> Cost {
    let Op::Sample { logits, .. } = op else { unreachable!("{op:?} is no sample") };
    // A comparison for the largest, an exponential and a sum for the masses.
    work.streaming(3 * work.words(logits))
}

/// A choice among all tokens.
const PLAIN: Choice = Choice {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    frequency_penalty: 0.0,
    presence_penalty: 0.0,
    seen: Vec::new(),
    own: false,
    uniform: 0.0,
};

/// Every way to choose, by name.
fn ways() -> Vec<(&'static str, Choice)> {
    let penalties =
        Choice { repetition_penalty: 1.3, frequency_penalty: 0.4, presence_penalty: 0.7, ..PLAIN };
    vec![
        ("greedy", Choice { temperature: 0.0, ..PLAIN }),
        ("all tokens", PLAIN),
        ("temperature 0.3", Choice { temperature: 0.3, ..PLAIN }),
        ("temperature 2.5", Choice { temperature: 2.5, ..PLAIN }),
        ("top-k 1", Choice { top_k: 1, ..PLAIN }),
        ("top-k 20", Choice { top_k: 20, ..PLAIN }),
        ("top-p 0", Choice { top_p: 0.0, ..PLAIN }),
        ("top-p 0.9", Choice { top_p: 0.9, ..PLAIN }),
        ("min-p 0.05", Choice { min_p: 0.05, ..PLAIN }),
        ("min-p 1", Choice { min_p: 1.0, ..PLAIN }),
        ("all filters", Choice { temperature: 0.7, top_k: 12, top_p: 0.9, min_p: 0.02, ..PLAIN }),
        ("greedy, penalties", Choice { temperature: 0.0, ..penalties.clone() }),
        ("penalties, own token", Choice { own: true, top_p: 0.95, ..penalties.clone() }),
        ("bonus for what was sampled", Choice { frequency_penalty: -0.5, presence_penalty: -1.0, ..PLAIN }),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, choice) in ways() {
        for vocabulary in [1, 31, 257, 5003] {
            cases.push(case(&format!("{name}, {vocabulary} tokens"), vocabulary, 3, &choice, 2.5));
        }
    }
    for at in [0, 1, 7, 10, 12] {
        let (name, choice) = &ways()[at];
        // Peaked: among 154 880 tokens of like weight no share is far from a boundary.
        cases.push(case(&format!("{name}, 154880 tokens"), 154_880, 2, choice, 10.0));
    }
    for (name, choice) in ways() {
        cases.push(equal(&format!("{name}, equal logits"), &choice));
    }
    cases.push(unusable("rows without a distribution", &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]));
    cases.push(no_choice("no row, 31 tokens"));
    cases.push(chosen_before("a token chosen before is played"));
    cases
}

/// Logits, normal with a spread, and one choice for each of `outputs` rows.
fn case(name: &str, vocabulary: usize, outputs: usize, choice: &Choice, spread: f32) -> Case {
    // Whether a value equals another is the same on every device.
    with_rows(name, vocabulary, outputs, choice, |random| spread * random.normal())
}

/// Few different logits: the lower token of two equal ones counts as the better.
fn equal(name: &str, choice: &Choice) -> Case {
    with_rows(name, 300, 3, choice, |random| [0.5, 1.5, 1.5, -2.0][random.below(4)])
}

/// A plan that samples from a buffer between guard columns.
fn plan_of(vocabulary: usize, gap: usize) -> (Plan, View) {
    let mut plan = Plan::default();
    let row = plan.add_buffer("logits", Rows::Outputs, vocabulary + 2 * gap, Word::F32);
    let logits = View::columns(row.buffer, gap, vocabulary);
    let row = plan.add_buffer("chosen", Rows::Outputs, 1 + gap, Word::U32);
    let out = View::columns(row.buffer, gap, 1);
    plan.add_step("sample", Op::Sample { logits, out });
    (plan, logits)
}

/// One token of each of `count` sequences, from position `position`.
fn tokens(count: usize, position: usize) -> Vec<case::Chunk> {
    (0..count).map(|sequence| (sequence, position..position + 1)).collect()
}

fn with_rows(
    name: &str,
    vocabulary: usize,
    outputs: usize,
    choice: &Choice,
    logit: impl Fn(&mut Random) -> f32,
) -> Case {
    let gap = usize::from(vocabulary < 1000) * 3;
    let (plan, logits) = plan_of(vocabulary, gap);
    let width = vocabulary + 2 * gap;
    let mut random = Random::new(name.len() as u64 + vocabulary as u64);
    let values: Vec<f32> = (0..outputs * width).map(|_| logit(&mut random)).collect();
    let mut case = Case::chunks(name, plan, &[tokens(outputs, 0)]);
    let batch = &mut case.plays[0].batch;
    batch.tokens = (0..outputs).map(|_| random.below(vocabulary) as u32).collect();
    for (output, row) in batch.outputs.iter().zip(values.chunks_exact(width)) {
        let (row, own) = (&row[gap..gap + vocabulary], batch.tokens[*output as usize]);
        let mut choice = choice.clone();
        if choice.penalizes() {
            // The best tokens, so that the penalty matters; the own one is among them every other time.
            choice.seen = seen(row, &mut random);
        }
        batch.choices.push(steady(row, choice, own, &mut random));
    }
    case.with_input(logits, |_| values.clone())
}

/// Some of the best tokens of a row and others, with counts from 0.
fn seen(row: &[f32], random: &mut Random) -> Vec<(u32, u32)> {
    let mut keys = Vec::new();
    rank::fill(row, 0, &mut keys);
    let best = rank::best(&mut keys, row.len().div_ceil(5).min(40)).iter().map(|&key| rank::token(key));
    let others = (0..40).map(|_| random.below(row.len()) as u32);
    let mut tokens: Vec<u32> = best.chain(others).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens.into_iter().map(|token| (token, random.below(4) as u32)).collect()
}

/// The choice with a random number that is no closer than 1e-5 to one that gives another token, and
/// whose filters are no closer to others that do: players may sum in f32.
fn steady(row: &[f32], choice: Choice, own: u32, random: &mut Random) -> Choice {
    const MARGIN: f32 = 1e-5;
    let mut scratch = Scratch::default();
    for _ in 0..1000 {
        let choice = Choice { uniform: random.unit() as f32, ..choice.clone() };
        let mut token = |change: &dyn Fn(&mut Choice)| {
            let mut changed = choice.clone();
            change(&mut changed);
            choose(row, &changed, own, &mut scratch).ok()
        };
        let found = token(&|_| ());
        let same = [-MARGIN, MARGIN].into_iter().all(|off| {
            let near = |value: f32| if value == 0.0 || value == 1.0 { value } else { value + off };
            token(&|choice| choice.uniform = (choice.uniform + off).clamp(0.0, 1.0 - MARGIN / 4.0)) == found
                && token(&|choice| choice.top_p = near(choice.top_p)) == found
                && token(&|choice| choice.min_p = near(choice.min_p)) == found
        });
        if same && choice.uniform < 1.0 {
            return choice;
        }
    }
    unreachable!("a token of more than twice the margin is drawn soon");
}

/// A row for each of the values, which stands in it once or everywhere, and a good row at the end.
fn unusable(name: &str, bad: &[f32]) -> Case {
    let vocabulary = 300;
    let (plan, logits) = plan_of(vocabulary, 0);
    let outputs = 2 * bad.len() + 1;
    let mut values = Random::new(5).normals(outputs * vocabulary);
    for (at, value) in bad.iter().enumerate() {
        values[2 * at * vocabulary + 299] = *value;
        values[(2 * at + 1) * vocabulary..][..vocabulary].fill(*value);
    }
    let mut case = Case::chunks(name, plan, &[tokens(outputs, 0), tokens(outputs, 1)]);
    for (play, temperature) in case.plays.iter_mut().zip([0.0, 1.0]) {
        let rows = values.chunks_exact(vocabulary);
        let choice = Choice { temperature, top_k: 5, top_p: 0.9, ..PLAIN };
        let mut random = Random::new(6);
        play.batch.choices = rows.map(|row| steady(row, choice.clone(), 0, &mut random)).collect();
    }
    case.with_input(logits, |_| values.clone())
}

/// A batch whose logits nobody wants.
fn no_choice(name: &str) -> Case {
    let (plan, _) = plan_of(31, 3);
    let mut case = Case::rows(name, plan, 3);
    case.plays[0].batch.outputs.clear();
    case.with_input(plan_of(31, 3).1, |_| Vec::new())
}

/// Two batches: the second plays what the first chose, one of it no token, with own tokens penalised.
fn chosen_before(name: &str) -> Case {
    let vocabulary = 33;
    let mut random = Random::new(9);
    let mut plan = Plan::default();
    let table = case::matrix(vocabulary, 5, &random.normals(5 * vocabulary));
    let table = plan.add_weight("table", table);
    let out = plan.add_buffer("x", Rows::Tokens, 5, Word::F32);
    plan.add_step("embed", Op::Embed { table, scale: 1.0, out });
    let logits = plan.add_buffer("logits", Rows::Outputs, vocabulary, Word::F32);
    plan.add_sampling("sample", logits);
    let mut values = random.normals(3 * vocabulary);
    values[vocabulary + 4] = f32::NAN;
    let best = (0..vocabulary).max_by(|&a, &b| values[a].total_cmp(&values[b])).expect("some tokens");
    // Output 0 is of row 2: what it chose is a good token again, unless its own penalty counts.
    values[best] += 1.0;
    let mut case =
        Case::chunks(name, plan, &[tokens(3, 0), tokens(3, 1)]).with_input(logits, |_| values.clone());
    let greedy = Choice { temperature: 0.0, presence_penalty: 20.0, own: true, ..PLAIN };
    for play in &mut case.plays {
        play.batch.choices = vec![greedy.clone(); 3];
    }
    case.plays[1].batch.tokens = vec![Batch::chosen(1), Batch::chosen(2), Batch::chosen(0)];
    case
}

#[cfg(test)]
mod tests;
