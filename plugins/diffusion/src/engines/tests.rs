//! Without a provider: what it would build is a file here.

use super::*;
use std::cell::Cell;
use std::sync::mpsc::channel;

type Opened = Attempt<String, &'static str, EnginesError>;

fn key(model: &str) -> Key {
    Key::new(format!("unet of {model}"), [("weights", model.to_owned())])
}

/// Reads what was built, or builds.
fn read_or_build(builds: &Cell<usize>) -> impl FnMut(Option<&Path>) -> Opened + '_ {
    |folder| {
        let Some(folder) = folder else { return Ok(Ok("not kept".into())) };
        let path = folder.join("network.engine");
        if !path.exists() {
            builds.set(builds.get() + 1);
            std::fs::write(&path, format!("build {}", builds.get())).unwrap();
        }
        Ok(Ok(std::fs::read_to_string(path).unwrap()))
    }
}

fn open(engines: &Engines, key: &Key, builds: &Cell<usize>) -> String {
    engines.open(key, read_or_build(builds), &mut || true).unwrap().unwrap()
}

/// What a user sees in the folder, without locks.
fn seen(engines: &Engines) -> Vec<String> {
    let entries = std::fs::read_dir(engines.folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with(LOCK)).collect();
    names.sort();
    names
}

#[test]
fn an_engine_is_built_once_for_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(folder.path().join("engines"));
    let builds = Cell::new(0);
    assert_eq!(open(&engines, &key("one"), &builds), "build 1");
    assert_eq!(open(&engines, &key("one"), &builds), "build 1");
    assert_eq!(open(&engines, &key("other"), &builds), "build 2");
    let mut ids = [key("one").id().to_owned(), key("other").id().to_owned()];
    ids.sort();
    assert_eq!(seen(&engines), ids);
}

#[test]
fn a_damaged_engine_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(folder.path());
    let (key, builds) = (key("one"), Cell::new(0));
    open(&engines, &key, &builds);
    let entry = folder.path().join(key.id());
    let damages: [&dyn Fn(); 4] = [
        &|| std::fs::write(entry.join("network.engine"), "build X").unwrap(),
        &|| std::fs::remove_file(entry.join("network.engine")).unwrap(),
        &|| std::fs::write(entry.join("engine.json"), "{").unwrap(),
        &|| std::fs::write(entry.join("another.engine"), "left over").unwrap(),
    ];
    for (index, damage) in damages.iter().enumerate() {
        damage();
        assert_eq!(open(&engines, &key, &builds), format!("build {}", index + 2));
        assert_eq!(open(&engines, &key, &builds), format!("build {}", index + 2));
    }
}

#[test]
fn an_engine_that_the_provider_refuses_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(folder.path());
    let (key, builds) = (key("one"), Cell::new(0));
    open(&engines, &key, &builds);
    let mut takes = read_or_build(&builds);
    let updated = |folder: Option<&Path>| -> Opened {
        match takes(folder)? {
            Ok(built) if built == "build 1" => Ok(Err("made by an older version")),
            other => Ok(other),
        }
    };
    assert_eq!(engines.open(&key, updated, &mut || true).unwrap(), Ok("build 2".to_owned()));
    assert_eq!(open(&engines, &key, &builds), "build 2");
}

#[test]
fn a_build_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(folder.path());
    let refuses = |folder: Option<&Path>| -> Opened {
        std::fs::write(folder.unwrap().join("half.engine"), "half").unwrap();
        Ok(Err("no memory"))
    };
    assert_eq!(engines.open(&key("one"), refuses, &mut || true).unwrap(), Err("no memory"));
    assert_eq!(seen(&engines), [""; 0]);
    let ends = |_: Option<&Path>| -> Opened { Err(EnginesError::Cancelled) };
    assert!(engines.open(&key("one"), ends, &mut || true).is_err());
    assert_eq!(seen(&engines), [""; 0]);
}

#[test]
fn what_a_build_left_that_was_killed_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(folder.path());
    let (key, builds) = (key("one"), Cell::new(0));
    let aside = folder.path().join(format!("{BUILDING}{}", key.id()));
    std::fs::create_dir(&aside).unwrap();
    std::fs::write(aside.join("network.engine"), "half").unwrap();
    assert_eq!(open(&engines, &key, &builds), "build 1");
    assert_eq!(seen(&engines), [key.id()]);
}

#[test]
fn who_wants_an_engine_that_is_being_built_waits_or_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines::new(folder.path());
    let ((begun, has_begun), (finish, may_finish)) = (channel(), channel());
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| {
            let (builds, mut signals) = (Cell::new(0), Some((begun, may_finish)));
            let slow = |folder: Option<&Path>| {
                let (begun, may_finish) = signals.take().expect("it builds once");
                begun.send(()).unwrap();
                may_finish.recv().unwrap();
                read_or_build(&builds)(folder)
            };
            engines.open(&key("one"), slow, &mut || true).unwrap().unwrap()
        });
        has_begun.recv().unwrap();
        let builds = Cell::new(0);
        let outcome = engines.open(&key("one"), read_or_build(&builds), &mut || false);
        assert!(matches!(outcome, Err(EnginesError::Cancelled)));
        // Another is not held up.
        assert_eq!(open(&engines, &key("other"), &builds), "build 1");
        let mut patience = || {
            // It may have ended by the second time.
            let _ = finish.send(());
            true
        };
        let waited = engines.open(&key("one"), read_or_build(&builds), &mut patience);
        assert_eq!((waited.unwrap().unwrap(), builds.get()), ("build 1".to_owned(), 1));
        assert_eq!(builder.join().unwrap(), "build 1");
    });
}

#[test]
fn where_no_engine_can_be_kept_it_is_used_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(open(&Engines::new(&file), &key("one"), &Cell::new(0)), "not kept");
}
