//! Links and paths in documents lead to files that exist; decision records are numbered.

use pulldown_cmark::{Event, Parser, Tag};

use super::{File, Tree, Violation, rules::Rules};

/// Folders whose paths may stand as code in a document.
const FOLDERS: &[&str] =
    &["crates", "xtask", "fuzz", "goldens", "assets", "bench", "docs", ".ci", ".github", ".cargo"];

/// Reports links and paths to nowhere.
pub fn check(tree: &Tree, _rules: &Rules, out: &mut Vec<Violation>) {
    for file in tree.files.iter().filter(|file| file.extension() == "md") {
        for (event, range) in Parser::new(&file.text).into_offset_iter() {
            let line = file.text[..range.start].matches('\n').count() + 1;
            let (what, found, path) = match &event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    ("link", dest_url, target(file, dest_url))
                }
                Event::Code(code) => ("path", code, path_in_code(code)),
                _ => continue,
            };
            if path.is_some_and(|path| !tree.has(&path)) {
                out.push(Violation::new(&file.path, line, what, found, "a file of the repository"));
            }
        }
        let number = file.name().split('-').next().unwrap_or_default();
        let is_number = number.len() == 4 && number.chars().all(|letter| letter.is_ascii_digit());
        if file.path.starts_with("docs/adr/") {
            let same = |other: &&File| {
                other.path.starts_with("docs/adr/")
                    && other.path != file.path
                    && other.name().starts_with(number)
            };
            if !is_number || tree.files.iter().any(|other| same(&other)) {
                let expected = "four digits of its own, as in 0001-name.md";
                out.push(Violation::new(&file.path, 1, "decision record", file.name(), expected));
            }
        }
    }
}

/// The file a link leads to, from the root; none for addresses and anchors.
fn target(file: &File, link: &str) -> Option<String> {
    let path = link.split('#').next().unwrap_or_default();
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    let mut parts: Vec<&str> = file.path.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Code that is a path of the repository; none for placeholders such as `crates/<name>`.
fn path_in_code(code: &str) -> Option<String> {
    let (folder, _) = code.split_once('/')?;
    let is_path = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    let known = FOLDERS.contains(&folder) && code.chars().all(is_path);
    known.then(|| code.trim_end_matches('/').to_owned())
}
