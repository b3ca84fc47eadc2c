//! `cargo xtask tidy`: holds the tree against the rules written in ARCHITECTURE.md.
//!
//! One rule, one file, one row of [`RULES`]. A rule looks at the [`Tree`] only, so that a test can give
//! it a tree of three lines. There are no exceptions: a rule that needs one is changed in ARCHITECTURE.md.

mod edges;
mod headers;
mod licences;
mod markdown;
mod names;
mod rules;
mod rust;
mod safety;
mod sizes;
mod words;

#[cfg(test)]
mod tests;

use std::{fmt, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use rules::Rules;

/// A rule: looks at the tree and reports what breaks it.
type Rule = fn(&Tree, &Rules, &mut Vec<Violation>);

const RULES: &[Rule] = &[
    sizes::check,
    headers::check,
    names::check,
    words::check,
    safety::check,
    edges::check,
    licences::check,
    markdown::check,
];

/// A broken rule: `path:line: what: found, expected`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    what: String,
    found: String,
    expected: String,
}

impl Violation {
    fn new(
        path: &str,
        line: usize,
        what: impl Into<String>,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        let (found, expected) = (found.to_string(), expected.to_string());
        Violation { path: path.to_owned(), line, what: what.into(), found, expected }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { path, line, what, found, expected } = self;
        write!(out, "{path}:{line}: {what}: {found}, expected {expected}")
    }
}

/// A text file of the repository.
#[derive(Clone, Debug)]
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn stem(&self) -> &str {
        self.name().split('.').next().unwrap_or_default()
    }

    fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Lines with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// What the rules look at.
#[derive(Clone, Debug, Default)]
struct Tree {
    /// Text files.
    files: Vec<File>,
    /// Paths of all files, text or not.
    paths: Vec<String>,
    /// Dependencies of the workspace as `cargo metadata` knows them.
    packages: Vec<licences::Package>,
}

impl Tree {
    /// Files that git tracks or would track.
    fn read(root: &Path) -> Result<Tree> {
        let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
        let output = Command::new("git").args(arguments).current_dir(root).output().context("git")?;
        ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        let mut tree = Tree { packages: licences::packages(root)?, ..Tree::default() };
        for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
            // A file deleted but not committed is still listed.
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            tree.paths.push(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes) {
                tree.files.push(File { path: path.to_owned(), text });
            }
        }
        Ok(tree)
    }

    fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.extension() == "rs")
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether there is such a file, or a directory with files in it.
    fn has(&self, path: &str) -> bool {
        let inside = |other: &String| {
            other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path.is_empty() || self.paths.iter().any(inside)
    }
}

/// Prints every violation of the tree at `root` and fails if there is one.
pub fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let architecture = tree.file(rules::FILE).with_context(|| format!("{}: missing", rules::FILE))?;
    let rules = Rules::parse(&architecture.text)?;
    let violations = violations(&tree, &rules);
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => println!("tidy: {} files, {} dependencies, no violation", tree.paths.len(), tree.packages.len()),
        count => bail!("tidy: {count} violations"),
    }
    Ok(())
}

fn violations(tree: &Tree, rules: &Rules) -> Vec<Violation> {
    let mut violations = Vec::new();
    for rule in RULES {
        rule(tree, rules, &mut violations);
    }
    violations.sort();
    violations
}
