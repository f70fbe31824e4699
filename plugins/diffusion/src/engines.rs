//! What a provider builds for a network, kept on disk: one folder for each engine, under a name that says all it depends on.
//!
//! An engine is built in a folder aside, which then gets its name: there is no half of one. One that is damaged, or that
//! the provider no longer takes, is built anew. Who else wants the same engine meanwhile, in whatever process, waits.

mod digest;
mod key;
mod record;

pub use digest::Digester;
pub use key::Key;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use record::Record;

/// How often who waits for another's build is asked whether that still makes sense.
const BEAT: Duration = Duration::from_millis(200);

/// The folder of engines.
#[derive(Clone, Debug)]
pub struct Engines {
    folder: PathBuf,
}

/// Why an engine could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum EnginesError {
    #[error("cannot keep engines in {}; it must be a folder that can be written to", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the wait for an engine that another builds was cancelled")]
    Cancelled,
}

/// What a provider made of an engine's folder: what it opened, or why it did not.
pub type Attempt<T, R, E> = Result<Result<T, R>, E>;

impl Engines {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has `open` open the engine of this key in its folder, or build it in an empty one. The first is tried again as the
    /// second when it is refused. `goes_on` is asked while another builds the same engine.
    pub fn open<T, R, E: From<EnginesError>>(
        &self,
        key: &Key,
        mut open: impl FnMut(&Path) -> Attempt<T, R, E>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Attempt<T, R, E> {
        let _lock = self.lock(key, goes_on)?;
        let entry = self.folder.join(key.id());
        if Record::is_sound(&entry) {
            if let Ok(opened) = open(&entry)? {
                Record::touch(&entry);
                return Ok(Ok(opened));
            }
            tracing::warn!(engine = key.id(), "engine is not taken any more, building it anew");
        }
        self.remove(&entry)?;
        self.build(key, &entry, open)
    }

    fn build<T, R, E: From<EnginesError>>(
        &self,
        key: &Key,
        entry: &Path,
        mut open: impl FnMut(&Path) -> Attempt<T, R, E>,
    ) -> Attempt<T, R, E> {
        let aside = self.folder.join(format!("{BUILDING}{}", key.id()));
        self.remove(&aside)?;
        std::fs::create_dir(&aside).map_err(|source| self.failed(&aside, source))?;
        let begin = Instant::now();
        let outcome = open(&aside);
        if let Ok(Ok(_)) = outcome {
            // What was opened works from memory; that it is not kept costs the next start, not this one.
            if let Err(error) = Record::publish(key, begin.elapsed(), &aside, entry) {
                tracing::warn!(engine = key.id(), %error, "engine is not kept");
            }
        }
        self.remove(&aside)?;
        outcome
    }

    /// Held by who opens or builds the engine.
    fn lock(&self, key: &Key, goes_on: &mut dyn FnMut() -> bool) -> Result<File, EnginesError> {
        let path = self.folder.join(format!("{LOCK}{}", key.id()));
        std::fs::create_dir_all(&self.folder).map_err(|source| self.failed(&path, source))?;
        loop {
            let file = File::create(&path).map_err(|source| self.failed(&path, source))?;
            match file.try_lock() {
                // Who deletes engines deletes their locks; one that is gone keeps nobody out.
                Ok(()) if is_at(&file, &path) => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::Error(source)) => return Err(self.failed(&path, source)),
                Err(TryLockError::WouldBlock) if !goes_on() => return Err(EnginesError::Cancelled),
                Err(TryLockError::WouldBlock) => std::thread::sleep(BEAT),
            }
        }
    }

    fn remove(&self, folder: &Path) -> Result<(), EnginesError> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed(folder, error))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, path: &Path, source: io::Error) -> EnginesError {
        EnginesError::Folder { path: path.to_owned(), source }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let places = file.metadata().and_then(|file| Ok((file.ino(), path.metadata()?.ino())));
    places.is_ok_and(|(held, there)| held == there)
}

/// How the names of folders aside and of locks begin; the rest is that of the engine.
const BUILDING: &str = ".building-";
const LOCK: &str = ".lock-";

#[cfg(test)]
mod tests;
