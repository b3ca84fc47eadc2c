//! Agreement: every case of every kernel, and every step of a model, on a player and on the truth.
//!
//! Before a case is played, buffers without input hold a guard value far outside all data; a column
//! that no step writes must hold the same bits afterwards.

use std::fmt;

use crate::{
    Access, Batch, Case, Error, KERNELS, Kernel, Player, Precision, ReferencePlayer,
    case::Play,
    compare::{Deviation, Failure, columns, compare},
    plan::{BufferId, Op, Plan, View},
};

/// What buffers without input hold: reading it by mistake ruins any result.
const GUARD: f32 = -1.25e30;

/// The outcome of one case.
#[derive(Debug)]
pub struct CaseResult {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The case's name.
    pub case: String,
    /// How far the player was from the reference, over all plays; or why it does not agree.
    pub outcome: Result<Deviation, Failure>,
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: ", self.kernel, self.case)?;
        match &self.outcome {
            Ok(deviation) => write!(f, "agrees, relative error {:.1e}", deviation.relative),
            Err(failure) => failure.fmt(f),
        }
    }
}

/// Plays cases on players made by `make` from a plan, a page size and a number of pages, and compares
/// each with the reference. `filter` is empty for all cases, `rope` for those of one kernel, or
/// `rope, Half` for those of one kernel with a part of their name.
pub fn check_player(
    make: impl Fn(Plan, usize, usize) -> Result<Box<dyn Player>, Error>,
    precision: Precision,
    filter: &str,
) -> Vec<CaseResult> {
    let (name, part) = filter.split_once(", ").unwrap_or((filter, ""));
    let mut results = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| name.is_empty() || kernel.name == name) {
        for case in (kernel.cases)().into_iter().filter(|case| case.name.contains(part)) {
            let outcome = check_case(&make, kernel, &case, precision);
            results.push(CaseResult { kernel: kernel.name, case: case.name, outcome });
        }
    }
    results
}

/// Plays one case of a kernel as [`check_player`] does.
///
/// # Errors
/// How the player differs from the reference, or fails.
pub fn check_case(
    make: impl Fn(Plan, usize, usize) -> Result<Box<dyn Player>, Error>,
    kernel: &Kernel,
    case: &Case,
    precision: Precision,
) -> Result<Deviation, Failure> {
    let plan = &case.plan;
    let tolerance = case.tolerance.unwrap_or(kernel.tolerance)(precision);
    let mut truth = ReferencePlayer::new(plan.clone(), case.page_size, case.pages)?;
    let mut tested = make(plan.clone(), case.page_size, case.pages)?;
    let written: Vec<View> = (0..plan.steps.len())
        .flat_map(|step| plan.arguments(step).expect("the reference player has checked the plan"))
        .filter_map(|argument| (argument.access != Access::Read).then_some(argument.view))
        .collect();
    let mut worst = Deviation::default();
    for play in &case.plays {
        let before = contents(plan, play);
        set(&mut truth, &play.batch, &before)?;
        set(tested.as_mut(), &play.batch, &before)?;
        truth.run(0..plan.steps.len())?;
        tested.run(0..plan.steps.len())?;
        for ((at, buffer), before) in plan.buffers.iter().enumerate().zip(&before) {
            let id = BufferId(at as u32);
            let covered = columns(buffer.width, written.iter().filter(|view| view.buffer == id));
            let (found, expected) = (tested.read(id)?, truth.read(id)?);
            worst = worst.max(compare(buffer, &covered, &found, &expected, tolerance)?);
            for (at, (found, before)) in found.iter().zip(before).enumerate() {
                let (row, col) = (at / buffer.width, at % buffer.width);
                if !covered[col] && found.to_bits() != before.to_bits() {
                    let buffer = buffer.label.clone();
                    return Err(Failure::Touched { buffer, row, col, before: *before, found: *found });
                }
            }
        }
    }
    Ok(worst)
}

/// What every buffer holds before a play: its input, or the guard.
fn contents(plan: &Plan, play: &Play) -> Vec<Vec<f32>> {
    let content = |(at, buffer): (usize, &crate::plan::Buffer)| {
        let input = play.inputs.iter().find(|(id, _)| id.0 as usize == at);
        let guard = || vec![GUARD; play.batch.rows(buffer.rows) * buffer.width];
        input.map_or_else(guard, |(_, values)| values.clone())
    };
    plan.buffers.iter().enumerate().map(content).collect()
}

fn set(player: &mut dyn Player, batch: &Batch, contents: &[Vec<f32>]) -> Result<(), Error> {
    player.begin(batch)?;
    // What the batch before chose is an input of one that names it.
    let names_chosen = batch.tokens.iter().any(|&token| Batch::chosen_output(token).is_some());
    let kept = player.plan().sampling().filter(|_| names_chosen).map(|(_, out)| out.buffer);
    for (at, values) in contents.iter().enumerate() {
        let id = BufferId(at as u32);
        if kept != Some(id) {
            player.write(id, values)?;
        }
    }
    Ok(())
}

/// The first step at which two players of one plan differ.
#[derive(Debug)]
pub struct StepDifference {
    /// Index of the step.
    pub step: usize,
    /// The step's label.
    pub label: String,
    /// Name of its kernel.
    pub kernel: &'static str,
    /// The difference.
    pub failure: Failure,
}

impl fmt::Display for StepDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} ({}, {}): {}", self.step, self.label, self.kernel, self.failure)
    }
}

/// Plays a batch step by step on two players of one plan and finds the first step whose result
/// differs. After each step the truth's result is copied into `tested`, so that every step starts
/// from the same values and only its own error counts. Caches must have been filled the same way.
///
/// # Errors
/// Those of either player. Panics if the players play different plans.
pub fn compare_steps(
    tested: &mut dyn Player,
    truth: &mut dyn Player,
    batch: &Batch,
    precision: Precision,
) -> Result<Option<StepDifference>, Error> {
    assert_eq!(tested.plan().steps, truth.plan().steps, "two players of one plan");
    tested.begin(batch)?;
    truth.begin(batch)?;
    for step in 0..truth.plan().steps.len() {
        if batch.choices.is_empty() && matches!(truth.plan().steps[step].op, Op::Sample { .. }) {
            continue;
        }
        tested.run(step..step + 1)?;
        truth.run(step..step + 1)?;
        let kernel = truth.plan().steps[step].op.kernel();
        for argument in truth.plan().arguments(step)? {
            if argument.access == Access::Read {
                continue;
            }
            let id = argument.view.buffer;
            let (found, expected) = (tested.read(id)?, truth.read(id)?);
            let buffer = truth.plan().buffer(id);
            let covered = columns(buffer.width, std::iter::once(&argument.view));
            let tolerance = (kernel.tolerance)(precision);
            if let Err(failure) = compare(buffer, &covered, &found, &expected, tolerance) {
                let label = truth.plan().steps[step].label.clone();
                return Ok(Some(StepDifference { step, label, kernel: kernel.name, failure }));
            }
            tested.write(id, &expected)?;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
