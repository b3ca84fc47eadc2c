//! What is done to a kernel's text before a C++ compiler sees it: it is compiled as it stands, but for
//! one construct, and refused for another.

/// The text with arrays of unknown length where it says so in naga's way.
///
/// `typedef T name[1];` is how naga writes an array whose length only the bound buffer knows (fixed
/// arrays stand in structs). Left as it is, every index but 0 would be undefined behaviour to the
/// compiler and its checks.
pub fn with_open_arrays(text: &str) -> String {
    let open = |line: &str| match line.strip_suffix("[1];") {
        Some(head) if head.starts_with("typedef ") => format!("{head}[];\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(open).collect()
}

/// The first line that takes a component of a comparison which has no name, as `(a < b).x`.
///
/// To the compiler that component is an integer, -1 for true, and nothing would turn it into a boolean.
pub fn component_of_comparison(text: &str) -> Option<usize> {
    text.lines().position(takes_component).map(|at| at + 1)
}

fn takes_component(line: &str) -> bool {
    let mut open = Vec::new();
    for (at, character) in line.char_indices() {
        match character {
            '(' => open.push(at),
            ')' => {
                let Some(start) = open.pop() else { continue };
                let after = &line[at + 1..];
                let takes = after.starts_with('[') || (after.starts_with('.') && !after.starts_with(".."));
                let is_call =
                    line[..start].ends_with(|before: char| before.is_alphanumeric() || "_>".contains(before));
                if takes && !is_call && compares(&line[start + 1..at]) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Whether an expression is a comparison, outside of its own parentheses.
fn compares(expression: &str) -> bool {
    let mut depth = 0;
    expression.split(' ').any(|word| {
        let is_operator = depth == 0 && matches!(word, "<" | "<=" | ">" | ">=" | "==" | "!=");
        for character in word.chars() {
            depth += i32::from("([".contains(character)) - i32::from(")]".contains(character));
        }
        is_operator
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_unknown_length_are_opened_and_others_left() {
        let text = "typedef float type_1[1];\nstruct A {\n    float inner[1];\n};\n";
        assert_eq!(with_open_arrays(text), text.replacen("[1]", "[]", 1));
    }

    #[test]
    fn components_of_unnamed_comparisons() {
        for line in ["if ((a < b).x) {", "c = (metal::min(a, b) == d)[i];", "x = f((a >= (b + c)).y);"] {
            assert_eq!(component_of_comparison(&format!("first\n{line}\n")), Some(2), "{line}");
        }
        for line in [
            "x = (a + b).x;",
            "x = f(a < b).x;",
            "x = (f(a < b) + c).x;",
            "y = (a << b).x;",
            "y = a.x < b.x;",
        ] {
            assert_eq!(component_of_comparison(line), None, "{line}");
        }
    }
}
