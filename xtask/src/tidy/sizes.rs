//! Sizes: lines of a file, of a function, of a decision record; columns of a line.

use super::{Tree, Violation, rules::Rules, rust};

/// Reports what is too long.
pub fn check(tree: &Tree, rules: &Rules, out: &mut Vec<Violation>) {
    for file in &tree.files {
        let is_code = matches!(file.extension(), "rs" | "wgsl" | "py" | "sh");
        let limit = match file.extension() {
            "rs" if !is_test(&file.path) => Some(rules.rust_lines),
            "wgsl" => Some(rules.wgsl_lines),
            "md" if file.path.starts_with("docs/adr/") => Some(rules.decision_lines),
            _ => None,
        };
        let lines = file.text.lines().count();
        if let Some(limit) = limit.filter(|limit| lines > *limit) {
            out.push(Violation::new(
                &file.path,
                lines,
                "file length",
                lines,
                format!("{limit} lines at most"),
            ));
        }
        for (number, line) in file.lines().filter(|_| is_code) {
            let columns = line.chars().count();
            if columns > rules.columns {
                let expected = format!("{} columns at most", rules.columns);
                out.push(Violation::new(&file.path, number, "line length", columns, expected));
            }
        }
    }
    for file in tree.rust() {
        let items = match rust::items(&file.text) {
            Ok(items) => items,
            Err(line) => {
                out.push(Violation::new(&file.path, line, "syntax", "no Rust tokens", "a Rust file"));
                continue;
            }
        };
        for function in items.functions {
            if function.lines > rules.function_lines {
                let what = format!("length of fn {}", function.name);
                let expected = format!("{} lines at most", rules.function_lines);
                out.push(Violation::new(&file.path, function.line, what, function.lines, expected));
            }
        }
    }
}

/// Tests stand in a directory `tests` or a file `tests.rs`.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
}
