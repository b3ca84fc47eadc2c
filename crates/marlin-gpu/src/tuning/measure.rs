//! Measures a tuning: the candidates of each choice on shapes of GLM-4.7-Flash, in turns on one set of
//! weights.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{CLASSES, Tuning, has};
use crate::{
    Error, Gpu, Matrices,
    timing::median,
    work::{self, Cold, ExpertSizes, Work},
};

/// What a candidate's time may be of the default's, at most, to take its place.
const WORTHWHILE: f64 = 0.97;
/// Rounds that count, after one that compiles.
const ROUNDS: usize = 7;
/// Time for a device's clocks to come up before a choice, and before each time that is taken.
const WARM: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(10)];
/// Rows of a product of a few rows.
const FEW_ROWS: usize = 8;
/// Numbers of workgroups that attention is tried with.
const WORKGROUPS: [usize; 7] = [16, 32, 64, 132, 192, 264, 528];

/// One choice as it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// What is chosen, and the shape it was measured on.
    pub choice: String,
    /// Candidates with the seconds that each took, the default first; none if the device has no room for
    /// the shape.
    pub candidates: Vec<(String, f64)>,
    /// Index of the candidate that was taken; the default where there is none.
    pub taken: usize,
}

/// A choice of lowering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Products of one row, by class.
    Matvec(usize),
    /// Products of a few rows with matrices, by class.
    Split(usize),
    Workgroups,
    GateUp,
    Down,
}

/// Shapes that choices are measured on.
struct Sizes {
    /// Rows and columns of a weight of each class.
    matrices: [(usize, usize); CLASSES.len() + 1],
    /// Positions that attention sees.
    depth: usize,
    experts: ExpertSizes,
    cold: Cold,
    /// Whether clocks are to be waited for.
    warm: bool,
    rounds: usize,
}

/// GLM-4.7-Flash: o, dense gate, dense gate and up together, lm_head.
const REAL: Sizes = Sizes {
    matrices: [(2048, 5120), (10_240, 2048), (20_480, 2048), (154_880, 2048)],
    depth: 32_768,
    experts: work::GLM_EXPERTS,
    cold: work::COLD,
    warm: true,
    rounds: ROUNDS,
};

/// What software plays in a second or two: the same classes, fewer columns.
const SMALL: Sizes = Sizes {
    matrices: [(512, 64), (8192, 32), (16_384, 32), (32_768, 32)],
    depth: 512,
    experts: ExpertSizes { hidden: 128, inner: 96, count: 8, chosen: 4 },
    cold: Cold { bytes: 0, copies: 2 },
    warm: false,
    rounds: 1,
};

impl Tuning {
    /// Choices that [`Tuning::measure`] measures on a device.
    pub fn choices(gpu: &Gpu) -> usize {
        choices(gpu).len()
    }

    /// Times the candidates of every choice on the device and takes one in the place of the default where
    /// that saves more than 3 % of the time. Candidates take turns, so that a change of clocks meets them
    /// all; the time of each is the median. `progress` hears of every choice when it is made.
    ///
    /// # Errors
    /// [`Error::Missing`] on a device without timestamps, [`Error::Device`].
    pub fn measure(gpu: &Arc<Gpu>, mut progress: impl FnMut(Trial)) -> Result<Tuning, Error> {
        let sizes = if gpu.info.software { &SMALL } else { &REAL };
        let mut tuning = Tuning::default();
        for choice in choices(gpu) {
            let candidates = choice.candidates(&tuning);
            let work = choice.work(sizes, gpu);
            let name = format!("{}: {}, rows {}", choice.name(), work.shape, work.rows);
            let times = match time(gpu, &work, &candidates, sizes) {
                // A device too small for a shape plays no model that has it.
                Err(Error::Memory { .. } | Error::Binding { .. }) => Vec::new(),
                times => times?,
            };
            let taken = best(&times);
            tuning = candidates[taken];
            let label = |tuning: &Tuning| choice.label(tuning);
            let candidates = candidates.iter().map(label).zip(times).collect();
            progress(Trial { choice: name, candidates, taken });
        }
        Ok(tuning)
    }
}

/// The choices there are on a device.
fn choices(gpu: &Gpu) -> Vec<Choice> {
    let classes = 0..=CLASSES.len();
    let mut choices: Vec<Choice> = classes.clone().map(Choice::Matvec).collect();
    if gpu.info.matrices == Some(Matrices::Size16) {
        choices.extend(classes.map(Choice::Split));
    }
    choices.extend([Choice::Workgroups, Choice::GateUp, Choice::Down]);
    choices
}

