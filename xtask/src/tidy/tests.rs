//! Each rule of tidy on trees of a few lines: what it reports, and what it lets pass.

use super::{
    File, Rule, Tree, edges, headers, licences, markdown, names, rules, rules::Rules, safety, sizes, words,
};

const ARCHITECTURE: &str = "
# Rules

<!-- tidy:crates -->
| crate | may depend on | `unsafe` only in |
|---|---|---|
| `low` | - | `src/simd/`, `src/map.rs` |
| `high` | `low` | - |

<!-- tidy:guarded -->
| dependency | only in |
|---|---|
| `wgpu` | `low` |

<!-- tidy:licences -->
| dependency | licence | why |
|---|---|---|
| `data` | CDLA-Permissive-2.0 | it is data |

<!-- tidy:limits -->
| limit | |
|---|---|
| lines of a Rust file | 6 |
| lines of a WGSL file | 3 |
| columns of a line of code | 40 |
| lines of a function | 3 |
| lines of a decision record | 2 |

<!-- tidy:words -->
| list | words |
|---|---|
| endings of names | `_v#`, `_fast` |
| marks of unfinished work | `UNDONE` |
| names of documents | status, notes |
| paths of a machine | `/srv/` |
| licences | MIT, Apache-2.0, Unicode-3.0 |
";

const MANIFEST: &str = "[package]\nname = \"high\"\n";

fn tree(files: &[(&str, &str)]) -> Tree {
    let file = |&(path, text): &(&str, &str)| File { path: path.to_owned(), text: text.to_owned() };
    Tree {
        files: files.iter().map(file).collect(),
        paths: files.iter().map(|(path, _)| path.to_string()).collect(),
        packages: Vec::new(),
    }
}

/// What `rule` reports about `files`, one string each.
fn reported(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    reported_of(rule, &tree(files))
}

fn reported_of(rule: Rule, tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    rule(tree, &Rules::parse(ARCHITECTURE).unwrap(), &mut out);
    out.iter().map(ToString::to_string).collect()
}

#[test]
fn rules_are_read_from_the_tables() {
    let rules = Rules::parse(ARCHITECTURE).unwrap();
    assert_eq!(rules.crates["high"].edges, ["low"]);
    assert_eq!(rules.crates["low"].unsafe_in, ["src/simd/", "src/map.rs"]);
    assert!(rules.crates["low"].edges.is_empty());
    assert_eq!((rules.rust_lines, rules.function_lines), (6, 3));
    assert_eq!(rules.guarded["wgpu"], ["low"]);
}

#[test]
fn a_rule_that_is_missing_or_unknown_is_an_error() {
    let error = |text: String| Rules::parse(&text).unwrap_err().to_string();
    let without = |row: &str| ARCHITECTURE.replace(row, "");
    assert!(error(without("| lines of a function | 3 |\n")).contains("lines of a function: no such row"));
    assert!(error(without("<!-- tidy:guarded -->")).contains("<!-- tidy:guarded -->: missing"));
    assert!(error(ARCHITECTURE.replace("WGSL", "GLSL")).contains("limit lines of a GLSL file: unknown"));
    assert!(
        error(ARCHITECTURE.replace("| `high` | `low` |", "| `high` |")).contains("2 columns, expected 3")
    );
}

#[test]
fn sizes_of_files_lines_and_functions() {
    let long = "//! x\nfn a() {\n    b();\n    c();\n}\n";
    assert_eq!(
        reported(sizes::check, &[("crates/low/src/a.rs", long)]),
        ["crates/low/src/a.rs:2: length of fn a: 4, expected 3 lines at most"]
    );
    let seven = "//! x\n\n\n\n\n\n\n";
    assert_eq!(
        reported(sizes::check, &[("crates/low/src/a.rs", seven)]),
        ["crates/low/src/a.rs:7: file length: 7, expected 6 lines at most"]
    );
    let tests = [("crates/low/tests/a.rs", seven), ("crates/low/src/a/tests.rs", seven)];
    assert!(reported(sizes::check, &tests).is_empty());
    let wide = format!("//! {}\n", "é".repeat(37));
    assert_eq!(
        reported(sizes::check, &[("a.rs", &wide), ("b.md", &wide)]),
        ["a.rs:1: line length: 41, expected 40 columns at most"]
    );
    let others = [("k.wgsl", "\n\n\n\n"), ("docs/adr/0001-a.md", "a\nb\nc\n")];
    assert_eq!(reported(sizes::check, &others).len(), 2);
}

