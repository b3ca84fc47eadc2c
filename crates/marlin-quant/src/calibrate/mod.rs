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
//! One stage is in memory at a time. After each the stream, the tensors and a note in the journal are
//! on the disk, so that an interrupted run continues with the next stage and ends with the same bytes.

mod experts;
mod facts;
mod inputs;
mod stages;
mod stream;
mod text;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::Instant,
};

use marlin_file::{ModelWriter, Options, Partial, Planned};
use marlin_format::Weight;
use marlin_kernel::{
    Player,
    plan::{BufferId, Plan, WeightId},
};
use marlin_model::Source;
use serde::{Deserialize, Serialize};

use crate::{
    CalibrationReport, Error, Event, Recipe, Report, RoutingReport, TensorReport,
    quantize::finish,
    solve::Solver,
    tasks::{self, Task},
};
use inputs::Inputs;
use stages::{Stage, stages};
use stream::{StreamReader, StreamWriter};
use text::Text;

/// Makes a player of a plan, with caches for so many tokens.
pub type MakePlayer<'a> =
    dyn FnMut(Plan, usize) -> Result<Box<dyn Player>, Box<dyn std::error::Error + Send + Sync>> + Send + 'a;

/// The text a model is calibrated with, and what plays it.
pub struct Calibration<'a> {
    /// Tokens of the text; what does not fill a window is left out.
    pub tokens: Vec<u32>,
    /// Tokens of a window, each played from an empty cache.
    pub window: usize,
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
    let tasks = tasks::tasks(source, recipe)?;
    let (stages, stream) = stages(&plan, &tasks)?;
    let partial = Partial::open(out, Some(facts::facts(source, &tasks, &calibration)), restart)?;
    let planned: Vec<Planned> = tasks.iter().map(Task::planned).collect();
    let options = Options { config: Some(tasks::config(source)), ..Options::default() };
    let writer = ModelWriter::within(partial, &planned, options)?;
    let done = writer.notes().map(|note| Done::deserialize(note).map_err(Error::Note));
    let mut done = done.collect::<Result<Vec<Done>, Error>>()?;
    for leftover in writer.leftovers() {
        go_on(Event::Leftover(leftover));
    }
    if !done.is_empty() {
        go_on(Event::Continued { done: done.len(), stages: stages.len() });
    }
    let text = Text::new(tokens, window);
    let total = tasks.iter().map(Task::weights).sum();
    let before = stages[..done.len()].iter().flat_map(|stage| &stage.tasks);
    let weights = before.map(|at| tasks[*at].weights()).sum();
    let (make, speed) = (calibration.player, Speed::default());
    let mut run = Run { source, plan: &plan, tasks: &tasks, stream, text, make, writer, speed };
    let mut work = Work { done: weights, total, stages: (done.len(), stages.len()), go_on };
    for at in done.len()..stages.len() {
        work.stages = (at, stages.len());
        done.push(run.stage(&stages, at, &mut work)?);
    }
    (work.go_on)(Event::Work { done: total, total, next: "" });
    let Run { writer, speed, .. } = run;
    Ok((finish(writer, side_files, report(source, &tasks, done, text))?, speed))
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
/// when they have codes, a quarter when its output is played.
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
    stream: BufferId,
    text: Text<'a>,
    make: &'m mut MakePlayer<'m>,
    writer: ModelWriter,
    speed: Speed,
}

