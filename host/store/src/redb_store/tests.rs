//! What survives: a restart, kill -9 at any moment, a disk that fails, a file that cannot be used.

use super::*;
use crate::record::Record;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("streams.redb");
    (folder, path)
}

fn stream(id: &str) -> StoredStream {
    StoredStream {
        id: id.to_owned(),
        name: id.to_owned(),
        stream_key: format!("stk_{id}"),
        playback_id: format!("play_{id}"),
        created_at: "2024-02-29T12:00:00Z".to_owned(),
        pipeline: "passthrough".to_owned(),
        params: serde_json::Map::new(),
        revision: 1,
        output_rtmp_url: None,
    }
}

fn revision(revision: u64, id: &str) -> StoredStream {
    StoredStream { revision, ..stream(id) }
}

#[test]
fn the_redb_store_keeps_the_contract() {
    let folders = std::cell::RefCell::new(Vec::new());
    crate::conformance::check(|| {
        let (folder, path) = folder();
        folders.borrow_mut().push(folder);
        RedbStore::open(&path).unwrap()
    });
}

#[test]
fn everything_is_there_again_after_a_restart_and_in_its_order() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    for id in ["c", "a", "b"] {
        store.create(stream(id)).unwrap();
    }
    store.update(1, revision(2, "c")).unwrap();
    store.delete("b").unwrap();
    let before = store.list().unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.list(), Ok(before));
    store.create(stream("b")).unwrap();
    drop(store);
    let streams = RedbStore::open(&path).unwrap().list().unwrap();
    let ids: Vec<_> = streams.iter().map(|stream| (stream.id.as_str(), stream.revision)).collect();
    assert_eq!(ids, [("c", 2), ("a", 1), ("b", 1)]);
}

#[test]
fn only_the_hosts_user_may_read_the_file() {
    let (_folder, path) = folder();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
}

#[test]
fn changes_that_wait_together_are_judged_one_by_one() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    store.create(stream("a")).unwrap();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let update = || store.update(1, revision(2, "a"));
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(update)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let conflict = StoreError::Conflict { id: "a".into(), expected: 1, found: 2 };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(conflict.clone())).count(), 31);
}

/// Set in the child process that is killed: the file it is to write to.
const VICTIM: &str = "HOST_STORE_VICTIM";
const THREADS: u64 = 4;

/// Does nothing unless it is the child of the test below: then it writes until it is killed, and says what was answered.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let store = RedbStore::open(Path::new(&path)).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || write_for_ever(store, thread));
        }
    });
}

/// A stream is created, counted up and deleted, then the next.
fn write_for_ever(store: &RedbStore, thread: u64) {
    for round in 0.. {
        let id = format!("{thread}-{round:09}");
        store.create(stream(&id)).unwrap();
        println!("did {thread} {round} 1");
        for next in 2..6 {
            store.update(next - 1, revision(next, &id)).unwrap();
            println!("did {thread} {round} {next}");
        }
        store.delete(&id).unwrap();
        println!("did {thread} {} 0", round + 1);
    }
}

#[test]
fn what_was_answered_survives_kill_9_at_any_moment() {
    let (_folder, path) = folder();
    for lines in [1, 2, 3, 40, 41, 200] {
        drop(fs::remove_file(&path));
        let mut acknowledged = [(0, 0); THREADS as usize];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "redb_store::tests::victim", "--nocapture", "--test-threads=1"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut killed_after = 0;
        // What it said before it was killed is still in the pipe.
        for line in said.map_while(Result::ok) {
            let Some(words) = line.split_once("did ") else { continue };
            let numbers: Vec<u64> =
                words.1.split(' ').map_while(|word| word.parse().ok()).collect();
            let [thread, round, revision] = numbers[..] else { continue };
            acknowledged[thread as usize] = (round, revision);
            killed_after += 1;
            if killed_after == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let streams = RedbStore::open(&path).unwrap().list().unwrap();
        for (thread, (round, revision)) in acknowledged.into_iter().enumerate() {
            let prefix = format!("{thread}-");
            let own = streams.iter().filter(|stream| stream.id.starts_with(&prefix));
            let own: Vec<_> = own.map(|stream| (stream.id.clone(), stream.revision)).collect();
            let state = |round, revision| match revision {
                0 => vec![],
                revision => vec![(format!("{thread}-{round:09}"), revision)],
            };
            // What was asked for and not answered yet may have been done.
            let next = state(round, if revision == 5 { 0 } else { revision + 1 });
            assert!(own == state(round, revision) || own == next, "{own:?}, {round} {revision}");
        }
    }
}

#[test]
fn a_copy_of_the_file_taken_while_it_is_written_is_whole_or_said_to_be_damaged() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    store.create(stream("a")).unwrap();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 2;
            while !is_done.load(Ordering::SeqCst) {
                store.update(next - 1, revision(next, "a")).unwrap();
                next += 1;
            }
        });
        for n in 0..20 {
            let copy = path.with_extension(n.to_string());
            let before = store.get("a").unwrap().unwrap().revision;
            fs::copy(&path, &copy).unwrap();
            let after = store.get("a").unwrap().unwrap().revision;
            match RedbStore::open(&copy) {
                Ok(copied) => {
                    let revision = copied.get("a").unwrap().unwrap().revision;
                    assert!(
                        (before..=after + 1).contains(&revision),
                        "{before} {revision} {after}"
                    );
                }
                Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
            }
        }
        is_done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_file_in_use_is_named() {
    let (_folder, path) = folder();
    let _store = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("streams.redb is in use by another host"), "{error}");
}

