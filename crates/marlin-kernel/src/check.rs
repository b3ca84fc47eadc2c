//! Whether a plan holds together, and whether a batch fits it: asked once by every player.
//!
//! After `Ok`, a player may index buffers, weights, caches and page tables without further checks.

use std::collections::HashSet;

use crate::{
    Argument, Batch, Error, RowRule, SequenceRows,
    contract::Contract,
    plan::{Op, Plan, Rows, Word},
};

impl Plan {
    /// Checks every step against the buffers, weights and caches it names.
    ///
    /// # Errors
    /// [`Error::Step`] for the first thing that does not fit.
    pub fn check(&self) -> Result<(), Error> {
        for step in 0..self.steps.len() {
            self.contract(step)?;
        }
        if let Some(id) = self.logits {
            let contract = Contract::new(self, self.steps.len(), "logits");
            let logits = contract.buffer("buffer", id)?;
            let rows = logits.rows;
            contract.require("rows", rows == Rows::Outputs, format!("{rows:?}"), "Outputs")?;
            let word = logits.word;
            contract.require("words", word == Word::F32, format!("{word:?}"), "F32")?;
        }
        Ok(())
    }

    /// The activation arguments of a step, in the order of its contract.
    ///
    /// # Errors
    /// [`Error::Step`] if the step does not fit the plan. Panics if there is no such step.
    pub fn arguments(&self, step: usize) -> Result<Vec<Argument>, Error> {
        Ok(self.contract(step)?.arguments)
    }

    /// The checked contract of a step.
    pub(crate) fn contract(&self, step: usize) -> Result<Contract<'_>, Error> {
        let kernel = self.steps[step].op.kernel();
        let mut contract = Contract::new(self, step, &self.steps[step].label);
        (kernel.contract)(&self.steps[step].op, &mut contract)?;
        for argument in &contract.arguments {
            let expected = match kernel.rows {
                RowRule::Tokens => Rows::Tokens,
                RowRule::Same => self.buffer(contract.arguments[0].view.buffer).rows,
                RowRule::Gather if argument.name == "out" => Rows::Outputs,
                RowRule::Gather => Rows::Tokens,
            };
            let rows = self.buffer(argument.view.buffer).rows;
            let found = format!("a row per {rows:?}");
            contract.require(argument.name, rows == expected, found, format!("a row per {expected:?}"))?;
        }
        contract.apart(kernel.in_place)?;
        Ok(contract)
    }
}

impl Batch {
    /// Rows of a buffer in this batch.
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens.len(),
            Rows::Outputs => self.outputs.len(),
        }
    }

    /// Checks the batch against a plan and caches of `pages` pages of `page_size` tokens. Page tables
    /// are checked only if the plan has caches.
    ///
    /// # Errors
    /// [`Error::Batch`] for the first thing that does not fit.
    pub fn check(&self, plan: &Plan, page_size: usize, pages: usize) -> Result<(), Error> {
        let rows = self.tokens.len();
        require("tokens", rows > 0, "0", || "1 or more".into())?;
        let found = self.positions.len();
        require("positions", found == rows, found, || format!("{rows}, one for each token"))?;
        let row = self.outputs.iter().find(|&&row| row as usize >= rows);
        require("output row", row.is_none(), row.unwrap_or(&0), || format!("fewer than {rows}"))?;
        for step in &plan.steps {
            if let Op::Embed { table, .. } = step.op {
                let vocabulary = plan.weight(table).rows();
                let token = self.tokens.iter().find(|&&token| token as usize >= vocabulary);
                let expected = || format!("fewer than {vocabulary}");
                require("token", token.is_none(), token.unwrap_or(&0), expected)?;
            }
        }
        let mut next = 0;
        for sequence in &self.sequences {
            let (start, end) = (sequence.rows.start, sequence.rows.end);
            let holds = start == next && end > start && end <= rows;
            let expected = || format!("1 or more from {next}, at most to {rows}");
            require("rows of a sequence", holds, format!("{start}..{end}"), expected)?;
            next = end;
            self.check_positions(sequence)?;
        }
        require("rows of all sequences", next == rows, next, || rows.to_string())?;
        if plan.caches.is_empty() { Ok(()) } else { self.check_pages(page_size, pages) }
    }

    fn check_positions(&self, sequence: &SequenceRows) -> Result<(), Error> {
        let positions = &self.positions[sequence.rows.clone()];
        for pair in positions.windows(2) {
            let holds = pair[0].checked_add(1) == Some(pair[1]);
            require("position", holds, pair[1], || format!("one after {}", pair[0]))?;
        }
        Ok(())
    }

    fn check_pages(&self, page_size: usize, pages: usize) -> Result<(), Error> {
        require("page size", page_size > 0, "0", || "1 or more".into())?;
        let mut written = HashSet::new();
        for sequence in &self.sequences {
            let first = self.positions[sequence.rows.start] as usize / page_size;
            let last = self.positions[sequence.rows.end - 1] as usize / page_size;
            let found = sequence.pages.len();
            require("pages of a sequence", found > last, found, || format!("{} or more", last + 1))?;
            let page = sequence.pages.iter().find(|&&page| page as usize >= pages);
            require("page", page.is_none(), page.unwrap_or(&0), || format!("fewer than {pages}"))?;
            for page in &sequence.pages[first..=last] {
                let found = format!("{page} written twice");
                require("page", written.insert(page), found, || "a page of its own".into())?;
            }
        }
        Ok(())
    }
}

fn require(
    what: &'static str,
    holds: bool,
    found: impl ToString,
    expected: impl FnOnce() -> String,
) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Batch { what, found: found.to_string(), expected: expected() }) }
}

#[cfg(test)]
mod tests;
