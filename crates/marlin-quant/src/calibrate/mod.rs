//! Quantizes a model while text streams through it, stage by stage: embedding, layers, head.
//!
//! ```text
//!  residual stream of all tokens, as the quantized stages before left it (a file)
//!        │
//!        ├─► the stage as it is, played ─► Gram matrices of what its products multiply
//!        │                                        │
//!        │                  tensors of the stage ─┴─► codes, written
//!        │                                        │
//!        └─► the stage with these codes, played ──┴─► residual stream for the next stage
//! ```
//!
//! An embedding that is also the head gets codes by what the head multiplies: see `tied.rs`.
//!
//! One stage is in memory at a time. After each the stream, the tensors and a note in the journal are
//! on the disk, so that an interrupted run continues with the next stage and ends with the same bytes.

mod experts;
mod facts;
mod inputs;
mod play;
mod probe;
mod stages;
mod stream;
mod survey;
mod survey_file;
mod text;
mod tied;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Instant,
};

use marlin_file::{ModelWriter, Options, Partial, Planned};
use marlin_kernel::{Player, plan::Plan};
use marlin_model::Source;
use serde::{Deserialize, Serialize};

use crate::{
    Budget, CalibrationReport, Error, Event, Recipe, Report, RoutingReport, TensorReport,
    quantize::finish,
    solve::Solver,
    tasks::{self, Task},
};
use play::Playback;
use stages::{Stage, stages};
use stream::StreamWriter;
use survey::Survey;
use survey_file::SurveyFile;
use text::Text;
use tied::Tied;

/// Makes a player of a plan, with caches for so many tokens.
pub type MakePlayer<'a> =
    dyn FnMut(Plan, usize) -> Result<Box<dyn Player>, Box<dyn std::error::Error + Send + Sync>> + Send + 'a;

/// The text a model is calibrated with, and what plays it.
pub struct Calibration<'a> {
    /// Tokens of the text; what does not fill a window is left out.
    pub tokens: Vec<u32>,
    /// Tokens of a window, each played from an empty cache.
    pub window: usize,
    /// The size that formats are chosen for, instead of those of the recipe.
    pub budget: Option<Budget>,
    /// The `survey.json` of an earlier run, from which the losses that formats are chosen by are taken
    /// instead of measuring them: of the same text, options, source and candidates.
    pub survey: Option<PathBuf>,
    /// Everything else that decides the result, in words: an interrupted run is continued by one of
    /// the same options only.
    pub options: String,
    /// What plays the stages.
    pub player: &'a mut MakePlayer<'a>,
}

/// How fast a calibrated run was, without what an interrupted run had done before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Speed {
    /// Tokens played through a stage, each twice: as it is, and quantized.
    pub played: u64,
    /// Seconds it took, gathering of Gram matrices included.
    pub played_seconds: f64,
    /// Weights that got codes.
    pub quantized: u64,
    /// Seconds it took.
    pub quantized_seconds: f64,
}

