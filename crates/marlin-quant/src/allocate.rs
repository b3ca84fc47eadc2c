//! Which format each tensor gets, so that a model of at most so many bytes loses least.
//!
//! The multiple-choice knapsack problem: one option of each unit, the sum of bytes within a budget, the sum
//! of losses least. Solved as usual (Kellerer, Pferschy, Pisinger, Knapsack Problems, chapter 11):
//!
//! ```text
//!  loss |*                    1. options that another beats in bytes and loss are out
//!       |  .*                 2. steps along the lower hull, those that save most loss a byte first, as
//!       |    ' . o               long as they fit: optimal but for the step at which the budget breaks
//!       |        ' - . *      3. what bytes are left over go where they save most
//!       +--------------- bytes   4. the units with steps about as good as the last are chosen anew, exactly
//! ```
//!
//! A step that does not fit can be a large one, an embedding's, and leave many bytes over. Then 2 and 3 are
//! done again with the options of its unit below the step, and with those above, and so on, the branch of
//! the least bound first, until no bound is below what was found (branch and bound).
//!
//! Losses of different tensors are added, so they must be in one unit: what the outputs of the layer lose,
//! scaled by what that matters to the model.

use std::{iter::Sum, ops::Range};

use crate::Error;

/// Units that are chosen exactly; a model of so few is solved exactly as a whole.
const CORE: usize = 20;

/// Branches that are looked into at most.
const BRANCHES: usize = 300;

/// How far above its bound a choice may be, as a share of it, to be taken for the best.
const CLOSE: f64 = 1e-4;

/// Partial choices remembered of a core; beyond them, those of nearly the same bytes are merged.
const STATES: usize = 20_000;

/// What an option costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes in the file.
    pub bytes: u64,
    /// What is lost, at least 0. An option whose loss is not finite is never chosen.
    pub loss: f64,
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |sum, cost| Cost {
            bytes: sum.bytes + cost.bytes,
            loss: sum.loss + cost.loss,
        })
    }
}

/// A choice for every unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The option of each unit.
    pub chosen: Vec<usize>,
    /// Of all units together.
    pub cost: Cost,
    /// No choice within the budget loses less than this.
    pub bound: f64,
}

/// The options of tensors that must share a choice, as those of one unit: option by option the sums.
/// Options beyond the shortest list are dropped.
pub fn together(members: &[&[Cost]]) -> Vec<Cost> {
    let options = members.iter().map(|costs| costs.len()).min().unwrap_or(0);
    (0..options).map(|option| members.iter().map(|costs| costs[option]).sum()).collect()
}

/// Chooses an option of each of `units` such that all together take at most `budget` bytes and lose as
/// little as possible. Exact for up to 20 units of a few options, and close to
/// [`Allocation::bound`] for many.
///
/// # Errors
/// [`Error::Budget`] when even the smallest options take more, [`Error::NoOption`] for a unit that has
/// none with a finite loss.
pub fn allocate(units: &[Vec<Cost>], budget: u64) -> Result<Allocation, Error> {
    let fronts: Vec<Front> = units.iter().map(|options| Front::new(options)).collect();
    if let Some(unit) = fronts.iter().position(|front| front.points.is_empty()) {
        return Err(Error::NoOption { unit });
    }
    let smallest = fronts.iter().map(|front| front.points[0].cost.bytes).sum();
    if smallest > budget {
        return Err(Error::Budget { found: budget, smallest });
    }
    let (mut at, bound) = branch_and_bound(&fronts, budget);
    let core = core(&fronts, &at);
    choose_exactly(&fronts, &core, &mut at, budget);
    fill(&fronts, &mut at, budget);
    let cost = total(&fronts, &at);
    let chosen = fronts.iter().zip(&at).map(|(front, &at)| front.points[at].option).collect();
    Ok(Allocation { chosen, cost, bound: bound.min(cost.loss) })
}

fn total(fronts: &[Front], at: &[usize]) -> Cost {
    fronts.iter().zip(at).map(|(front, &at)| front.points[at].cost).sum()
}

/// The options of a unit that no other beats: more bytes, less loss.
#[derive(Debug)]
struct Front {
    points: Vec<Point>,
    /// The points on the lower convex hull.
    hull: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    option: usize,
    cost: Cost,
}

impl Front {
    fn new(options: &[Cost]) -> Front {
        let finite = options.iter().enumerate().filter(|(_, cost)| cost.loss.is_finite());
        let mut all: Vec<Point> = finite.map(|(option, &cost)| Point { option, cost }).collect();
        all.sort_by(|a, b| a.cost.bytes.cmp(&b.cost.bytes).then(a.cost.loss.total_cmp(&b.cost.loss)));
        let mut points: Vec<Point> = Vec::new();
        for point in all {
            if points.last().is_none_or(|last| point.cost.loss < last.cost.loss) {
                points.push(point);
            }
        }
        let mut front = Front { points, hull: Vec::new() };
        front.hull = front.hull(0..front.points.len());
        front
    }

