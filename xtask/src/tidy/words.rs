//! Words that no file may hold: marks of unfinished work, paths of one machine, hosts of registries.

use super::{File, Tree, Violation, rules, rules::Rules};

/// Hosts of package registries, in two parts, for this file may not name them either.
const REGISTRIES: &[(&str, &str)] =
    &[("crates", "io"), ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("deb.debian", "org")];

/// Reports forbidden words, line by line.
pub fn check(tree: &Tree, rules: &Rules, out: &mut Vec<Violation>) {
    let registries: Vec<String> =
        REGISTRIES.iter().map(|(name, domain)| format!("{name}.{domain}")).collect();
    // Cargo writes the registry's address into its lock files.
    for file in tree.files.iter().filter(|file| file.extension() != "lock") {
        for (number, line) in file.lines().filter(|(_, line)| !rules::is_rule_row(&file.path, line)) {
            let mut report = |what: &str, found: &str, expected: &str| {
                out.push(Violation::new(&file.path, number, what, found, expected));
            };
            for mark in rules.marks.iter().filter(|mark| is_written(file) && has_word(line, mark)) {
                report("unfinished work", mark, "finished work, or an issue");
            }
            for path in rules.machine_paths.iter().filter(|path| has_path(line, path)) {
                report("path of a machine", path, "a path from the root of the repository");
            }
            for host in registries.iter().filter(|host| has_word(line, host)) {
                report("registry", host, "no host name");
            }
        }
    }
}

/// Whether people write this file, rather than quote a corpus in it.
fn is_written(file: &File) -> bool {
    let extensions = ["rs", "wgsl", "toml", "md", "py", "sh", "yml", "yaml", "html", "js", "css", "jinja"];
    extensions.contains(&file.extension()) || file.path.starts_with(".ci/")
}

/// Whether `word` stands in `line` with no letter, digit or underscore around it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let joins = |letter: char| letter.is_alphanumeric() || letter == '_';
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(joins) && !after.starts_with(joins)
    })
}

/// Whether a path starts with `start` in `line`: not in the middle of a longer path or an address.
fn has_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        !line[..at].ends_with(|letter: char| letter.is_alphanumeric() || "._-/~}*".contains(letter))
    })
}