/// Quantizes `source` by `recipe` into the new directory `out`, as [`quantize`](crate::quantize()) does,
/// with codes that are chosen by what the tensors multiply in `calibration`.
///
/// An interrupted run of the same text, options and source is continued; one of others is an error
/// unless `restart` says to begin again.
///
/// # Errors
/// [`Error`] in all its variants; stages that were done are kept for a run that continues.
pub fn calibrate(
    source: &Source,
    recipe: &Recipe,
    calibration: Calibration<'_>,
    (out, restart): (&Path, bool),
    side_files: &[(&str, Vec<u8>)],
    go_on: &mut dyn FnMut(Event<'_>) -> bool,
) -> Result<(Report, Speed), Error> {
    let Calibration { window, ref tokens, .. } = calibration;
    if window == 0 || tokens.len() < window {
        return Err(Error::Text { tokens: tokens.len(), window });
    }
    let plan = marlin_model::build(source)?.plan;
    let mut tasks = tasks::tasks(source, recipe)?;
    let (stages, stream) = stages(&plan, &tasks)?;
    let common = facts::of_survey(source, &calibration);
    let budget = calibration.budget.as_ref();
    let mut survey = match (&calibration.survey, budget) {
        (Some(path), Some(budget)) => Some(SurveyFile::open(path, &common, &tasks, budget)?),
        _ => None,
    };
    let run = facts::of_run(&common, recipe, budget, survey.as_ref());
    let mut partial = Partial::open(out, Some(run), restart)?;
    for leftover in partial.leftovers() {
        go_on(Event::Leftover(leftover));
    }
    let passes = 1 + usize::from(budget.is_some() && survey.is_none());
    if !partial.notes().is_empty() {
        go_on(Event::Continued { done: partial.notes().len(), stages: passes * stages.len() });
    }
    let text = Text::new(tokens, window);
    let weights: u64 = tasks.iter().map(Task::weights).sum();
    let begun = partial.notes().iter().any(|note| note.get(survey::KEY).is_none());
    let mut tied = Tied::find(&plan, &tasks, &stages)?.filter(|_| !begun);
    let total = passes as u64 * weights + if tied.is_some() { weights / 4 } else { 0 };
    let mut work = Work { done: 0, total, stages: (0, stages.len()), go_on };
    let mut playback = Playback { stream, text, make: calibration.player, speed: Speed::default() };
    if let Some(tied) = &mut tied {
        tied.gather((&plan, &tasks, &stages), &partial, &mut playback, &mut work)?;
    }
    if let (Some(budget), None) = (budget, &survey) {
        let typical = budget.typical(&tasks);
        let made = Survey {
            source,
            plan: &plan,
            tasks: &tasks,
            stages: &stages,
            budget,
            typical,
            tied: tied.as_ref(),
        };
        let losses = made.run(&mut partial, &mut playback, &mut work)?;
        survey = Some(SurveyFile::new(common, budget.candidates[typical], losses));
    }
    if let (Some(budget), Some(survey)) = (budget, &survey) {
        let losses = survey.of_units(&tasks);
        budget.choose(&mut tasks, &losses)?;
    }
    let planned: Vec<Planned> = tasks.iter().map(Task::planned).collect();
    let options = Options { config: Some(tasks::config(source)), ..Options::default() };
    let writer = ModelWriter::within(partial, &planned, options)?;
    let mut run = Run { source, plan: &plan, tasks: &tasks, tied, playback, writer };
    let done = run.all(&stages, &mut work)?;
    (work.go_on)(Event::Work { done: total, total, next: "" });
    let Run { mut writer, playback, .. } = run;
    if let Some(survey) = survey {
        writer.write_side_file(survey_file::NAME, &survey.to_json())?;
    }
    Ok((finish(writer, side_files, report(source, &tasks, done, text))?, playback.speed))
}

/// What is noted of a stage that is done.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    tensors: Vec<TensorReport>,
    routing: Vec<RoutingReport>,
}

/// The report, with tensors in the order of their names as in every report.
fn report(source: &Source, tasks: &[Task], done: Vec<Done>, text: Text<'_>) -> Report {
    let (tokens, window) = (text.tokens.len(), text.window);
    let mut calibration = CalibrationReport { tokens, window, routing: Vec::new() };
    let mut tensors = HashMap::new();
    for done in done {
        calibration.routing.extend(done.routing);
        tensors.extend(done.tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)));
    }
    let in_order = tasks.iter().filter_map(|task| tensors.remove(&task.name)).collect();
    Report { calibration: Some(calibration), ..Report::new(source, in_order) }
}

/// How far the work is: the weights of a stage count half when its inputs are gathered, a quarter
/// when they have codes, a quarter when its output is played; in a survey a quarter each for its inputs,
/// codes, output, and the output of the probe.
struct Work<'a> {
    done: u64,
    total: u64,
    stages: (usize, usize),
    go_on: &'a mut dyn FnMut(Event<'_>) -> bool,
}

