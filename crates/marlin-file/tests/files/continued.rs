//! A run with a journal: what its checkpoints keep, who may continue it, and what is left in the end.

use std::fs;
use std::path::{Path, PathBuf};

use marlin_file::{Content, Dtype, Error, ModelWriter, Options, Partial, Planned};
use serde_json::{Map, Value, json};

fn planned() -> Vec<Planned> {
    let tensor = |name: &str| Planned {
        name: name.to_owned(),
        content: Content::Plain { dtype: Dtype::U8, shape: vec![3] },
    };
    ["a", "b", "c"].map(tensor).into()
}

fn facts(text: &str) -> Option<Map<String, Value>> {
    Some(Map::from_iter([("text".to_owned(), text.into()), ("window".to_owned(), 512.into())]))
}

fn open(target: &Path, text: &str) -> Result<ModelWriter, Error> {
    ModelWriter::within(Partial::open(target, facts(text), false)?, &planned(), Options::default())
}

/// A run that wrote `a`, noted that, wrote `b` and died.
fn interrupted(target: &Path) {
    let mut writer = open(target, "x").unwrap();
    fs::write(writer.scratch("stream"), "working file").unwrap();
    writer.write_tensor("a", &[1, 2, 3]).unwrap();
    writer.checkpoint(json!({"layer": 0})).unwrap();
    writer.write_tensor("b", &[9, 9, 9]).unwrap();
}

fn journal(dir: &Path) -> PathBuf {
    let partial = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    partial.join(".journal/facts")
}

fn message<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn a_run_of_the_same_facts_continues_behind_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    interrupted(&target);
    let mut writer = open(&target, "x").unwrap();
    assert_eq!(writer.notes().collect::<Vec<_>>(), [&json!({"layer": 0})]);
    assert_eq!(fs::read_to_string(writer.scratch("stream")).unwrap(), "working file");
    assert_eq!(message(writer.write_tensor("a", &[0; 3])), "tensor a: written twice");
    writer.write_tensor("b", &[4, 5, 6]).unwrap();
    writer.write_tensor("c", &[7, 8, 9]).unwrap();
    writer.finish().unwrap();

    let whole = dir.path().join("whole");
    let mut writer = ModelWriter::create(&whole, &planned(), Options::default()).unwrap();
    for (name, bytes) in [("a", [1, 2, 3]), ("b", [4, 5, 6]), ("c", [7, 8, 9])] {
        writer.write_tensor(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    let files = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        names.map(|path| (path.file_name().unwrap().to_owned(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(files(&target), files(&whole));
}

#[test]
fn a_run_of_other_facts_is_refused_and_removes_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    interrupted(&target);
    let partial = journal(dir.path()).ancestors().nth(2).unwrap().to_owned();
    let expected = |what: &str| format!("{}: left by an interrupted run, {what}", partial.display());
    assert_eq!(message(open(&target, "y")), expected(r#"text: found "x", expected "y""#));
    let plain = ModelWriter::create(&target, &planned(), Options::default());
    assert_eq!(message(plain), expected(r#"text: found "x", expected nothing"#));
    assert!(partial.exists());
    let again = Partial::open(&target, facts("y"), true).unwrap();
    assert_eq!(again.leftovers(), std::slice::from_ref(&partial));
    assert!(again.notes().is_empty());
}

#[test]
fn half_a_line_is_as_if_it_were_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    interrupted(&target);
    let path = journal(dir.path());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{{\"written\":[\"b\"")).unwrap();
    let mut writer = open(&target, "x").unwrap();
    writer.write_tensor("b", &[4, 5, 6]).unwrap();
    writer.checkpoint(json!({"layer": 1})).unwrap();
    drop(writer);
    let lines = fs::read_to_string(&path).unwrap();
    assert_eq!(lines, format!("{text}{}\n", json!({"written": ["b"], "note": {"layer": 1}})));
}

#[test]
fn damaged_journals_and_files_of_another_plan_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    interrupted(&target);
    let path = journal(dir.path());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}nonsense\n")).unwrap();
    assert!(message(open(&target, "x")).contains("journal is not valid"));
    fs::write(&path, format!("{text}{}\n", json!({"written": ["z"]}))).unwrap();
    assert_eq!(message(open(&target, "x")), "tensor z: not planned");
    fs::write(&path, &text).unwrap();
    let shard = path.ancestors().nth(2).unwrap().join("model.safetensors");
    fs::write(&shard, "short").unwrap();
    assert!(message(open(&target, "x")).contains("tensor file: found another plan"));
}

#[test]
fn nothing_is_left_of_a_run_that_had_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(&dir.path().join("out"), "x").unwrap();
    writer.write_tensor("a", &[1, 2, 3]).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
