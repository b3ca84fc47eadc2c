//! Streams a model through a recipe into a new directory, one tensor at a time.
//!
//! The directory appears when everything is in it, and not before.

use std::{path::Path, time::Instant};

use marlin_file::{Content, Dtype, ModelWriter, Options, Planned};
use marlin_format::{Format, Rounding};
use marlin_model::{Source, Tensors};
use serde_json::Value;

use crate::{Error, Recipe, Report, Rounded, TensorReport, round};

/// The file in the directory that holds the report.
pub const REPORT_NAME: &str = "marlin-report.json";

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Weights done.
    pub done: u64,
    /// Weights there are.
    pub total: u64,
    /// The tensor that comes next; empty at the end.
    pub tensor: &'a str,
    /// A directory that an interrupted run had left and that was removed; told once, first.
    pub leftover: Option<&'a Path>,
}

/// What happens to one tensor.
struct Task<'a> {
    name: &'a str,
    format: &'static dyn Format,
    /// Whether the recipe chose the format, rather than keeping the precision there is.
    chosen: bool,
    rows: usize,
    cols: usize,
}

/// Quantizes `source` by `recipe` into the new directory `out`, with `side_files` (tokenizer, chat
/// template) beside the tensors. `go_on` is told of every tensor and may stop the run by `false`.
///
/// # Errors
/// [`Error`] in all its variants; nothing is left behind then.
pub fn quantize(
    source: &Source,
    recipe: &Recipe,
    out: &Path,
    side_files: &[(&str, Vec<u8>)],
    mut go_on: impl FnMut(Progress<'_>) -> bool,
) -> Result<Report, Error> {
    let start = Instant::now();
    let tasks = tasks(source, recipe)?;
    let planned: Vec<Planned> = tasks.iter().map(Task::planned).collect();
    let options = Options { config: Some(config(source)), ..Options::default() };
    let mut writer = ModelWriter::create(out, &planned, options)?;

    let total = tasks.iter().map(Task::weights).sum();
    let mut progress = Progress { done: 0, total, tensor: "", leftover: None };
    for leftover in writer.leftovers() {
        go_on(Progress { leftover: Some(leftover), ..progress });
    }
    let mut reports = Vec::with_capacity(tasks.len());
    for (done, task) in tasks.iter().enumerate() {
        if !go_on(Progress { tensor: task.name, ..progress }) {
            return Err(Error::Stopped { done, total: tasks.len() });
        }
        let len_bytes = planned[done].content.len_bytes().unwrap_or(0) as u64;
        reports.push(task.run(source, &mut writer, len_bytes)?);
        source.release(task.name);
        progress.done += task.weights();
    }
    go_on(progress);

    for (name, bytes) in side_files {
        writer.write_side_file(name, bytes)?;
    }
    let origin = source.checkpoint().tensors().source().to_owned();
    let seconds = start.elapsed().as_secs_f64();
    let report = Report::new(origin, reports, source.left_out().to_vec(), seconds);
    let json = serde_json::to_vec_pretty(&report).expect("a report has only strings as keys");
    writer.write_side_file(REPORT_NAME, &json)?;
    writer.finish()?;
    Ok(report)
}

fn tasks<'a>(source: &'a Source, recipe: &Recipe) -> Result<Vec<Task<'a>>, Error> {
    let mut tasks = Vec::new();
    for name in source.names() {
        let (rows, cols) = source.shape(name)?;
        let chosen = recipe.format(source.role(name)?);
        let format = match chosen {
            Some(format) => format,
            None => kept(source.weight(name)?.format()),
        };
        tasks.push(Task { name, format, chosen: chosen.is_some(), rows, cols });
    }
    Ok(tasks)
}

/// The dense format that keeps a tensor's values: its own, or f32 for one that is quantized already.
fn kept(format: &'static dyn Format) -> &'static dyn Format {
    match Dtype::of_dense_format(format.name()) {
        Some(_) => format,
        None => marlin_format::by_name("f32").expect("f32 is a format"),
    }
}

/// The configuration of the result: layers of multi-token prediction are not written.
fn config(source: &Source) -> serde_json::Map<String, Value> {
    const PREDICTION: &str = "num_nextn_predict_layers";
    let mut values = source.config().values().clone();
    if values.contains_key(PREDICTION) {
        values.insert(PREDICTION.into(), 0.into());
    }
    values
}

impl Task<'_> {
    fn weights(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }

    fn planned(&self) -> Planned {
        let (format, rows, cols) = (self.format, self.rows, self.cols);
        let content = match Dtype::of_dense_format(format.name()) {
            Some(dtype) if rows == 1 => Content::Plain { dtype, shape: vec![cols] },
            Some(dtype) => Content::Plain { dtype, shape: vec![rows, cols] },
            None => Content::Matrix { format, rows, cols },
        };
        Planned { name: self.written_name().to_owned(), content }
    }

    /// What the writer calls it: a quantized matrix goes without its suffix.
    fn written_name(&self) -> &str {
        match Dtype::of_dense_format(self.format.name()) {
            Some(_) => self.name,
            None => self.name.strip_suffix(".weight").unwrap_or(self.name),
        }
    }

    fn run(&self, source: &Source, writer: &mut ModelWriter, len_bytes: u64) -> Result<TensorReport, Error> {
        let wrap = |source| Error::Tensor { name: self.name.to_owned(), source };
        let weight = source.weight(self.name)?;
        let Rounded { weight, error } = round(&weight, self.format, Rounding::default()).map_err(wrap)?;
        if Dtype::of_dense_format(self.format.name()).is_some() {
            writer.write_tensor(self.written_name(), &weight.parts().codes)?;
        } else {
            writer.write_weight(self.written_name(), &weight)?;
        }
        Ok(TensorReport {
            name: self.name.to_owned(),
            format: self.format.name().to_owned(),
            rows: self.rows,
            cols: self.cols,
            len_bytes,
            relative_mse: self.chosen.then(|| error.relative()),
        })
    }
}
