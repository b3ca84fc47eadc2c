//! Where a tuning is kept, and which files are not believed.

use serde_json::{Value, json};

use super::*;

fn info(name: &str) -> GpuInfo {
    GpuInfo {
        name: name.to_owned(),
        backend: "vulkan",
        driver: "driver 1.0".to_owned(),
        software: false,
        unified: false,
        subgroups: true,
        subgroup_sizes: (32, 32),
        f16: true,
        matrices: None,
        workgroup_memory: 32 << 10,
        max_binding: 1 << 30,
        timestamps: true,
    }
}

/// A valid tuning that is not the default.
fn other() -> Tuning {
    Tuning { workgroups: 20, down: 2, ..Tuning::default() }
}

/// What is read after the file of a tuning was edited as JSON.
fn edited(edit: impl FnOnce(&mut Value)) -> State {
    let (dir, info) = (tempfile::tempdir().unwrap(), info("GPU"));
    let path = write(dir.path(), &info, other()).unwrap();
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    read(dir.path(), &info)
}

fn reason(state: State) -> String {
    let State::Unusable(reason) = state else { panic!("{state:?}, expected unusable") };
    reason
}

#[test]
fn what_is_written_is_read_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, info) = (dir.path().join("new/tuning"), info("A/../GPU: \"1\""));
    assert_eq!(read(&directory, &info), State::None);
    for tuning in [Tuning::default(), other()] {
        let path = write(&directory, &info, tuning).unwrap();
        assert_eq!(path.parent().unwrap(), directory);
        assert_eq!(read(&directory, &info), State::Tuned(tuning));
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    assert_eq!(edited(|_| {}), State::Tuned(other()));
}

#[test]
fn devices_and_drivers_have_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (info("GPU 1"), info("GPU+1"));
    let newer = GpuInfo { driver: "driver 1.1".to_owned(), ..first.clone() };
    write(dir.path(), &first, other()).unwrap();
    assert_eq!(read(dir.path(), &second), State::None);
    assert_eq!(read(dir.path(), &newer), State::None);
    write(dir.path(), &second, Tuning::default()).unwrap();
    assert_eq!(read(dir.path(), &first), State::Tuned(other()));
    assert_eq!(read(dir.path(), &second), State::Tuned(Tuning::default()));

    // A file under another device's name.
    fs::copy(path(dir.path(), &first), path(dir.path(), &second)).unwrap();
    assert!(reason(read(dir.path(), &second)).contains("device GPU 1, expected GPU+1"));
}

#[test]
fn what_was_measured_for_something_else_does_not_hold() {
    let cases = [
        ("program", "version 0.0.0, expected"),
        ("variants", "table of kernels 0.0.0, expected"),
        ("device", "device 0.0.0, expected GPU"),
        ("backend", "backend 0.0.0, expected vulkan"),
        ("driver", "driver 0.0.0, expected driver 1.0"),
    ];
    for (field, expected) in cases {
        let found = reason(edited(|record| record[field] = "0.0.0".into()));
        assert!(found.contains(expected), "{field}: {found}");
    }
}

#[test]
fn values_that_no_kernel_has_do_not_hold() {
    let cases = [
        ("workgroups", json!(0)),
        ("workgroups", json!(100_000)),
        ("workgroups", json!(-1)),
        ("workgroups", json!("many")),
        ("down", json!(3)),
        ("gate_up", json!(u64::MAX)),
        ("split", json!([1, 1, 1])),
        ("split", json!([1, 1, 1, 16])),
        ("matvec", json!([1, 1, 1, 0])),
        ("unknown", json!(1)),
    ];
    for (field, value) in cases {
        let text = format!("{field} {value}");
        let state = edited(|record| record["tuning"][field] = value);
        assert!(matches!(state, State::Unusable(_)), "{text}: {state:?}");
    }
    let state = edited(|record| {
        record["tuning"].as_object_mut().unwrap().remove("down");
    });
    assert!(reason(state).contains("down"));
}

#[test]
fn garbage_does_not_hold() {
    let (dir, info) = (tempfile::tempdir().unwrap(), info("GPU"));
    let path = write(dir.path(), &info, other()).unwrap();
    let whole = fs::read(&path).unwrap();
    let long = [&whole[..], &vec![b' '; 1 << 20], b"x"].concat();
    let deep = "[".repeat(10_000).into_bytes();
    for bytes in [b"", &whole[..whole.len() / 2], b"\xff\xfe\0", b"null", &deep] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(read(dir.path(), &info), State::Unusable(_)), "{} bytes", bytes.len());
    }
    // No more is read than a file can have.
    fs::write(&path, &long).unwrap();
    assert_eq!(read(dir.path(), &info), State::Tuned(other()));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(read(dir.path(), &info), State::Unusable(_)));
    assert!(write(dir.path(), &info, other()).is_err());
}
