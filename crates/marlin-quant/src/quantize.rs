//! Streams a model through a recipe into a new directory, one tensor at a time.
//!
//! The directory appears when everything is in it, and not before.

use std::path::Path;

use marlin_file::{ModelWriter, Options, Partial, Planned};
use marlin_model::Source;

use crate::{
    Budget, Error, Recipe, Report,
    page::page,
    tasks::{self, Task},
};

/// The file in the directory that holds the report.
pub const REPORT_NAME: &str = "marlin-report.json";
/// The same as a page for people.
pub const PAGE_NAME: &str = "report.html";

/// What a run tells while it works.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A directory that an interrupted run had left was removed; told first.
    Leftover(&'a Path),
    /// An interrupted run is continued; told first.
    Continued {
        /// Stages that it had done.
        done: usize,
        /// Stages there are.
        stages: usize,
    },
    /// How far the work is.
    Work {
        /// Weights done.
        done: u64,
        /// Weights there are.
        total: u64,
        /// The tensor or layer that comes next; empty at the end.
        next: &'a str,
    },
}

/// Quantizes `source` by `recipe` into the new directory that `partial` becomes, with `side_files`
/// (tokenizer, chat template) beside the tensors. With a budget the formats are chosen for it, by the
/// errors of the weights: a tensor's loss is its relative error times its share of the weights. `go_on`
/// is told of every tensor and may stop the run by `false`.
///
/// # Errors
/// [`Error`] in all its variants; nothing is left behind then.
pub fn quantize(
    source: &Source,
    (recipe, budget): (&Recipe, Option<&Budget>),
    partial: Partial,
    side_files: &[(&str, Vec<u8>)],
    mut go_on: impl FnMut(Event<'_>) -> bool,
) -> Result<Report, Error> {
    for leftover in partial.leftovers() {
        go_on(Event::Leftover(leftover));
    }
    let mut tasks = tasks::tasks(source, recipe)?;
    let weights: u64 = tasks.iter().map(Task::weights).sum();
    let (mut done, mut total) = (0, weights);
    if let Some(budget) = budget {
        total += weights;
        let mut losses = Vec::new();
        for at in Budget::units(&tasks) {
            let task = &tasks[at];
            if !go_on(Event::Work { done, total, next: &task.name }) {
                return Err(Error::Stopped { done: 0, total: tasks.len() });
            }
            losses.push(budget.weight_losses(source, task)?);
            source.release(&task.name);
            done += task.weights();
        }
        budget.choose(&mut tasks, &losses)?;
        done = weights;
    }
    let planned: Vec<Planned> = tasks.iter().map(Task::planned).collect();
    let options = Options { config: Some(tasks::config(source)), ..Options::default() };
    let mut writer = ModelWriter::within(partial, &planned, options)?;
    let mut reports = Vec::with_capacity(tasks.len());
    for task in &tasks {
        if !go_on(Event::Work { done, total, next: &task.name }) {
            return Err(Error::Stopped { done: reports.len(), total: tasks.len() });
        }
        reports.push(task.write(&task.round(source)?, None, &mut writer)?);
        source.release(&task.name);
        done += task.weights();
    }
    go_on(Event::Work { done, total, next: "" });
    finish(writer, side_files, Report::new(source, reports))
}

/// Writes what goes beside the tensors and gives the directory its name.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn finish(
    mut writer: ModelWriter,
    side_files: &[(&str, Vec<u8>)],
    report: Report,
) -> Result<Report, Error> {
    for (name, bytes) in side_files {
        writer.write_side_file(name, bytes)?;
    }
    let json = serde_json::to_vec_pretty(&report).expect("a report has only strings as keys");
    writer.write_side_file(REPORT_NAME, &json)?;
    writer.write_side_file(PAGE_NAME, page(&report).as_bytes())?;
    writer.finish()?;
    Ok(report)
}
