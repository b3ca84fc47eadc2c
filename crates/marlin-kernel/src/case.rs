//! A case: a small plan, the batches to play it on and the inputs, all decided by the case's name.

use std::ops::Range;

use marlin_format::{FORMATS, Format, Layout, Weight};

use crate::{
    Access, Batch, Precision, Random, SequenceRows, Tolerance,
    plan::{BufferId, Op, Plan, View},
};

/// One comparison of a player with the reference: plays in order, caches kept from one to the next.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it: `rows 33, [65, 160], fp4`.
    pub name: String,
    /// A plan of few steps.
    pub plan: Plan,
    /// Tokens of a cache page.
    pub page_size: usize,
    /// Pages of the caches.
    pub pages: usize,
    /// What is played; all written columns are compared after each.
    pub plays: Vec<Play>,
    /// A tolerance of its own in place of the kernel's.
    pub tolerance: Option<fn(Precision) -> Tolerance>,
}

/// One batch of a case.
#[derive(Clone, Debug)]
pub struct Play {
    /// The batch.
    pub batch: Batch,
    /// Contents of every buffer that is read before it is written: `[rows, width]`.
    pub inputs: Vec<(BufferId, Vec<f32>)>,
}

/// The rows of one play: which sequence, which of its positions.
pub(crate) type Chunk = (usize, Range<usize>);

impl Case {
    /// A case of one play: `rows` tokens of one sequence.
    pub(crate) fn rows(name: impl Into<String>, plan: Plan, rows: usize) -> Case {
        Case::chunks(name, plan, &[vec![(0, 0..rows)]])
    }

    /// A case that plays chunks of sequences on pages in random order, with normal inputs.
    pub(crate) fn chunks(name: impl Into<String>, plan: Plan, plays: &[Vec<Chunk>]) -> Case {
        let name = name.into();
        let seed = |seed: u64, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
        let mut random = Random::new(name.bytes().fold(17, seed));
        let page_size = 16;
        let tables = page_tables(plays, page_size, &mut random);
        let pages = tables.iter().map(Vec::len).sum::<usize>() + SPARE_PAGES;
        let plays = plays.iter().map(|chunks| play(&plan, chunks, &tables, &mut random)).collect();
        Case { name, plan, page_size, pages, plays, tolerance: None }
    }

    /// The same case with other contents of a buffer, made from the number of its rows.
    pub(crate) fn with_input(mut self, view: View, mut values: impl FnMut(usize) -> Vec<f32>) -> Case {
        for play in &mut self.plays {
            let rows = play.batch.rows(self.plan.buffer(view.buffer).rows);
            play.inputs.retain(|(buffer, _)| *buffer != view.buffer);
            play.inputs.push((view.buffer, values(rows)));
        }
        self
    }

    /// The same case with a tolerance of its own.
    pub(crate) fn with_tolerance(self, tolerance: fn(Precision) -> Tolerance) -> Case {
        Case { tolerance: Some(tolerance), ..self }
    }
}

/// Pages no sequence owns.
const SPARE_PAGES: usize = 3;

/// Page tables long enough for every position a sequence reaches, pages in random order.
fn page_tables(plays: &[Vec<Chunk>], page_size: usize, random: &mut Random) -> Vec<Vec<u32>> {
    let chunks = || plays.iter().flatten();
    let sequences = chunks().map(|(sequence, _)| sequence + 1).max().unwrap_or(0);
    let len = |sequence| {
        let ends = chunks().filter(|chunk| chunk.0 == sequence).map(|chunk| chunk.1.end);
        ends.max().unwrap_or(0).div_ceil(page_size)
    };
    let total: usize = (0..sequences).map(len).sum();
    let mut free = random.permutation(total + SPARE_PAGES).into_iter().map(|page| page as u32);
    (0..sequences).map(|sequence| free.by_ref().take(len(sequence)).collect()).collect()
}

fn play(plan: &Plan, chunks: &[Chunk], tables: &[Vec<u32>], random: &mut Random) -> Play {
    let embeds = plan.steps.iter().any(|step| matches!(step.op, Op::Embed { .. }));
    let vocabulary = if embeds { plan.vocabulary() } else { 1 };
    let mut batch = Batch::default();
    for (sequence, positions) in chunks {
        let start = batch.tokens.len();
        batch.positions.extend(positions.clone().map(|position| position as u32));
        batch.tokens.extend(positions.clone().map(|_| random.below(vocabulary) as u32));
        let rows = start..batch.tokens.len();
        batch.sequences.push(SequenceRows { rows, pages: tables[*sequence].clone() });
    }
    batch.outputs = batch.sequences.iter().rev().map(|sequence| sequence.rows.end as u32 - 1).collect();
    let input = |buffer: BufferId| {
        let description = plan.buffer(buffer);
        (buffer, random.normals(batch.rows(description.rows) * description.width))
    };
    Play { inputs: inputs(plan).into_iter().map(input).collect(), batch }
}

/// Buffers that some step reads before any has written them.
fn inputs(plan: &Plan) -> Vec<BufferId> {
    let (mut inputs, mut written) = (Vec::new(), Vec::new());
    for step in 0..plan.steps.len() {
        let arguments = plan.arguments(step).expect("a case's plan fits");
        let reads = arguments.iter().filter(|argument| argument.access != Access::Write);
        for argument in reads {
            let buffer = argument.view.buffer;
            if !written.contains(&buffer) && !inputs.contains(&buffer) {
                inputs.push(buffer);
            }
        }
        written.extend(arguments.iter().filter(|it| it.access != Access::Read).map(|it| it.view.buffer));
    }
    inputs
}

/// A random weight of a case.
pub(crate) fn weight(random: &mut Random, format: &'static dyn Format, rows: usize, cols: usize) -> Weight {
    random.weight(format, rows, cols).expect("a random weight can be made in every format")
}

/// An f32 weight `[1, values.len()]`.
pub(crate) fn vector(values: &[f32]) -> Weight {
    matrix(1, values.len(), values)
}

/// An f32 weight `[rows, cols]`.
pub(crate) fn matrix(rows: usize, cols: usize, values: &[f32]) -> Weight {
    let format = marlin_format::by_name("f32").expect("f32 is a format");
    Weight::encode(format, rows, cols, values, marlin_format::Rounding::default()).expect("finite values")
}

/// Whether a format before this one in the table differs from it in nothing but the columns of a group, so
/// that players read both with the same code.
pub(crate) fn has_sibling(format: &dyn Format) -> bool {
    let without_group = |format: &dyn Format| match format.layout() {
        Layout::Grouped { code, scale, zero, tensor_scale, sparse, .. } => {
            Some(Layout::Grouped { code, group: 0, scale, zero, tensor_scale, sparse })
        }
        Layout::Affine { code, .. } => Some(Layout::Affine { code, group: 0 }),
        Layout::Dense { .. } | Layout::Blocks { .. } => None,
    };
    let own = without_group(format);
    let mut before = FORMATS.iter().take_while(|other| other.name() != format.name());
    own.is_some() && before.any(|other| without_group(*other) == own)
}

/// Every format with its name and `cols` rounded up to what it can hold.
pub(crate) fn formats(cols: usize) -> impl Iterator<Item = (&'static dyn Format, usize)> {
    FORMATS.iter().map(move |format| (*format, cols.next_multiple_of(format.layout().cols_multiple())))
}
