//! `streamdiffusion-host engines` on a folder as plugins leave it.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use support::settings;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn engines(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streamdiffusion-host"))
        .arg("engines")
        .args(arguments)
        .envs(settings(folder))
        .env("SDH_PATHS__ENGINES", folder.path().join("engines"))
        .output()
        .expect("the program starts")
}

fn printed(folder: &TempDir, arguments: &[&str]) -> String {
    let output = engines(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// An engine that was last used so many days ago.
fn write(folder: &TempDir, name: &str, days: u32) -> PathBuf {
    let entry = folder.path().join("engines").join(name);
    fs::create_dir_all(&entry).expect("a folder");
    fs::write(entry.join("unet.engine"), "compiled").expect("an engine");
    let record = r#"{
        "subject": "/models/any/unet", "key": {"precision": "fp16"}, "build_seconds": 1.5,
        "files": {"unet.engine": {"bytes": 8, "sha256": "of no matter here"}}
    }"#;
    fs::write(entry.join("engine.json"), record).expect("a record");
    let file = File::options().append(true).open(entry.join("engine.json")).expect("the record");
    file.set_modified(SystemTime::now() - DAY * days).expect("it is ours");
    entry
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("engines")).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

fn cut(file: &Path) {
    fs::write(file, "comp").expect("the file");
}

#[test]
fn engines_are_listed_with_what_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = printed(&folder, &["list"]);
    assert!(text.starts_with("no engines in ") && text.contains("engines"), "{text}");
    write(&folder, "aaaa", 0);
    cut(&write(&folder, "bbbb", 3).join("unet.engine"));
    fs::create_dir(folder.path().join("engines/runtime")).unwrap();
    let text = printed(&folder, &["list"]);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("aaaa") && lines[0].contains("used today"), "{text}");
    assert!(lines[0].ends_with("/models/any/unet"), "{text}");
    assert_eq!(lines[1], "  precision: fp16");
    assert!(lines[2].contains("used 3 days ago") && lines[2].contains("was cut"), "{text}");
    assert_eq!(lines.len(), 4, "{text}");
}

#[test]
fn what_is_old_or_broken_is_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for (name, days) in [("old", 31), ("new", 29), ("damaged", 0), (".building-half", 0)] {
        write(&folder, name, days);
    }
    cut(&folder.path().join("engines/damaged/unet.engine"));
    fs::create_dir(folder.path().join("engines/runtime")).unwrap();
    let all = names(&folder);
    let text = printed(&folder, &["gc", "--dry-run"]);
    assert_eq!(text.matches("would delete").count(), 3, "{text}");
    assert!(all.iter().all(|name| names(&folder).contains(name)));
    let text = printed(&folder, &["gc"]);
    assert_eq!(text.matches("deleted").count(), 3, "{text}");
    assert_eq!(names(&folder), ["new", "runtime"]);
    assert_eq!(printed(&folder, &["gc"]), "nothing to delete\n");
    let text = printed(&folder, &["gc", "--unused-for", "28"]);
    assert!(text.starts_with("deleted new"), "{text}");
}

#[test]
fn an_engine_at_work_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, ".building-busy", 99);
    let lock = File::create(folder.path().join("engines/.lock-busy")).unwrap();
    lock.lock().unwrap();
    let text = printed(&folder, &["gc"]);
    assert!(text.starts_with("kept, as it is being built"), "{text}");
    lock.unlock().unwrap();
    assert!(printed(&folder, &["gc"]).starts_with("deleted busy"));
    assert_eq!(names(&folder), [""; 0]);
}
