//! A batch as kernels read it: the words of the `batch` binding. `arena.wgsl` says what they mean.

use std::collections::HashMap;

use marlin_kernel::{
    Batch, SequenceRows,
    plan::{Op, Plan, WeightId},
    sample::Choice,
};

/// Words before the tables of angles and the lists.
const FIELDS: usize = 11;

/// The numbers of a batch that decide grids and variants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dims {
    pub tokens: usize,
    pub outputs: usize,
    /// Rows of each sequence.
    pub row_counts: Vec<usize>,
    /// Largest number of positions a sequence reaches.
    pub longest: usize,
    /// Whether the device chooses tokens, any of them by a random number, any under penalties.
    pub chooses: bool,
    pub draws: bool,
    pub penalizes: bool,
}

impl Dims {
    pub fn of(batch: &Batch) -> Dims {
        let last = batch.positions.iter().max().map_or(0, |position| *position as usize + 1);
        Dims {
            tokens: batch.tokens.len(),
            outputs: batch.outputs.len(),
            row_counts: batch.sequences.iter().map(|sequence| sequence.rows.len()).collect(),
            longest: last,
            chooses: !batch.choices.is_empty(),
            draws: batch.choices.iter().any(|choice| choice.temperature > 0.0),
            penalizes: batch.choices.iter().any(Choice::penalizes),
        }
    }
}

/// The rotations of a plan: every vector of frequencies, each with the number of its table of angles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rotations {
    frequencies: Vec<Vec<f32>>,
    numbers: HashMap<WeightId, u32>,
}

impl Rotations {
    pub fn new(plan: &Plan) -> Rotations {
        let mut rotations = Rotations::default();
        for step in &plan.steps {
            if let Op::Rope { frequencies: id, .. } = step.op {
                rotations.numbers.entry(id).or_insert_with(|| {
                    rotations.frequencies.push(plan.weight(id).to_f32());
                    rotations.frequencies.len() as u32 - 1
                });
            }
        }
        rotations
    }

    /// The number of the table of angles of a vector of frequencies.
    pub fn number(&self, frequencies: WeightId) -> u32 {
        self.numbers[&frequencies]
    }
}

/// The words of a batch.
pub(crate) fn words(batch: &Batch, rotations: &Rotations, page_size: usize) -> Vec<u32> {
    let mut words = vec![0; FIELDS + rotations.frequencies.len()];
    words[0] = batch.tokens.len() as u32;
    words[1] = batch.outputs.len() as u32;
    words[2] = batch.sequences.len() as u32;
    words[3] = page_size as u32;
    let list = |words: &mut Vec<u32>, field: usize, values: &mut dyn Iterator<Item = u32>| {
        words[field] = words.len() as u32;
        words.extend(values);
    };
    list(&mut words, 4, &mut batch.tokens.iter().copied());
    list(&mut words, 5, &mut batch.positions.iter().copied());
    let rows = || {
        let sequences = batch.sequences.iter().enumerate();
        sequences.flat_map(|(at, sequence)| sequence.rows.clone().map(move |row| (at, sequence, row)))
    };
    // A plan without caches needs no pages, and asks for no cache row.
    let slot = |row: usize, sequence: &SequenceRows| match sequence.pages.is_empty() {
        true => 0,
        false => sequence.slot(batch.positions[row] as usize, page_size) as u32,
    };
    list(&mut words, 6, &mut rows().map(|(_, sequence, row)| slot(row, sequence)));
    list(&mut words, 7, &mut batch.outputs.iter().copied());
    list(&mut words, 8, &mut rows().map(|(at, _, _)| at as u32));
    let records = words.len();
    words[9] = records as u32;
    words.resize(records + 4 * batch.sequences.len(), 0);
    for (at, sequence) in batch.sequences.iter().enumerate() {
        let first = batch.positions.get(sequence.rows.start).copied().unwrap_or(0);
        let pages = words.len() as u32;
        let record = [sequence.rows.start as u32, sequence.rows.len() as u32, pages, first];
        words[records + 4 * at..][..4].copy_from_slice(&record);
        words.extend(&sequence.pages);
    }
    if !batch.choices.is_empty() {
        let records = words.len();
        words[10] = records as u32;
        words.resize(records + Choice::WORDS * batch.choices.len(), 0);
        for (at, choice) in batch.choices.iter().enumerate() {
            let record = choice.words(words.len() as u32);
            words[records + Choice::WORDS * at..][..Choice::WORDS].copy_from_slice(&record);
            words.extend(choice.seen_words());
        }
    }
    for (number, frequencies) in rotations.frequencies.iter().enumerate() {
        words[FIELDS + number] = words.len() as u32;
        for &position in &batch.positions {
            for &frequency in frequencies {
                let (sin, cos) = (f64::from(position) * f64::from(frequency)).sin_cos();
                words.extend([(cos as f32).to_bits(), (sin as f32).to_bits()]);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_without_caches_needs_no_pages() {
        let rows = |pages: Vec<u32>| Batch {
            tokens: vec![0; 3],
            positions: vec![0, 1, 2],
            sequences: vec![SequenceRows { rows: 0..3, pages }],
            ..Batch::default()
        };
        let slots = |pages| {
            let words = words(&rows(pages), &Rotations::default(), 2);
            words[words[6] as usize..][..3].to_vec()
        };
        assert_eq!(slots(vec![]), [0, 0, 0]);
        assert_eq!(slots(vec![7, 5]), [14, 15, 10]);
    }
}
