//! Disks that are full, before writing and in the middle of it: a clear error, and nothing left.
//!
//! A process cannot fill a disk or limit its files without hurting its neighbours, so two tests run
//! this test program again as a child, told by an environment variable where to write.

use std::path::{Path, PathBuf};
use std::process::Command;

use marlin_file::{Content, Dtype, Error, ModelWriter, Options, Planned};

use crate::build::text;

const TARGET: &str = "MARLIN_TEST_TARGET";
const CHILD: &str = "disk_full::child_writes_a_megabyte";
const MEGABYTE: usize = 1 << 20;

fn planned(name: &str, len: usize) -> Planned {
    Planned { name: name.to_owned(), content: Content::Plain { dtype: Dtype::U8, shape: vec![len] } }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_model_larger_than_the_disk_is_refused_before_writing() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let list = [planned("a", 1 << 60)];
    let error = ModelWriter::create(&target, &list, Options::default()).unwrap_err();
    let Error::Full { needed, available, .. } = error else { panic!("{error}") };
    assert!(needed > 1 << 60 && available < 1 << 60);
    let expected =
        format!("{}: {needed} bytes to write, {available} bytes free on the disk", target.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());
}

/// Nothing when run by itself. As a child: writes a model of one megabyte, prints the error.
#[test]
fn child_writes_a_megabyte() {
    let Some(target) = std::env::var_os(TARGET).map(PathBuf::from) else { return };
    let list = [planned("a", MEGABYTE / 2), planned("b", MEGABYTE / 2)];
    let result = ModelWriter::create(&target, &list, Options::default()).and_then(|mut writer| {
        // A neighbour takes the room that was there a moment ago.
        let filler = target.with_file_name("filler");
        if filler.exists() {
            std::fs::write(&filler, vec![1; MEGABYTE * 3 / 2]).unwrap();
        }
        list.iter().try_for_each(|item| writer.write_tensor(&item.name, &vec![7; MEGABYTE / 2]))
    });
    println!("child: {}", text(result));
    println!("left: {:?}", entries(target.parent().unwrap()));
}

/// Runs the child under `sh -c script`, which ends in `"$0" "$@"`; its output.
#[cfg(unix)]
fn run_child(script: &str, target: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program).args(["--exact", CHILD, "--nocapture"]);
    let output = command.env(TARGET, target).output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    // 512 blocks of 512 or 1024 bytes; the signal is ignored so that the call itself fails.
    let output = run_child(r#"trap "" XFSZ; ulimit -f 512; exec "$0" "$@""#, &target);
    let start = format!("child: {}/.out.partial-", dir.path().display());
    assert!(output.contains(&start), "{output}");
    assert!(output.contains("/model.safetensors: cannot "), "{output}");
    assert!(output.contains(": File too large"), "{output}");
    assert!(output.contains("left: []"), "{output}");
}

/// Needs a file system of its own: a tmpfs in a mount namespace. Where neither root nor user
/// namespaces allow one, it says so; the tests above still cover the error and the clean-up.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_in_the_middle_of_writing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = format!(
        r#"mount -t tmpfs -o size=2m none {disk} && touch {disk}/filler && exec "$0" "$@""#,
        disk = disk.display()
    );
    let script = format!("unshare --mount --map-root-user sh -c '{script}' \"$0\" \"$@\"");
    let target = disk.join("out");
    let output = run_child(&script, &target);
    let Some(line) = output.lines().find_map(|line| line.split_once("child: ")) else {
        println!("no private tmpfs on this machine, the full disk was not tried:\n{output}");
        return;
    };
    let start = format!("{}: 1048", target.display());
    assert!(line.1.starts_with(&start), "{output}");
    assert!(line.1.ends_with("bytes free on the disk"), "{output}");
    assert!(output.contains(&format!("left: [{:?}]", disk.join("filler"))), "{output}");
}
