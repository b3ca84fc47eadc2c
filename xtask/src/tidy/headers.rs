//! Every Rust file opens with `//!`, after attributes: what the file is for.

use super::{Tree, Violation, rules::Rules};

/// Reports Rust files that do not say what they are for.
pub fn check(tree: &Tree, _rules: &Rules, out: &mut Vec<Violation>) {
    for file in tree.rust() {
        let first = file.lines().find(|(_, line)| !line.starts_with("#!") && !line.trim().is_empty());
        let (number, line) = first.unwrap_or((1, ""));
        let text = line.strip_prefix("//!").unwrap_or_default().trim();
        if text.is_empty() {
            let found = if line.is_empty() { "nothing".to_owned() } else { format!("`{line}`") };
            out.push(Violation::new(&file.path, number, "first line", found, "//! and what the file is for"));
        }
    }
}