impl Work<'_> {
    /// Tells that so many quarters of a stage are done, and asks whether to go on.
    fn tell(&mut self, stage: &Stage, weights: u64, quarters: f64) -> Result<(), Error> {
        let done = self.done + (weights as f64 * quarters / 4.0) as u64;
        let (done_stages, stages) = self.stages;
        match (self.go_on)(Event::Work { done, total: self.total, next: &stage.name }) {
            true => Ok(()),
            false => Err(Error::Paused { done: done_stages, stages }),
        }
    }
}

/// A run between two stages.
struct Run<'a, 'm> {
    source: &'a Source,
    plan: &'a Plan,
    tasks: &'a [Task],
    tied: Option<Tied>,
    playback: Playback<'a, 'm>,
    writer: ModelWriter,
}

impl Run<'_, '_> {
    /// Does all stages that are not done yet, and returns what is noted of each.
    fn all(&mut self, stages: &[Stage], work: &mut Work<'_>) -> Result<Vec<Done>, Error> {
        let done = self.writer.notes().map(|note| Done::deserialize(note).map_err(Error::Note));
        let mut done = done.collect::<Result<Vec<Done>, Error>>()?;
        work.done += stages.iter().take(done.len()).map(|stage| stage.weights(self.tasks)).sum::<u64>();
        for at in done.len()..stages.len() {
            work.stages.0 = at;
            done.push(self.stage(stages, at, work)?);
        }
        Ok(done)
    }

    /// Does stage `at` and makes it durable.
    fn stage(&mut self, stages: &[Stage], at: usize, work: &mut Work<'_>) -> Result<Done, Error> {
        let stage = &stages[at];
        let weights = stage.weights(self.tasks);
        let mut part = self.plan.part(stage.steps.clone())?;
        let before = at.checked_sub(1).map(|at| self.writer.scratch(&format!("stream-{at}")));
        let wanted = stage.quantized(self.tasks, &part);
        let mut inputs = self.playback.gather(
            &part,
            |id| wanted.contains(&id),
            before.as_deref(),
            false,
            &mut |share| work.tell(stage, weights, 2.0 * share),
        )?;
        if let Some(tied) = &self.tied {
            tied.enter(&part, &mut inputs);
        }
        let start = Instant::now();
        let (mut tensors, mut coded, mut solver) = (Vec::new(), 0, Solver::default());
        for (task, id) in stage.in_order(self.tasks, &part, &inputs) {
            work.tell(stage, weights, 2.0 + coded as f64 / weights.max(1) as f64)?;
            let grams = id.map_or((0, &[][..]), |id| inputs.of(id));
            let (rounded, measured) = solver.solve(self.source, task, grams)?;
            tensors.push(task.write(&rounded, measured, &mut self.writer)?);
            coded += task.weights();
            if let (Some(id), true) = (id, task.chosen) {
                part.weights[id.0 as usize].1 = rounded.weight;
            }
            self.source.release(&task.name);
        }
        let routing = inputs.routing();
        self.playback.speed.quantized += coded;
        self.playback.speed.quantized_seconds += start.elapsed().as_secs_f64();
        if at + 1 < stages.len() {
            let after = self.writer.scratch(&format!("stream-{at}"));
            let mut tell = |share| work.tell(stage, weights, 3.0 + share);
            let mut after = StreamWriter::create(after)?;
            self.playback.advance(part, before.as_deref(), &mut after, &mut tell)?;
            after.finish()?;
        }
        let done = Done { tensors, routing };
        self.writer.checkpoint(serde_json::to_value(&done).map_err(Error::Note)?)?;
        if let Some(before) = before {
            stream::discard(&before);
        }
        work.done += weights;
        Ok(done)
    }
}