    /// The points of a range that are on its lower convex hull.
    fn hull(&self, range: Range<usize>) -> Vec<usize> {
        let mut hull: Vec<usize> = Vec::new();
        for at in range {
            // A step that saves less a byte than the next one is none of the hull's.
            while let [.., a, b] = hull[..] {
                let saving = |from: usize, to: usize| saving(self.points[from].cost, self.points[to].cost);
                if saving(a, b) > saving(b, at) {
                    break;
                }
                hull.pop();
            }
            hull.push(at);
        }
        hull
    }

    /// The savings of the steps into and out of the hull's point at or below `at`.
    fn savings(&self, at: usize) -> impl Iterator<Item = f64> {
        let near = self.hull.windows(2).filter(move |step| step[0] <= at && at <= step[1]);
        near.map(|step| saving(self.points[step[0]].cost, self.points[step[1]].cost))
    }
}

/// Loss saved for each byte more.
fn saving(from: Cost, to: Cost) -> f64 {
    (from.loss - to.loss) / (to.bytes - from.bytes) as f64
}

/// Choices within a range of points of each unit.
#[derive(Debug)]
struct Branch {
    ranges: Vec<Range<usize>>,
    /// The point of each unit that the steps that fit lead to.
    at: Vec<usize>,
    /// No choice of this branch loses less.
    bound: f64,
    /// The unit whose step did not fit; none if all did, which makes `at` the best of the branch.
    broken: Option<usize>,
}

impl Branch {
    /// Takes the steps of the ranges' hulls in order of what they save a byte, up to the first that does not
    /// fit; the bound is what would be lost if that one could be taken in part. `None` if the budget is too
    /// small for any choice.
    fn new(fronts: &[Front], ranges: Vec<Range<usize>>, budget: u64) -> Option<Branch> {
        let mut steps: Vec<(usize, usize, usize)> = Vec::new();
        for (unit, (front, range)) in fronts.iter().zip(&ranges).enumerate() {
            steps.extend(front.hull(range.clone()).windows(2).map(|step| (unit, step[0], step[1])));
        }
        let points = |&(unit, from, to): &(usize, usize, usize)| {
            let points = &fronts[unit].points;
            (points[from].cost, points[to].cost)
        };
        let saved = |step: &(usize, usize, usize)| {
            let (from, to) = points(step);
            saving(from, to)
        };
        // Stable, so that the steps of a unit stay in order and equal units go in theirs.
        steps.sort_by(|a, b| saved(b).total_cmp(&saved(a)));
        let mut at: Vec<usize> = ranges.iter().map(|range| range.start).collect();
        let mut cost = total(fronts, &at);
        if cost.bytes > budget {
            return None;
        }
        for step in steps {
            let (from, to) = points(&step);
            if cost.bytes + (to.bytes - from.bytes) > budget {
                let bound = cost.loss - saved(&step) * (budget - cost.bytes) as f64;
                return Some(Branch { ranges, at, bound, broken: Some(step.0) });
            }
            at[step.0] = step.2;
            cost.bytes += to.bytes - from.bytes;
            cost.loss -= from.loss - to.loss;
        }
        Some(Branch { ranges, at, bound: cost.loss, broken: None })
    }

    /// The branches with the broken unit's points up to its own, and with those above it.
    fn split(&self, fronts: &[Front], budget: u64) -> impl Iterator<Item = Branch> {
        let halves = self.broken.map(|unit| {
            let (range, at) = (self.ranges[unit].clone(), self.at[unit]);
            [range.start..at + 1, at + 1..range.end].map(|range| {
                let mut ranges = self.ranges.clone();
                ranges[unit] = range;
                Branch::new(fronts, ranges, budget)
            })
        });
        halves.into_iter().flatten().flatten()
    }
}

/// The best choice found, a point of each front, and what no choice can be better than. The smallest points
/// fit into the budget.
fn branch_and_bound(fronts: &[Front], budget: u64) -> (Vec<usize>, f64) {
    let filled = |branch: &Branch| {
        let mut at = branch.at.clone();
        fill(fronts, &mut at, budget);
        (total(fronts, &at).loss, at)
    };
    let ranges = fronts.iter().map(|front| 0..front.points.len()).collect();
    let mut open: Vec<Branch> = Branch::new(fronts, ranges, budget).into_iter().collect();
    let mut best = open.first().map_or((f64::INFINITY, Vec::new()), filled);
    for _ in 0..BRANCHES {
        let least = (0..open.len()).min_by(|a, b| open[*a].bound.total_cmp(&open[*b].bound));
        let Some(branch) = least.map(|least| open.swap_remove(least)) else { break };
        if branch.bound >= best.0 * (1.0 - CLOSE) {
            open.push(branch);
            break;
        }
        for half in branch.split(fronts, budget) {
            let found = filled(&half);
            if found.0 < best.0 {
                best = found;
            }
            open.push(half);
        }
    }
    let bound = open.iter().map(|branch| branch.bound).fold(best.0, f64::min);
    (best.1, bound)
}

