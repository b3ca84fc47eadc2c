//! A model cut where only the residual stream passes: the embedding, each layer, the head.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use marlin_format::Weight;
use marlin_kernel::plan::{BufferId, Op, Plan, WeightId};

use super::inputs::Inputs;
use crate::{Error, tasks::Task};

/// A piece of a model between two states of the residual stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// What it is called: `embedding`, `layer 3`, `head`.
    pub name: String,
    /// Its steps.
    pub steps: Range<usize>,
    /// Its tensors, as indices of tasks. Those that no step names belong to the first stage.
    pub tasks: Vec<usize>,
}

impl Stage {
    /// Weights of all its tensors together.
    pub fn weights(&self, tasks: &[Task]) -> u64 {
        self.tasks.iter().map(|at| tasks[*at].weights()).sum()
    }

    /// The weights of the stage's part that become codes.
    pub fn quantized(&self, tasks: &[Task], part: &Plan) -> HashSet<WeightId> {
        let tasks = self.tasks.iter().map(|at| &tasks[*at]).filter(|task| task.is_quantized());
        tasks.filter_map(|task| weight_id(part, &task.name)).collect()
    }

    /// The stage's tasks with their weights, those that share an input one after the other.
    pub fn in_order<'a>(
        &self,
        tasks: &'a [Task],
        part: &Plan,
        inputs: &Inputs,
    ) -> Vec<(&'a Task, Option<WeightId>)> {
        let tasks = self.tasks.iter().map(|at| &tasks[*at]);
        let mut list: Vec<_> = tasks.map(|task| (task, weight_id(part, &task.name))).collect();
        list.sort_by_key(|(_, id)| id.map(|id| inputs.of(id).0));
        list
    }
}

/// The weight of a part that is the tensor `name`.
pub(super) fn weight_id(part: &Plan, name: &str) -> Option<WeightId> {
    let named = |(label, weight): &(String, Weight)| label == name && weight.cols() > 0;
    part.weights.iter().position(named).map(|at| WeightId(at as u32))
}

/// The stages of a plan in order, at least an embedding and a head, and the buffer of the residual
/// stream between them.
///
/// # Errors
/// [`Error::Stages`] when more than the stream passes from one stage to the next.
pub(super) fn stages(plan: &Plan, tasks: &[Task]) -> Result<(Vec<Stage>, BufferId), Error> {
    let error = |found: String| Error::Stages { found };
    let stream = plan.steps.iter().find_map(|step| match &step.op {
        Op::Embed { out, .. } => Some(out.buffer),
        _ => None,
    });
    let stream = stream.ok_or_else(|| error("no embedding".to_owned()))?;
    let mut stages: Vec<Stage> = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let name = match (layer(&step.label), stages.len()) {
            (Some(layer), _) => format!("layer {layer}"),
            (None, 0) => "embedding".to_owned(),
            (None, 1) if stages[0].name == "embedding" => "embedding".to_owned(),
            (None, _) => "head".to_owned(),
        };
        match stages.last_mut() {
            Some(stage) if stage.name == name => stage.steps.end = at + 1,
            _ => stages.push(Stage { name, steps: at..at + 1, tasks: Vec::new() }),
        }
    }
    for stage in &stages[1..] {
        let inputs = plan.inputs(stage.steps.clone())?;
        if inputs != [stream] {
            let labels: Vec<&str> = inputs.iter().map(|id| plan.buffer(*id).label.as_str()).collect();
            return Err(error(format!("{} reads {}", stage.name, labels.join(", "))));
        }
    }
    let mut owners = HashMap::new();
    for (at, stage) in stages.iter().enumerate() {
        let part = plan.part(stage.steps.clone())?;
        let named = part.weights.iter().filter(|(_, weight)| weight.cols() > 0);
        for (label, _) in named {
            owners.entry(label.clone()).or_insert(at);
        }
    }
    for (at, task) in tasks.iter().enumerate() {
        stages[owners.get(&task.name).copied().unwrap_or(0)].tasks.push(at);
    }
    Ok((stages, stream))
}

/// The layer that a step's label puts it in.
fn layer(label: &str) -> Option<usize> {
    label.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}
