//! Whether a plan holds together, and whether a batch fits it: asked once by every player.
//!
//! After `Ok`, a player may index buffers, weights, caches and page tables without further checks.

use std::collections::HashSet;

use crate::{
    Argument, Batch, Error, RowRule, SequenceRows,
    contract::Contract,
    plan::{Op, Plan, Rows, Step, Word},
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
        let samples = |step: &&Step| matches!(step.op, Op::Sample { .. });
        let count = self.steps.iter().filter(samples).count();
        let contract = Contract::new(self, self.steps.len(), "sampling");
        contract.require("steps that sample", count <= 1, count, "1 at most")
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
                RowRule::Outputs => Rows::Outputs,
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
    /// are checked only if the plan has caches; [`Batch::check_chosen`] checks what refers to the
    /// batch before.
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
        let vocabulary = plan.vocabulary();
        let known = |token: u32| match Batch::chosen_output(token) {
            Some(_) => plan.sampling().is_some(),
            None => (token as usize) < vocabulary,
        };
        let token = self.tokens.iter().find(|&&token| !known(token));
        require("token", token.is_none(), token.unwrap_or(&0), || format!("fewer than {vocabulary}"))?;
        self.check_choices(plan)?;
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

    fn check_choices(&self, plan: &Plan) -> Result<(), Error> {
        let (found, outputs) = (self.choices.len(), self.outputs.len());
        let Some((logits, _)) = plan.sampling() else {
            return require("choices", found == 0, found, || "0, as the plan does not sample".into());
        };
        let fits = found == 0 || found == outputs;
        require("choices", fits, found, || format!("0 or {outputs}, one for each output"))?;
        self.choices.iter().try_for_each(|choice| choice.check(logits.len()))
    }

    /// Checks that a [`Chooser`](crate::Chooser) has a choice for every output.
    ///
    /// # Errors
    /// [`Error::Batch`] if not.
    pub fn check_submission(&self) -> Result<(), Error> {
        let (found, outputs) = (self.choices.len(), self.outputs.len());
        require("choices", found == outputs, found, || format!("{outputs}, one for each output"))
    }

    /// Checks that the tokens made by [`Batch::chosen`] name outputs of a batch that had `outputs` of
    /// them: the one before.
    ///
    /// # Errors
    /// [`Error::Batch`] for the first that does not.
    pub fn check_chosen(&self, outputs: usize) -> Result<(), Error> {
        let mut chosen = self.tokens.iter().filter_map(|&token| Batch::chosen_output(token));
        let outside = chosen.find(|&output| output >= outputs);
        require("chosen token", outside.is_none(), outside.unwrap_or(0), || {
            format!("an output below {outputs} of the batch before")
        })
    }

    /// Puts token ids in the place of those made by [`Batch::chosen`], given what the batch before
    /// chose: for players whose host knows it.
    ///
    /// # Errors
    /// As [`Batch::check_chosen`].
    pub fn resolve(&mut self, chosen: &[u32], vocabulary: usize) -> Result<(), Error> {
        self.check_chosen(chosen.len())?;
        for token in &mut self.tokens {
            if let Some(output) = Batch::chosen_output(*token) {
                *token = if (chosen[output] as usize) < vocabulary { chosen[output] } else { 0 };
            }
        }
        Ok(())
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

pub(crate) fn require(
    what: &'static str,
    holds: bool,
    found: impl ToString,
    expected: impl FnOnce() -> String,
) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Batch { what, found: found.to_string(), expected: expected() }) }
}

#[cfg(test)]
mod tests;
