//! Names: a better version replaces the old one, and the tree holds no documents about its own state.

use super::{Tree, Violation, rules::Rules, rust};

/// Reports names of files, functions and documents.
pub fn check(tree: &Tree, rules: &Rules, out: &mut Vec<Violation>) {
    for file in &tree.files {
        if let Some(ending) = ending(file.stem(), rules) {
            let found = format!("ends in {ending}");
            out.push(Violation::new(&file.path, 1, "file name", found, "a name that says what differs"));
        }
        let words = file.stem().to_lowercase();
        let mut words = words.split(|letter: char| !letter.is_alphanumeric());
        // A decision record is named by what it decides.
        let is_document = matches!(file.extension(), "md" | "txt") && !file.path.starts_with("docs/adr/");
        if let Some(word) =
            words.find(|word| is_document && rules.documents.iter().any(|other| other == word))
        {
            let expected = "no document about the state of the work";
            out.push(Violation::new(&file.path, 1, "document", format!("named {word}"), expected));
        }
    }
    for file in tree.rust() {
        // A file without tokens is reported by the sizes.
        for function in rust::items(&file.text).unwrap_or_default().functions {
            if let Some(ending) = ending(&function.name, rules) {
                let (what, found) = (format!("name of fn {}", function.name), format!("ends in {ending}"));
                let expected = "a name that says what differs";
                out.push(Violation::new(&file.path, function.line, what, found, expected));
            }
        }
    }
}

/// The forbidden ending of `name`; `#` in the rule stands for one or more digits.
fn ending<'a>(name: &str, rules: &'a Rules) -> Option<&'a str> {
    let ends = |ending: &&String| match ending.strip_suffix('#') {
        Some(start) => {
            let rest = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
            rest.len() < name.len() && rest.ends_with(start)
        }
        None => name.ends_with(ending.as_str()),
    };
    rules.endings.iter().find(ends).map(String::as_str)
}