impl Choice {
    fn name(self) -> &'static str {
        match self {
            Choice::Matvec(_) => "matvec",
            Choice::Split(_) => "split",
            Choice::Workgroups => "workgroups",
            Choice::GateUp => "gate_up",
            Choice::Down => "down",
        }
    }

    /// What a tuning says about this choice.
    fn label(self, tuning: &Tuning) -> String {
        match self {
            Choice::Matvec(class) => tuning.matvec[class].to_string(),
            Choice::Split(class) => tuning.split[class].to_string(),
            Choice::Workgroups => tuning.workgroups.to_string(),
            Choice::GateUp => tuning.gate_up.to_string(),
            Choice::Down => tuning.down.to_string(),
        }
    }

    /// `base`, and what differs from it in this choice.
    fn candidates(self, base: &Tuning) -> Vec<Tuning> {
        const COUNTS: [usize; 3] = [1, 2, 4];
        let with = |change: &dyn Fn(&mut Tuning)| {
            let mut tuning = *base;
            change(&mut tuning);
            tuning
        };
        let outs =
            |file: &'static str, name| COUNTS.into_iter().filter(move |outs| has(file, &[(name, *outs)]));
        let mut all = vec![*base];
        all.extend::<Vec<Tuning>>(match self {
            Choice::Matvec(class) => outs("matmul/matvec", "OUTS")
                .map(|outs| with(&|tuning| tuning.matvec[class] = outs))
                .collect(),
            Choice::Split(class) => outs("matmul/matvec_coop", "SPLIT")
                .map(|split| with(&|tuning| tuning.split[class] = split))
                .collect(),
            Choice::Workgroups => {
                WORKGROUPS.iter().map(|count| with(&|tuning| tuning.workgroups = *count)).collect()
            }
            Choice::GateUp => outs("moe_experts/gate_up", "OUTS")
                .map(|outs| with(&|tuning| tuning.gate_up = outs))
                .collect(),
            Choice::Down => {
                outs("moe_experts/down", "OUTS").map(|outs| with(&|tuning| tuning.down = outs)).collect()
            }
        });
        let mut first = true;
        all.retain(|tuning| std::mem::take(&mut first) || tuning != base);
        all
    }

    /// What it is measured on.
    fn work(self, sizes: &Sizes, gpu: &Gpu) -> Work {
        let format = marlin_format::by_name("fp4").expect("fp4 is a format");
        let product = |class: usize, rows| {
            let (outs, cols) = sizes.matrices[class];
            work::product("fp4", format, rows, outs, cols, sizes.cold)
        };
        match self {
            Choice::Matvec(class) => product(class, 1),
            Choice::Split(class) => product(class, FEW_ROWS),
            Choice::Workgroups => {
                work::attention(0, 1, sizes.depth, if gpu.info.f16 { 2 } else { 4 }, sizes.cold)
            }
            Choice::GateUp | Choice::Down => work::experts("fp4", format, 1, &sizes.experts),
        }
    }
}

/// Seconds that each candidate takes for all copies of a work's step: the median of several rounds.
fn time(gpu: &Arc<Gpu>, work: &Work, candidates: &[Tuning], sizes: &Sizes) -> Result<Vec<f64>, Error> {
    let mut player = work.player(gpu, Tuning::default())?;
    let keep_busy = |time| if sizes.warm { gpu.keep_busy(time) } else { Ok(()) };
    keep_busy(WARM[0])?;
    let mut times = vec![Vec::new(); candidates.len()];
    for round in 0..=sizes.rounds {
        for (candidate, times) in candidates.iter().zip(&mut times) {
            player.retune(*candidate)?;
            player.dispatches(0..work.copies)?;
            keep_busy(WARM[1])?;
            let time = player.time(0..work.copies)?;
            // The first round compiles.
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok(times.into_iter().map(|times| median(times).as_secs_f64()).collect())
}

/// The fastest where it is worth it, else the first.
fn best(times: &[f64]) -> usize {
    let Some(default) = times.first() else { return 0 };
    let fastest = (0..times.len()).min_by(|a, b| times[*a].total_cmp(&times[*b])).unwrap_or(0);
    if times[fastest] < WORTHWHILE * default { fastest } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_gain_takes_the_place_of_the_default() {
        assert_eq!(best(&[]), 0);
        assert_eq!(best(&[1.0, 0.98, 1.2]), 0);
        assert_eq!(best(&[1.0, 0.96, 0.95]), 2);
    }

    #[test]
    fn candidates_are_supported_and_differ_in_one_choice() {
        let base = Tuning::default();
        let choices = (0..=CLASSES.len())
            .flat_map(|class| [Choice::Matvec(class), Choice::Split(class)])
            .chain([Choice::Workgroups, Choice::GateUp, Choice::Down]);
        for choice in choices {
            let candidates = choice.candidates(&base);
            assert_eq!(candidates[0], base);
            assert!(candidates.len() > 1, "{choice:?}");
            for (at, candidate) in candidates.iter().enumerate() {
                candidate.check().unwrap();
                assert!(!candidates[..at].contains(candidate), "{choice:?}");
            }
        }
    }
}