/// The units whose choice is least clear: their steps save about as much as the worst step taken.
fn core(fronts: &[Front], at: &[usize]) -> Vec<usize> {
    let taken = |(unit, front): (usize, &Front)| {
        let last = front.hull.iter().position(|&point| point == at[unit])?.checked_sub(1)?;
        let step = &front.hull[last..last + 2];
        Some(saving(front.points[step[0]].cost, front.points[step[1]].cost))
    };
    let worst = fronts.iter().enumerate().filter_map(taken).fold(f64::INFINITY, f64::min);
    let distance = |unit: usize| {
        let ratios = fronts[unit].savings(at[unit]).map(|saving| (saving / worst).ln().abs());
        ratios.fold(f64::INFINITY, f64::min)
    };
    let mut units: Vec<(f64, usize)> = (0..fronts.len()).map(|unit| (distance(unit), unit)).collect();
    units.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    units.truncate(CORE);
    units.into_iter().map(|(_, unit)| unit).collect()
}

/// A choice for the first units of a core.
#[derive(Clone, Copy, Debug)]
struct State {
    cost: Cost,
    /// The state it extends, and by which point.
    parent: usize,
    point: usize,
}

/// Chooses the points of the `core` anew, all others staying: every choice is extended by every point, and
/// those that another beats are dropped (Nemhauser and Ullmann 1969). Never worse than it was.
fn choose_exactly(fronts: &[Front], core: &[usize], at: &mut [usize], budget: u64) {
    let all = total(fronts, at);
    let before: Cost = core.iter().map(|&unit| fronts[unit].points[at[unit]].cost).sum();
    let available = budget - (all.bytes - before.bytes);
    let mut layers = vec![vec![State { cost: Cost::default(), parent: 0, point: 0 }]];
    let mut rest: u64 = core.iter().map(|&unit| fronts[unit].points[0].cost.bytes).sum();
    for &unit in core {
        rest -= fronts[unit].points[0].cost.bytes;
        let last = layers.last().map_or(&[][..], |layer| layer);
        let mut states = Vec::with_capacity(last.len() * fronts[unit].points.len());
        for (parent, state) in last.iter().enumerate() {
            for (point, added) in fronts[unit].points.iter().enumerate() {
                let cost = [state.cost, added.cost].into_iter().sum();
                states.push(State { cost, parent, point });
            }
        }
        states.retain(|state| state.cost.bytes + rest <= available);
        layers.push(unbeaten(states));
    }
    let Some((mut best, state)) = layers.last().and_then(|layer| layer.iter().enumerate().next_back()) else {
        return;
    };
    if state.cost.loss < before.loss {
        for (layer, &unit) in layers[1..].iter().zip(core).rev() {
            at[unit] = layer[best].point;
            best = layer[best].parent;
        }
    }
}

/// The states that no other beats in bytes and loss, in ascending bytes, at most [`STATES`] or so.
fn unbeaten(mut states: Vec<State>) -> Vec<State> {
    states.sort_by(|a, b| a.cost.bytes.cmp(&b.cost.bytes).then(a.cost.loss.total_cmp(&b.cost.loss)));
    let mut kept: Vec<State> = Vec::new();
    for state in states {
        if kept.last().is_none_or(|last| state.cost.loss < last.cost.loss) {
            kept.push(state);
        }
    }
    if kept.len() > STATES {
        let range = kept[kept.len() - 1].cost.bytes - kept[0].cost.bytes;
        let width = range / STATES as u64 + 1;
        let bucket = |state: &State| state.cost.bytes / width;
        // The last of a bucket loses least.
        kept =
            kept.chunk_by(|a, b| bucket(a) == bucket(b)).filter_map(|chunk| chunk.last()).copied().collect();
    }
    kept
}

/// Spends what is left of the budget, each time where it saves most loss.
fn fill(fronts: &[Front], at: &mut [usize], budget: u64) {
    let mut left = budget - total(fronts, at).bytes;
    loop {
        let mut best: Option<(f64, usize, usize)> = None;
        for (unit, front) in fronts.iter().enumerate() {
            let from = front.points[at[unit]].cost;
            for (point, to) in front.points.iter().enumerate().skip(at[unit] + 1) {
                let saved = from.loss - to.cost.loss;
                if to.cost.bytes - from.bytes <= left && best.is_none_or(|best| saved > best.0) {
                    best = Some((saved, unit, point));
                }
            }
        }
        let Some((_, unit, point)) = best else { return };
        left -= fronts[unit].points[point].cost.bytes - fronts[unit].points[at[unit]].cost.bytes;
        at[unit] = point;
    }
}
