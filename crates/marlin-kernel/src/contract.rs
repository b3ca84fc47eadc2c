//! What a step touches and what must hold for it: built by each kernel, checked as it is built.
//!
//! The first thing that does not fit ends the building, so later lines of a contract may rely on
//! earlier ones. A contract reads shapes only, never values.

use std::fmt::Display;

use marlin_format::{Layout, Weight};

use crate::{
    Error,
    plan::{Buffer, BufferId, CacheId, Plan, View, WeightId, Word},
};

/// What a step does with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Overwrites it.
    Write,
    /// Adds to it.
    Update,
}

/// One activation argument of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name in the [`Op`](crate::plan::Op).
    pub name: &'static str,
    /// Its columns.
    pub view: View,
    /// What the step does with it.
    pub access: Access,
}

/// A contract under construction: the plan it is checked against and the arguments found so far.
#[derive(Debug)]
pub struct Contract<'a> {
    plan: &'a Plan,
    step: usize,
    label: &'a str,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) weights: Vec<WeightId>,
}

impl<'a> Contract<'a> {
    pub(crate) fn new(plan: &'a Plan, step: usize, label: &'a str) -> Contract<'a> {
        Contract { plan, step, label, arguments: Vec::new(), weights: Vec::new() }
    }

    /// An f32 view that is read.
    pub(crate) fn reads(&mut self, name: &'static str, view: &View) -> Result<(), Error> {
        self.argument(name, view, Access::Read, Word::F32)
    }

    /// A u32 view that is read.
    pub(crate) fn reads_words(&mut self, name: &'static str, view: &View) -> Result<(), Error> {
        self.argument(name, view, Access::Read, Word::U32)
    }

    /// An f32 view that is overwritten.
    pub(crate) fn writes(&mut self, name: &'static str, view: &View) -> Result<(), Error> {
        self.argument(name, view, Access::Write, Word::F32)
    }

    /// A u32 view that is overwritten.
    pub(crate) fn writes_words(&mut self, name: &'static str, view: &View) -> Result<(), Error> {
        self.argument(name, view, Access::Write, Word::U32)
    }

    /// An f32 view that is added to.
    pub(crate) fn updates(&mut self, name: &'static str, view: &View) -> Result<(), Error> {
        self.argument(name, view, Access::Update, Word::F32)
    }

    /// The view's columns lie back to back.
    pub(crate) fn contiguous(&self, name: &'static str, view: &View) -> Result<(), Error> {
        self.require(name, view.is_contiguous(), format_args!("stride {}", view.stride), view.width)
    }

    /// A weight `[rows, cols]` in any format.
    pub(crate) fn matrix(
        &mut self,
        name: &'static str,
        id: WeightId,
        rows: usize,
        cols: usize,
    ) -> Result<(), Error> {
        let weight = self.weight(name, id)?;
        let found = format!("[{}, {}]", weight.rows(), weight.cols());
        self.require(name, (weight.rows(), weight.cols()) == (rows, cols), found, format!("[{rows}, {cols}]"))
    }

    /// An f32 weight `[1, len]`.
    pub(crate) fn vector(&mut self, name: &'static str, id: WeightId, len: usize) -> Result<(), Error> {
        self.matrix(name, id, 1, len)?;
        let format = self.plan.weight(id).format();
        self.require(name, format.layout() == Layout::Dense { bytes: 4 }, format.name(), "f32")
    }

    /// A weight whose shape is not yet known.
    pub(crate) fn weight(&mut self, name: &'static str, id: WeightId) -> Result<&'a Weight, Error> {
        let weights = &self.plan.weights;
        let (_, weight) = weights
            .get(id.0 as usize)
            .ok_or_else(|| self.error(name, id.0, format_args!("fewer than {}", weights.len())))?;
        self.weights.push(id);
        Ok(weight)
    }

    /// A cache whose rows reach to column `end` at least.
    pub(crate) fn cache(&self, name: &'static str, id: CacheId, end: usize) -> Result<(), Error> {
        let caches = &self.plan.caches;
        let cache = caches
            .get(id.0 as usize)
            .ok_or_else(|| self.error(name, id.0, format_args!("fewer than {}", caches.len())))?;
        let width = cache.width;
        self.require(name, end <= width, format_args!("columns ..{end}"), format_args!("{width} columns"))
    }

    /// Two sizes that must agree.
    pub(crate) fn equal(&self, what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
        self.require(what, found == expected, found, expected)
    }

    /// Anything else that must hold.
    pub(crate) fn require(
        &self,
        what: &'static str,
        holds: bool,
        found: impl Display,
        expected: impl Display,
    ) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(self.error(what, found, expected)) }
    }

    /// No column is written twice, and none that is read is written; with `in_place` a written view
    /// may be exactly one that is read.
    pub(crate) fn apart(&self, in_place: bool) -> Result<(), Error> {
        for (at, written) in self.arguments.iter().enumerate() {
            if written.access == Access::Read {
                continue;
            }
            for (other_at, other) in self.arguments.iter().enumerate() {
                let same = in_place && other.access == Access::Read && other.view == written.view;
                if at != other_at && !same && overlap(&written.view, &other.view) {
                    let found = format!("columns shared with {}", other.name);
                    return Err(self.error(written.name, found, "columns of its own"));
                }
            }
        }
        Ok(())
    }

    fn argument(&mut self, name: &'static str, view: &View, access: Access, word: Word) -> Result<(), Error> {
        let buffer = self.buffer(name, view.buffer)?;
        self.require(
            name,
            buffer.word == word,
            format!("{:?} words", buffer.word),
            format!("{word:?} words"),
        )?;
        self.require(name, view.heads > 0 && view.width > 0, "no columns", "1 or more")?;
        let within = view.heads == 1 || view.stride >= view.width;
        self.require(
            name,
            within,
            format_args!("stride {}", view.stride),
            format_args!("{} or more", view.width),
        )?;
        let end = (view.heads - 1)
            .checked_mul(view.stride)
            .and_then(|before| before.checked_add(view.start)?.checked_add(view.width));
        let inside = end.is_some_and(|end| end <= buffer.width);
        self.require(name, inside, format_args!("{view:?}"), format_args!("{} columns", buffer.width))?;
        self.arguments.push(Argument { name, view: *view, access });
        Ok(())
    }

    /// The description of a buffer that must exist.
    pub(crate) fn buffer(&self, name: &'static str, id: BufferId) -> Result<&'a Buffer, Error> {
        let buffers = &self.plan.buffers;
        buffers
            .get(id.0 as usize)
            .ok_or_else(|| self.error(name, id.0, format_args!("fewer than {}", buffers.len())))
    }

    /// The error of this step that says what does not fit.
    pub(crate) fn error(&self, what: &'static str, found: impl Display, expected: impl Display) -> Error {
        Error::Step {
            step: self.step,
            label: self.label.to_owned(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}

/// Whether two views, both inside their buffers, share a column.
fn overlap(a: &View, b: &View) -> bool {
    let segments = |view: &View| {
        let view = *view;
        (0..view.heads)
            .map(move |head| view.start + head * view.stride..view.start + head * view.stride + view.width)
    };
    a.buffer == b.buffer
        && segments(a).any(|left| segments(b).any(|right| left.start < right.end && right.start < left.end))
}