#[test]
fn functions_are_found_by_tokens_not_by_text() {
    let tricky = "//! x\n// fn no() {\nfn a() -> &'static str { \"}\nfn b() {\" }\ntrait T { fn c(); }\n";
    let items = super::rust::items(tricky).unwrap();
    let found: Vec<_> = items.functions.iter().map(|found| (&*found.name, found.line, found.lines)).collect();
    assert_eq!(found, [("a", 3, 2)]);
    let inside = super::rust::items("macro_rules! m { () => { fn a() {\n} unsafe { } } }").unwrap();
    assert_eq!((inside.functions[0].lines, inside.unsafes.len()), (2, 1));
    assert_eq!(
        reported(sizes::check, &[("a.rs", "//! x\nfn (")]),
        ["a.rs:2: syntax: no Rust tokens, expected a Rust file"]
    );
}

#[test]
fn the_first_line_says_what_a_file_is_for() {
    let good = [("a.rs", "#!/usr/bin/env x\n#![no_main]\n\n//! For b.\n"), ("b.rs", "//! For c.\n")];
    assert!(reported(headers::check, &good).is_empty());
    let bad = [("a.rs", "use b;\n//! For b.\n"), ("b.rs", ""), ("c.rs", "//!\n")];
    assert_eq!(
        reported(headers::check, &bad),
        [
            "a.rs:1: first line: `use b;`, expected //! and what the file is for",
            "b.rs:1: first line: nothing, expected //! and what the file is for",
            "c.rs:1: first line: `//!`, expected //! and what the file is for",
        ]
    );
}

#[test]
fn names_say_what_differs() {
    let bad = [("a_v2.rs", "fn sum_fast() {}\nfn sum() {}"), ("STATUS-2.md", ""), ("src/notes.txt", "")];
    assert_eq!(
        reported(names::check, &bad),
        [
            "a_v2.rs:1: file name: ends in _v#, expected a name that says what differs",
            "STATUS-2.md:1: document: named status, expected no document about the state of the work",
            "src/notes.txt:1: document: named notes, expected no document about the state of the work",
            "a_v2.rs:1: name of fn sum_fast: ends in _fast, expected a name that says what differs",
        ]
    );
    let good =
        [("status.rs", "fn breakfast() {}\nfn fast_path() {}\nfn k_v() {}"), ("docs/adr/0001-status.md", "")];
    assert!(reported(names::check, &good).is_empty());
}

#[test]
fn words_that_no_file_may_hold() {
    let host = ["see pypi", "org for it"].join(".");
    let bad = [("a.rs", "// UNDONE: b\n"), ("b.toml", "x = \"/srv/models\"\n"), ("c.md", host.as_str())];
    assert_eq!(reported(words::check, &bad).len(), 3);
    let good = [
        ("a.rs", "// UNDONEMENT, UNDONE_x\n"),
        ("corpus.txt", "UNDONE"),
        ("b.md", "https://example.net/srv/x ../srv/x <dir>/usr/srv/x"),
        ("Cargo.lock", host.as_str()),
        ("ARCHITECTURE.md", "| marks of unfinished work | `UNDONE` |"),
    ];
    assert!(reported(words::check, &good).is_empty());
}

#[test]
fn unsafe_stands_where_it_may_and_gives_a_reason() {
    let reasoned = "//! x\n// SAFETY: a\n// is b.\nlet c =\n    unsafe { d() };\n";
    let bare = "//! x\n// SAFETY: e.\nlet c = d();\nlet d = unsafe { d() };\n";
    let duty = "//! x\n/// # Safety\nunsafe fn a(f: unsafe fn()) {}\n";
    let files = [
        ("crates/low/src/simd/a.rs", reasoned),
        ("crates/low/src/map.rs", bare),
        ("crates/low/src/simd/b.rs", duty),
        ("crates/low/src/lib.rs", "//! x\n"),
    ];
    assert_eq!(
        reported(safety::check, &files),
        ["crates/low/src/map.rs:4: unsafe: no reason, expected a comment `// SAFETY:` above it"]
    );
    let files = [
        ("crates/low/src/other.rs", reasoned),
        ("crates/high/src/lib.rs", "//! x\n"),
        ("crates/high/src/a.rs", reasoned),
        ("crates/high/src/b.rs", "//! \"unsafe\" in words\nconst A: &str = \"unsafe {}\";\n"),
    ];
    assert_eq!(
        reported(safety::check, &files),
        [
            "crates/low/src/other.rs:5: unsafe: unsafe code, expected it in src/simd/, src/map.rs only",
            "crates/high/src/lib.rs:1: crate root: no #![forbid(unsafe_code)], \
             expected #![forbid(unsafe_code)]",
            "crates/high/src/a.rs:5: unsafe: unsafe code, expected none in high",
        ]
    );
}

