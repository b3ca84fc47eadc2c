//! Players that are wrong on purpose: what the harness must catch.

use std::ops::Range;

use marlin_kernel::{
    Access, Argument, Batch, Error, Player,
    plan::{Buffer, BufferId, Plan, Word},
};

/// What a saboteur does to the result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// One value is a little too large: by a hundredth of the largest of the result.
    Value,
    /// One value is NaN.
    Nan,
    /// One column outside the result changes.
    Outside,
}

/// A player whose one kernel is wrong.
pub struct Saboteur {
    player: Box<dyn Player>,
    kernel: &'static str,
    sabotage: Sabotage,
}

impl Saboteur {
    /// Wraps a player so that every step of `kernel` is wrong. A kernel that writes caches only, and
    /// no buffer, is given wrong input instead.
    pub fn new(player: Box<dyn Player>, kernel: &'static str, sabotage: Sabotage) -> Saboteur {
        Saboteur { player, kernel, sabotage }
    }

    fn run_wrong(&mut self, step: usize) -> Result<(), Error> {
        let arguments = self.player.plan().arguments(step)?;
        if let Some(written) = arguments.iter().find(|argument| argument.access != Access::Read) {
            self.player.run(step..step + 1)?;
            return self.spoil(written);
        }
        let buffer = arguments[0].view.buffer;
        let before = self.player.read(buffer)?;
        self.spoil(&arguments[0])?;
        self.player.run(step..step + 1)?;
        self.player.write(buffer, &before)
    }

    /// Changes the last row of an argument.
    fn spoil(&mut self, argument: &Argument) -> Result<(), Error> {
        let view = &argument.view;
        let mut values = self.player.read(view.buffer)?;
        let Buffer { width, word, .. } = *self.player.plan().buffer(view.buffer);
        let last_col = view.start + (view.heads - 1) * view.stride + view.width - 1;
        let inside = |col: usize| {
            (0..view.heads).any(|head| (0..view.width).any(|at| view.start + head * view.stride + at == col))
        };
        let col = match self.sabotage {
            Sabotage::Outside => (0..width).find(|col| !inside(*col)),
            _ => Some(last_col),
        };
        let (Some(col), Some(row)) = (col, values.len().checked_sub(width)) else { return Ok(()) };
        let result = values.iter().enumerate().filter(|(at, _)| inside(at % width));
        let largest = result.fold(0.0f32, |largest, (_, value)| largest.max(value.abs()));
        let value = &mut values[row + col];
        *value = match self.sabotage {
            Sabotage::Nan => f32::NAN,
            Sabotage::Outside => 0.5 * *value + 1.0,
            Sabotage::Value if word == Word::U32 => f32::from_bits(value.to_bits() + 1),
            Sabotage::Value => *value + 0.01 * largest.max(0.01),
        };
        self.player.write(view.buffer, &values)
    }
}

impl Player for Saboteur {
    fn describe(&self) -> String {
        format!("{}, wrong in {}", self.player.describe(), self.kernel)
    }

    fn plan(&self) -> &Plan {
        self.player.plan()
    }

    fn page_size(&self) -> usize {
        self.player.page_size()
    }

    fn pages(&self) -> usize {
        self.player.pages()
    }

    fn begin(&mut self, batch: &Batch) -> Result<(), Error> {
        self.player.begin(batch)
    }

    fn run(&mut self, range: Range<usize>) -> Result<(), Error> {
        for step in range {
            match self.plan().steps[step].op.kernel().name == self.kernel {
                true => self.run_wrong(step)?,
                false => self.player.run(step..step + 1)?,
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<f32>, Error> {
        self.player.read(buffer)
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), Error> {
        self.player.write(buffer, values)
    }
}
