//! A size that a model must not exceed, and the formats that it may be reached with.

use marlin_format::{Format, Rounding};
use marlin_model::{Source, Tensors};

use crate::{Cost, Error, allocate, round, tasks::Task};

/// A size in bits per weight, over all tensors, and the formats to choose from.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bits per weight: scales, embedding, head and what is kept as it is included.
    pub bits_per_weight: f64,
    /// Formats that each tensor may get; the recipe's are not asked then.
    pub candidates: Vec<&'static dyn Format>,
}

impl Budget {
    /// The tensors of `tasks` that a format is chosen for.
    pub(crate) fn units(tasks: &[Task]) -> impl Iterator<Item = usize> {
        let chosen = tasks.iter().enumerate().filter(|(_, task)| task.chosen);
        chosen.map(|(at, _)| at).collect::<Vec<usize>>().into_iter()
    }

    /// The candidate that comes closest to the budget when all tensors get it: the largest that fits, or
    /// the smallest if none does. Its number.
    pub(crate) fn typical(&self, tasks: &[Task]) -> usize {
        let weights: u64 = tasks.iter().map(Task::weights).sum();
        let bytes = |format: &'static dyn Format| {
            let task = |task: &Task| if task.chosen { Task { format, ..task.clone() } } else { task.clone() };
            tasks.iter().map(|each| task(each).len_bytes()).sum::<u64>()
        };
        let all = self.candidates.iter().map(|format| bytes(*format)).enumerate();
        let over = |bytes: u64| bytes > (self.bits_per_weight * weights as f64 / 8.0) as u64;
        // Among those that fit the largest first, then the smallest of the others.
        let order = |bytes: u64| if over(bytes) { (1, bytes) } else { (0, u64::MAX - bytes) };
        all.min_by_key(|(_, bytes)| order(*bytes)).map_or(0, |(at, _)| at)
    }

    /// Gives every tensor that may be quantized the format that makes the sum of losses least. `losses`
    /// has for each of [`Budget::units`] the loss in each candidate.
    ///
    /// # Errors
    /// [`Error::Budget`] when the smallest formats are too large.
    pub(crate) fn choose(&self, tasks: &mut [Task], losses: &[Vec<f64>]) -> Result<(), Error> {
        let units: Vec<usize> = Budget::units(tasks).collect();
        let weights: u64 = tasks.iter().map(Task::weights).sum();
        let kept: u64 = tasks.iter().filter(|task| !task.chosen).map(Task::len_bytes).sum();
        let budget = (self.bits_per_weight * weights as f64 / 8.0) as u64;
        let costs = |(at, losses): (&usize, &Vec<f64>)| {
            let bytes =
                |format: &&'static dyn Format| Task { format: *format, ..tasks[*at].clone() }.len_bytes();
            let costs = self.candidates.iter().map(bytes).zip(losses);
            costs.map(|(bytes, loss)| Cost { bytes, loss: *loss }).collect::<Vec<Cost>>()
        };
        let costs: Vec<Vec<Cost>> = units.iter().zip(losses).map(costs).collect();
        let allocation = allocate(&costs, budget.saturating_sub(kept)).map_err(|error| match error {
            Error::Budget { found, smallest } => {
                Error::Budget { found: found + kept, smallest: smallest + kept }
            }
            error => error,
        })?;
        for (at, candidate) in units.into_iter().zip(allocation.chosen) {
            tasks[at].format = self.candidates[candidate];
        }
        Ok(())
    }

    /// The losses without calibration: the share of the model's weights that a tensor has, times its
    /// relative error in each candidate.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub(crate) fn weight_losses(&self, source: &Source, task: &Task) -> Result<Vec<f64>, Error> {
        let weight = source.weight(&task.name)?;
        let loss = |format: &&'static dyn Format| match round(&weight, *format, Rounding::default()) {
            Ok(rounded) => Ok(rounded.error.relative() * task.weights() as f64),
            // A format that has no rows of this length is none of the choices.
            Err(marlin_format::Error::Columns { .. }) => Ok(f64::INFINITY),
            Err(error) => Err(task.error(error)),
        };
        self.candidates.iter().map(loss).collect()
    }
}