#[test]
fn a_file_of_a_newer_host_is_left_as_it_is() {
    let (_folder, path) = folder();
    let opened = file::open(&path).unwrap();
    let transaction = opened.database.begin_write().unwrap();
    let record = String::from_utf8(Record { number: 0, stream: stream("a") }.write()).unwrap();
    let record = record.replace("\"version\":1", "\"version\":9");
    let mut table = transaction.open_table(file::STREAMS).unwrap();
    table.insert("a", record.as_bytes()).unwrap();
    drop(table);
    transaction.commit().unwrap();
    drop(opened);
    for _ in 0..2 {
        let error = RedbStore::open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Newer { found: 9, .. }), "{error}");
        assert!(error.to_string().contains("(format 9, this one reads up to 1)"), "{error}");
    }
}

#[test]
fn a_damaged_file_is_named_and_kept() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    (0..50).for_each(|n| store.create(stream(&format!("stream-{n:03}"))).unwrap());
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut turned = whole.clone();
    // Older pages may still hold the name as well.
    let places = (10..whole.len()).filter(|end| whole[end - 10..*end] == *b"stream-007");
    places.for_each(|end| turned[end - 1] ^= 1);
    let mut headless = whole.clone();
    headless[0] = 0;
    let half = whole[..whole.len() / 2].to_vec();
    for damaged in [turned, headless, half, vec![], b"text".to_vec()] {
        fs::write(&path, &damaged).unwrap();
        let opened = RedbStore::open(&path).err();
        let error = opened.unwrap_or_else(|| panic!("{} bytes opened", damaged.len()));
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("streams.redb is damaged ("), "{error}");
        assert!(path.exists());
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(RedbStore::open(&path).unwrap().list().unwrap().len(), 50);
}

#[test]
fn a_turned_bit_never_brings_the_process_down() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    (0..3).for_each(|n| store.create(stream(&format!("stream-{n}"))).unwrap());
    let before = store.list().unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    // The header, where a bit matters most, then all over the file.
    for place in (0..320).step_by(5).chain((320..whole.len()).step_by(whole.len() / 50)) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        fs::write(&path, &damaged).unwrap();
        if let Ok(store) = RedbStore::open(&path) {
            assert_eq!(store.list().unwrap(), before, "byte {place}");
        }
    }
}

/// A disk that is full while the flag is set.
#[derive(Debug)]
struct FullDisk(FileBackend, Arc<AtomicBool>);

impl FullDisk {
    fn check(&self) -> io::Result<()> {
        match self.1.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for FullDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.write(offset, data)
    }
}

#[test]
fn a_full_disk_refuses_changes_until_it_has_room_again() {
    let (_folder, path) = folder();
    drop(RedbStore::open(&path).unwrap());
    let is_full = Arc::new(AtomicBool::new(false));
    let (disk, file) = (is_full.clone(), path.clone());
    let opener = move || {
        let opened = OpenOptions::new().read(true).write(true).open(&file).unwrap();
        let backend = FullDisk(FileBackend::new(opened).unwrap(), disk.clone());
        let database = Database::builder().create_with_backend(backend);
        let unusable = |error: redb::DatabaseError| OpenError::Damaged {
            path: file.clone(),
            reason: error.to_string(),
        };
        Ok(Opened { database: database.map_err(unusable)?, number: 1 })
    };
    let store = RedbStore::with(&path, Box::new(opener)).unwrap();
    store.create(stream("a")).unwrap();
    is_full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let error = store.create(stream("b")).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    }
    is_full.store(false, Ordering::SeqCst);
    store.update(1, revision(2, "a")).unwrap();
    drop(store);
    assert_eq!(RedbStore::open(&path).unwrap().list(), Ok(vec![revision(2, "a")]));
}

/// Prints how many updates a second are answered, for threads that each wait for their own.
#[test]
fn updates_of_many_threads_share_commits() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    for threads in [1, 8, 32] {
        let ids: Vec<_> = (0..threads).map(|n| format!("{threads}-{n}")).collect();
        ids.iter().for_each(|id| store.create(stream(id)).unwrap());
        let started = std::time::Instant::now();
        thread::scope(|scope| {
            for id in &ids {
                let store = &store;
                scope.spawn(move || {
                    (1..=50).for_each(|n| store.update(n, revision(n + 1, id)).unwrap());
                });
            }
        });
        let rate = f64::from(threads * 50) / started.elapsed().as_secs_f64();
        println!("{threads} threads: {rate:.0} updates/s");
        assert!(ids.iter().all(|id| store.get(id).unwrap().unwrap().revision == 51));
    }
}
