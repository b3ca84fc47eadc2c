//! `unsafe` stands only where ARCHITECTURE.md allows it, each block and impl under a SAFETY sentence;
//! crates without it forbid it.

use super::{Tree, Violation, rules::Rules, rust};

const FORBID: &str = "#![forbid(unsafe_code)]";

/// Reports `unsafe` in the wrong place or without a reason.
pub fn check(tree: &Tree, rules: &Rules, out: &mut Vec<Violation>) {
    for file in tree.rust() {
        let (krate, inside) = crate_of(&file.path);
        let rule = rules.crates.get(krate);
        let allowed = rule.map_or(&[][..], |rule| &rule.unsafe_in);
        let is_allowed = allowed.iter().any(|prefix| inside.starts_with(prefix.as_str()));
        let is_root = matches!(inside, "src/lib.rs" | "src/main.rs") || inside.starts_with("src/bin/");
        if is_root && rule.is_some() && allowed.is_empty() && !file.text.lines().any(|line| line == FORBID) {
            out.push(Violation::new(&file.path, 1, "crate root", format!("no {FORBID}"), FORBID));
        }
        // A file without tokens is reported by the sizes.
        for found in rust::items(&file.text).unwrap_or_default().unsafes {
            if !is_allowed {
                let expected = match allowed {
                    [] => format!("none in {krate}"),
                    allowed => format!("it in {} only", allowed.join(", ")),
                };
                out.push(Violation::new(&file.path, found.line, "unsafe", "unsafe code", expected));
            } else if found.needs_reason && !has_reason(&file.text, found.line) {
                let expected = "a comment `// SAFETY:` above it";
                out.push(Violation::new(&file.path, found.line, "unsafe", "no reason", expected));
            }
        }
    }
}

/// The crate a file belongs to, and its path inside the crate.
fn crate_of(path: &str) -> (&str, &str) {
    match path.strip_prefix("crates/").unwrap_or(path).split_once('/') {
        Some((krate, inside)) => (krate, inside),
        None => ("", path),
    }
}

/// Whether the comment above the statement that `line` belongs to gives the reason.
fn has_reason(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let Some((own, above)) = lines.split_last() else { return false };
    if own.contains("// SAFETY:") {
        return true;
    }
    for line in above.iter().rev().map(|line| line.trim()) {
        if line.starts_with("//") {
            if line.contains("SAFETY:") {
                return true;
            }
        } else if line.is_empty() || line.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}