#[test]
fn edges_follow_the_table() {
    let low = "[package]\nname = \"low\"\n[dev-dependencies]\nhigh.workspace = true\n";
    let high = format!(
        "{MANIFEST}[dependencies]\nlow.workspace = true\n\
         [target.'cfg(unix)'.dependencies]\nwgpu.workspace = true\nserde = \"1\"\n"
    );
    let files = [("crates/low/Cargo.toml", low), ("crates/high/Cargo.toml", high.as_str())];
    assert_eq!(
        reported(edges::check, &files),
        [
            "crates/low/Cargo.toml:4: edge: low -> high, expected low -> none",
            "crates/high/Cargo.toml:7: version: \"1\", \
             expected serde.workspace = true, the version in the root manifest",
            "crates/high/Cargo.toml:6: guarded dependency: wgpu in high, expected it in low",
        ]
    );
}

#[test]
fn the_table_of_crates_is_the_list_of_crates() {
    let other = "[package]\nname = \"other\"\n";
    assert_eq!(
        reported(edges::check, &[("crates/other/Cargo.toml", other), ("crates/high/Cargo.toml", MANIFEST)]),
        [
            "crates/other/Cargo.toml:1: other: no row in the table of crates, \
             expected a row in ARCHITECTURE.md",
            "ARCHITECTURE.md:1: table of crates: low, which is no crate, expected only crates that exist",
        ]
    );
}

#[test]
fn licences_of_dependencies() {
    let licences = [
        Some("MIT OR GPL-3.0"),
        Some("MIT/Apache-2.0"),
        Some("(MIT OR Apache-2.0) AND Unicode-3.0"),
        Some("GPL-3.0-only"),
        Some("MIT AND GPL-2.0"),
        None,
    ];
    let package = |name: String, licence: Option<&str>| licences::Package {
        name,
        version: "1.0.0".to_owned(),
        licence: licence.map(str::to_owned),
    };
    let named = licences.iter().enumerate().map(|(at, licence)| package(format!("p{at}"), *licence));
    let mut packages: Vec<_> = named.collect();
    let stale = reported_of(licences::check, &Tree { packages: packages.clone(), ..Tree::default() });
    assert_eq!(
        stale.last().unwrap(),
        "ARCHITECTURE.md:1: other licences: data, which is no dependency, expected only what is needed"
    );
    packages.push(package("data".to_owned(), Some("CDLA-Permissive-2.0")));
    packages.push(package("other".to_owned(), Some("CDLA-Permissive-2.0")));
    let found = reported_of(licences::check, &Tree { packages, ..Tree::default() });
    assert_eq!(found.len(), 4);
    assert!(found[3].contains("licence of other 1.0.0: CDLA-Permissive-2.0"), "{found:?}");
    assert_eq!(
        found[0],
        "Cargo.lock:1: licence of p3 1.0.0: GPL-3.0-only, expected MIT, Apache-2.0, Unicode-3.0"
    );
}

#[test]
fn links_and_paths_lead_somewhere() {
    let text =
        "[a](b.md#c) [d](../xtask) [e](https://example.net/f) [g](#h) `crates/<name>/i` `xtask/src/`\n";
    let good = [("docs/a.md", text), ("docs/b.md", ""), ("xtask/src/main.rs", "")];
    assert!(reported(markdown::check, &good).is_empty());
    let bad = [("docs/a.md", "x\n[a](c.md)\n`xtask/b.rs`\n"), ("xtask/src/main.rs", "")];
    assert_eq!(
        reported(markdown::check, &bad),
        [
            "docs/a.md:2: link: c.md, expected a file of the repository",
            "docs/a.md:3: path: xtask/b.rs, expected a file of the repository",
        ]
    );
}

#[test]
fn decision_records_have_numbers_of_their_own() {
    let files = [("docs/adr/0001-a.md", ""), ("docs/adr/0001-b.md", ""), ("docs/adr/c.md", "")];
    assert_eq!(reported(markdown::check, &files).len(), 3);
    assert!(reported(markdown::check, &files[..1]).is_empty());
}

#[test]
fn the_rules_of_this_repository_are_complete() {
    let text = std::fs::read_to_string(crate::root().join(rules::FILE)).unwrap();
    let rules = Rules::parse(&text).unwrap();
    for (name, krate) in &rules.crates {
        for edge in &krate.edges {
            assert!(rules.crates.contains_key(edge), "{name} -> {edge}");
        }
    }
}
