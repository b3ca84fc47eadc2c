//! Edges: which crate may depend on which, who may use a guarded dependency, and where versions stand.

use toml::{Table, Value};

use super::{File, Tree, Violation, rules, rules::Rules};

const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Reports edges that the table in ARCHITECTURE.md does not have.
pub fn check(tree: &Tree, rules: &Rules, out: &mut Vec<Violation>) {
    let manifests = tree.files.iter().filter(|file| is_member(&file.path));
    let mut names = Vec::new();
    for file in manifests {
        let table: Table = match file.text.parse() {
            Ok(table) => table,
            Err(error) => {
                let found = error.to_string().replace('\n', " ");
                out.push(Violation::new(&file.path, 1, "manifest", found, "TOML"));
                continue;
            }
        };
        let name = table.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
        let Some(name) = name else {
            out.push(Violation::new(&file.path, 1, "manifest", "no package.name", "a name"));
            continue;
        };
        check_manifest(file, name, &table, rules, out);
        names.push(name.to_owned());
    }
    for name in rules.crates.keys().filter(|name| !names.contains(name)) {
        let found = format!("{name}, which is no crate");
        out.push(Violation::new(rules::FILE, 1, "table of crates", found, "only crates that exist"));
    }
}

fn check_manifest(file: &File, name: &str, table: &Table, rules: &Rules, out: &mut Vec<Violation>) {
    let Some(allowed) = rules.crates.get(name) else {
        let found = "no row in the table of crates";
        out.push(Violation::new(&file.path, 1, name, found, format!("a row in {}", rules::FILE)));
        return;
    };
    for (dependency, value) in dependencies(table) {
        let line = file.lines().find(|(_, line)| line.trim_start().starts_with(dependency.as_str()));
        let line = line.map_or(1, |(number, _)| number);
        let mut report = |what: &str, found: String, expected: String| {
            out.push(Violation::new(&file.path, line, what, found, expected));
        };
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        if rules.crates.contains_key(dependency) && !allowed.edges.contains(dependency) {
            report("edge", format!("{name} -> {dependency}"), format!("{name} -> {}", list(&allowed.edges)));
        }
        if let Some(only_in) =
            rules.guarded.get(dependency).filter(|only_in| !only_in.iter().any(|by| by == name))
        {
            report(
                "guarded dependency",
                format!("{dependency} in {name}"),
                format!("it in {}", list(only_in)),
            );
        }
        let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
        if !inherits {
            let expected = format!("{dependency}.workspace = true, the version in the root manifest");
            report("version", value.to_string(), expected);
        }
    }
}

/// Dependencies of all kinds, those of single targets too.
fn dependencies(table: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let targets = table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([table]);
    let kinds = tables.flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)));
    kinds.filter_map(Value::as_table).flatten()
}

/// Whether a file is the manifest of a member of the workspace.
fn is_member(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", _, "Cargo.toml"] | ["xtask", "Cargo.toml"])
}
