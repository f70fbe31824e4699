//! Engines on disk, as plugins leave them: a folder each with `engine.json` in it.

use super::EnginesError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const RECORD: &str = "engine.json";
/// What precedes the engine's id in the name of a folder that is being filled, and of the file that is locked meanwhile.
const BUILDING: &str = ".building-";
const LOCK: &str = ".lock-";

/// An engine, or what is left of one.
#[derive(Debug)]
pub struct Kept {
    pub id: String,
    pub subject: String,
    pub key: BTreeMap<String, String>,
    pub bytes: u64,
    pub last_use: SystemTime,
    pub state: State,
    /// How long it took to build, which no two builds have in common: using an engine touches its files' times.
    pub build_seconds: Option<f64>,
    path: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Whole,
    Broken(&'static str),
}

#[derive(Default, Deserialize)]
struct Record {
    subject: String,
    key: BTreeMap<String, String>,
    files: BTreeMap<String, Content>,
    build_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Content {
    bytes: u64,
}

/// All of them, by their ids. Folders that hold no engine are not looked at.
pub fn all(folder: &Path) -> Result<Vec<Kept>, EnginesError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| EnginesError::Read { path: folder.to_owned(), source })?,
    };
    let mut found: Vec<_> = entries.flatten().filter_map(|entry| look_at(&entry)).collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

fn look_at(entry: &DirEntry) -> Option<Kept> {
    let (path, name) = (entry.path(), entry.file_name().into_string().ok()?);
    let record = path.join(RECORD);
    if !entry.file_type().ok()?.is_dir() {
        return None;
    }
    let (id, is_half) = match name.strip_prefix(BUILDING) {
        Some(id) => (id.to_owned(), true),
        None if record.exists() => (name, false),
        None => return None,
    };
    let sizes = sizes(&path);
    let read = fs::read(&record).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let state = match &read {
        _ if is_half => State::Broken("half built"),
        None => State::Broken("its record is damaged"),
        Some(read)
            if read.files.iter().all(|(name, file)| sizes.get(name) == Some(&file.bytes)) =>
        {
            State::Whole
        }
        Some(_) => State::Broken("a file is missing or was cut"),
    };
    let touched = if is_half { &path } else { &record };
    let last_use = fs::metadata(touched).and_then(|file| file.modified()).ok()?;
    let Record { subject, key, build_seconds, .. } = read.unwrap_or_default();
    let bytes = sizes.values().sum();
    Some(Kept { id, subject, key, bytes, last_use, state, build_seconds, path })
}

fn sizes(folder: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: DirEntry| {
        Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.len()))
    };
    entries.filter_map(size).collect()
}

impl Kept {
    fn lock(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{LOCK}{}", self.id))
    }

    /// Keeps others from building and opening it; nothing while somebody does. One that was opened works from memory.
    pub fn claim(&self, folder: &Path) -> Option<File> {
        let file = File::create(self.lock(folder)).ok()?;
        file.try_lock().is_ok().then_some(file)
    }

    /// Who waits for the claim finds that its file is gone, and makes a new one.
    pub fn delete(&self, folder: &Path, _claim: File) -> Result<(), EnginesError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| EnginesError::Delete { path, source }
        };
        fs::remove_dir_all(&self.path).map_err(failed(&self.path))?;
        let lock = self.lock(folder);
        fs::remove_file(&lock).map_err(failed(&lock))
    }
}
