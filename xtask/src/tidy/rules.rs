//! The rules as ARCHITECTURE.md states them: tables under `<!-- tidy:NAME -->` markers.
//!
//! Every table and every row is needed and known, so that the document and the program cannot drift
//! apart without an error.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// Where the rules stand.
pub const FILE: &str = "ARCHITECTURE.md";

/// What a crate may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// Crates of the workspace it may depend on.
    pub edges: Vec<String>,
    /// Files or directories of it that may hold `unsafe`, from the crate's directory.
    pub unsafe_in: Vec<String>,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// By crate name.
    pub crates: BTreeMap<String, Crate>,
    /// Dependencies that only some crates may have, with these crates.
    pub guarded: BTreeMap<String, Vec<String>>,
    /// Most lines of a Rust file that is no test.
    pub rust_lines: usize,
    /// Most lines of a WGSL file.
    pub wgsl_lines: usize,
    /// Most characters of a line of code.
    pub columns: usize,
    /// Most lines of a function.
    pub function_lines: usize,
    /// Most lines of a decision record.
    pub decision_lines: usize,
    /// How no file and no function may end; `#` stands for digits.
    pub endings: Vec<String>,
    /// Words that mark unfinished work.
    pub marks: Vec<String>,
    /// Words that no document may have in its name.
    pub documents: Vec<String>,
    /// Starts of paths that exist on one machine only.
    pub machine_paths: Vec<String>,
    /// SPDX names of licences that a dependency may have.
    pub licences: Vec<String>,
    /// Licences of single dependencies, by their names.
    pub other_licences: BTreeMap<String, String>,
}

impl Rules {
    /// Reads the tables.
    pub fn parse(text: &str) -> Result<Rules> {
        let mut rules = Rules::default();
        for [name, edges, unsafe_in] in table(text, "crates")? {
            rules.crates.insert(name, Crate { edges: list(&edges), unsafe_in: list(&unsafe_in) });
        }
        for [dependency, only_in] in table(text, "guarded")? {
            rules.guarded.insert(dependency, list(&only_in));
        }
        for [dependency, licence, _why] in table(text, "licences")? {
            rules.other_licences.insert(dependency, licence);
        }
        for [what, limit] in table(text, "limits")? {
            let limit = limit.parse().with_context(|| format!("{FILE}: limit {what}: {limit:?}"))?;
            match what.as_str() {
                "lines of a Rust file" => rules.rust_lines = limit,
                "lines of a WGSL file" => rules.wgsl_lines = limit,
                "columns of a line of code" => rules.columns = limit,
                "lines of a function" => rules.function_lines = limit,
                "lines of a decision record" => rules.decision_lines = limit,
                _ => bail!("{FILE}: limit {what}: unknown"),
            }
        }
        for [what, words] in table(text, "words")? {
            let words = list(&words);
            match what.as_str() {
                "endings of names" => rules.endings = words,
                "marks of unfinished work" => rules.marks = words,
                "names of documents" => rules.documents = words,
                "paths of a machine" => rules.machine_paths = words,
                "licences" => rules.licences = words,
                _ => bail!("{FILE}: words {what}: unknown"),
            }
        }
        rules.complete()
    }

    fn complete(self) -> Result<Rules> {
        let limits = [
            ("lines of a Rust file", self.rust_lines),
            ("lines of a WGSL file", self.wgsl_lines),
            ("columns of a line of code", self.columns),
            ("lines of a function", self.function_lines),
            ("lines of a decision record", self.decision_lines),
            ("endings of names", self.endings.len()),
            ("marks of unfinished work", self.marks.len()),
            ("names of documents", self.documents.len()),
            ("paths of a machine", self.machine_paths.len()),
            ("licences", self.licences.len()),
        ];
        for (what, found) in limits {
            ensure!(found > 0, "{FILE}: {what}: no such row, or nothing in it");
        }
        Ok(self)
    }
}

/// The rows of the table after `<!-- tidy:name -->`, backticks removed.
fn table<const COLUMNS: usize>(text: &str, name: &str) -> Result<Vec<[String; COLUMNS]>> {
    let marker = format!("<!-- tidy:{name} -->");
    let (_, after) = text.split_once(&marker).with_context(|| format!("{FILE}: {marker}: missing"))?;
    let lines = after.lines().skip_while(|line| line.is_empty()).take_while(|line| line.starts_with('|'));
    let mut rows = Vec::new();
    for line in lines.skip(2) {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
        let cells: Vec<String> = cells.collect();
        let cells = <[String; COLUMNS]>::try_from(cells).map_err(|cells| {
            anyhow::anyhow!("{FILE}: {line}: {} columns, expected {COLUMNS}", cells.len())
        })?;
        rows.push(cells);
    }
    ensure!(!rows.is_empty(), "{FILE}: {marker}: no table below it");
    Ok(rows)
}

/// Words separated by commas; `-` is none.
fn list(cell: &str) -> Vec<String> {
    let words = cell.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "-");
    words.map(str::to_owned).collect()
}

/// Whether a line of ARCHITECTURE.md is a row of the rules, which names what it forbids.
pub fn is_rule_row(path: &str, line: &str) -> bool {
    path == FILE && line.starts_with('|')
}