impl Run<'_, '_> {
    /// Does stage `at` and makes it durable.
    fn stage(&mut self, stages: &[Stage], at: usize, work: &mut Work<'_>) -> Result<Done, Error> {
        let stage = &stages[at];
        let weights = stage.tasks.iter().map(|at| self.tasks[*at].weights()).sum();
        let mut part = self.plan.part(stage.steps.clone())?;
        let inputs = self.gather(&part, stage, at, &mut |share| work.tell(stage, weights, 2.0 * share))?;
        let start = Instant::now();
        let (mut tensors, mut coded, mut solver) = (Vec::new(), 0, Solver::default());
        let ids = stage.tasks.iter().map(|at| (&self.tasks[*at], weight_id(&part, &self.tasks[*at].name)));
        let mut in_order: Vec<(&Task, Option<WeightId>)> = ids.collect();
        in_order.sort_by_key(|(_, id)| id.map(|id| inputs.of(id).0));
        for (task, id) in in_order {
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
        self.speed.quantized += coded;
        self.speed.quantized_seconds += start.elapsed().as_secs_f64();
        if at + 1 < stages.len() {
            self.advance(part, at, &mut |share| work.tell(stage, weights, 3.0 + share))?;
        }
        let done = Done { tensors, routing };
        self.writer.checkpoint(serde_json::to_value(&done).map_err(Error::Note)?)?;
        if at > 0 {
            // Nobody needs it any more; a failure to remove it is no failure of the run.
            let _ = std::fs::remove_file(self.stream_path(at - 1));
        }
        work.done += weights;
        Ok(done)
    }

    /// Plays stage `at` as it is, as far as needed to know what its products multiply.
    fn gather(
        &mut self,
        part: &Plan,
        stage: &Stage,
        at: usize,
        share_done: &mut dyn FnMut(f64) -> Result<(), Error>,
    ) -> Result<Inputs, Error> {
        let tasks = stage.tasks.iter().map(|at| &self.tasks[*at]).filter(|task| task.is_quantized());
        let quantized: HashSet<&str> = tasks.map(|task| task.name.as_str()).collect();
        let wanted = |id: WeightId| quantized.contains(part.weights[id.0 as usize].0.as_str());
        let mut inputs = Inputs::new(part, wanted, self.make)?;
        if !inputs.is_empty() {
            let head = part.part(0..inputs.steps().max(1))?;
            self.play(head, at, share_done, |player| inputs.gather(player))?;
        }
        Ok(inputs)
    }

    /// Plays stage `at` with its codes and keeps the residual stream it leaves.
    fn advance(
        &mut self,
        part: Plan,
        at: usize,
        share_done: &mut dyn FnMut(f64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (stream, steps) = (self.stream, part.steps.len());
        let mut out = StreamWriter::create(self.stream_path(at))?;
        self.play(part, at, share_done, |player| {
            player.run(0..steps)?;
            Ok(out.push(&player.read(stream)?)?)
        })?;
        Ok(out.finish()?)
    }

    /// Begins every batch of the text on a player of `part`, the stream in its place, and calls `each`.
    fn play(
        &mut self,
        part: Plan,
        at: usize,
        share_done: &mut dyn FnMut(f64) -> Result<(), Error>,
        mut each: impl FnMut(&mut dyn Player) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let width = part.buffer(self.stream).width;
        let mut before = match at {
            0 => None,
            at => Some(StreamReader::open(&self.stream_path(at - 1))?),
        };
        // Room for each window to end inside a page.
        const MOST_PAGE: usize = 256;
        let context = self.text.group() * self.text.window.next_multiple_of(MOST_PAGE);
        let mut player = (self.make)(part, context).map_err(Error::Player)?;
        let mut played = 0;
        for batch in self.text.batches(player.page_size()) {
            share_done(played as f64 / self.text.tokens.len() as f64)?;
            player.begin(&batch)?;
            if let Some(before) = &mut before {
                player.write(self.stream, &before.next(batch.tokens.len() * width)?)?;
            }
            each(player.as_mut())?;
            played += batch.tokens.len();
        }
        self.speed.played += played as u64;
        self.speed.played_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Where the stream behind stage `at` is.
    fn stream_path(&self, at: usize) -> std::path::PathBuf {
        self.writer.scratch(&format!("stream-{at}"))
    }
}

/// The weight of a part that is the tensor `name`.
fn weight_id(part: &Plan, name: &str) -> Option<WeightId> {
    let named = |(label, weight): &(String, Weight)| label == name && weight.cols() > 0;
    part.weights.iter().position(named).map(|at| WeightId(at as u32))
}
