//! `engine.json` in an engine's folder: what it is, and the files it consists of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Digester, Key};

const NAME: &str = "engine.json";

#[derive(Serialize, Deserialize)]
pub struct Record {
    subject: String,
    key: BTreeMap<String, String>,
    build_seconds: f64,
    files: BTreeMap<String, Content>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Content {
    bytes: u64,
    sha256: String,
}

impl Record {
    /// Gives what was built aside its place; without a file there is nothing to keep.
    pub fn publish(
        key: &Key,
        took: Duration,
        (aside, entry): (&Path, &Path),
        goes_on: &mut dyn FnMut() -> bool,
    ) -> io::Result<()> {
        let files = contents(aside, goes_on)?;
        if files.is_empty() {
            return Ok(());
        }
        let (subject, fields) = (key.subject().to_owned(), key.fields().clone());
        let record = Self { subject, key: fields, build_seconds: took.as_secs_f64(), files };
        let mut file = File::create(aside.join(NAME))?;
        serde_json::to_writer_pretty(&mut file, &record)?;
        file.sync_all()?;
        std::fs::rename(aside, entry)
    }

    /// Whether all of an engine is there, as it was built.
    pub fn is_sound(entry: &Path, goes_on: &mut dyn FnMut() -> bool) -> bool {
        let Some(record) = Self::read(entry) else { return false };
        let is_sound = contents(entry, goes_on).is_ok_and(|files| files == record.files);
        if !is_sound {
            tracing::warn!(engine = %entry.display(), "engine is damaged");
        }
        is_sound
    }

    fn read(entry: &Path) -> Option<Self> {
        let file = File::open(entry.join(NAME)).ok()?;
        serde_json::from_reader(io::BufReader::new(file)).ok()
    }

    /// Says that the engine was used now. Only the choice of what to delete goes by it.
    pub fn touch(entry: &Path) {
        if let Ok(file) = File::options().append(true).open(entry.join(NAME)) {
            let _ = file.set_modified(SystemTime::now());
        }
    }
}

fn contents(
    folder: &Path,
    goes_on: &mut dyn FnMut() -> bool,
) -> io::Result<BTreeMap<String, Content>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != NAME {
            let (bytes, sha256) = Digester::of_file(&entry.path(), goes_on)?;
            files.insert(name, Content { bytes, sha256 });
        }
    }
    Ok(files)
}
