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

/// Why an engine was not opened.
#[derive(Debug, thiserror::Error)]
pub enum EnginesError {
    #[error("the wait for an engine was cancelled")]
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
    /// second when it is refused. Where no engine can be kept it is opened without a folder. `goes_on` is asked while
    /// another builds the same engine, and cancels by answering false.
    pub fn open<T, R, E: From<EnginesError>>(
        &self,
        key: &Key,
        mut open: impl FnMut(Option<&Path>) -> Attempt<T, R, E>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Attempt<T, R, E> {
        match self.open_kept(key, &mut open, goes_on) {
            Err(Failure::NotKept { path, source }) => {
                let (engine, error) = (key.id(), source);
                tracing::warn!(engine, path = %path.display(), %error, "engines cannot be kept");
                open(None)
            }
            Err(Failure::Open(error)) => Err(error),
            Ok(outcome) => Ok(outcome),
        }
    }

    fn open_kept<T, R, E: From<EnginesError>>(
        &self,
        key: &Key,
        open: &mut impl FnMut(Option<&Path>) -> Attempt<T, R, E>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Result<T, R>, Failure<E>> {
        let _lock = self.lock(key, goes_on)?;
        let entry = self.folder.join(key.id());
        let is_sound = Record::is_sound(&entry, goes_on);
        if !goes_on() {
            return Err(Failure::Open(EnginesError::Cancelled.into()));
        }
        if is_sound {
            if let Ok(opened) = open(Some(&entry)).map_err(Failure::Open)? {
                Record::touch(&entry);
                return Ok(Ok(opened));
            }
            tracing::warn!(engine = key.id(), "engine is not taken any more, building it anew");
        }
        remove(&entry)?;
        self.build(key, &entry, open, goes_on)
    }

    fn build<T, R, E: From<EnginesError>>(
        &self,
        key: &Key,
        entry: &Path,
        open: &mut impl FnMut(Option<&Path>) -> Attempt<T, R, E>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Result<T, R>, Failure<E>> {
        let aside = self.folder.join(format!("{BUILDING}{}", key.id()));
        remove(&aside)?;
        std::fs::create_dir(&aside).map_err(not_kept(&aside))?;
        let begin = Instant::now();
        let outcome = open(Some(&aside)).map_err(Failure::Open);
        let kept = match outcome {
            Ok(Ok(_)) => Record::publish(key, begin.elapsed(), (&aside, entry), goes_on),
            _ => Ok(()),
        };
        // What was opened works from memory; that it is not kept costs the next start, not this one.
        if let Err(error) = kept.and_then(|()| remove_all(&aside)) {
            tracing::warn!(engine = key.id(), %error, "engine is not kept");
        }
        outcome
    }

    /// Held by who opens or builds the engine.
    fn lock<E: From<EnginesError>>(
        &self,
        key: &Key,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<File, Failure<E>> {
        let path = self.folder.join(format!("{LOCK}{}", key.id()));
        std::fs::create_dir_all(&self.folder).map_err(not_kept(&self.folder))?;
        loop {
            let file = File::create(&path).map_err(not_kept(&path))?;
            match file.try_lock() {
                // Who deletes engines deletes their locks; one that is gone keeps nobody out.
                Ok(()) if is_at(&file, &path) => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::Error(source)) => return Err(not_kept(&path)(source)),
                Err(TryLockError::WouldBlock) if !goes_on() => {
                    return Err(Failure::Open(EnginesError::Cancelled.into()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BEAT),
            }
        }
    }
}

/// Why nothing was opened in a folder.
enum Failure<E> {
    /// It may be opened without.
    NotKept {
        path: PathBuf,
        source: io::Error,
    },
    Open(E),
}

fn not_kept<E>(path: &Path) -> impl Fn(io::Error) -> Failure<E> {
    let path = path.to_owned();
    move |source| Failure::NotKept { path: path.clone(), source }
}

fn remove<E>(folder: &Path) -> Result<(), Failure<E>> {
    remove_all(folder).map_err(not_kept(folder))
}

fn remove_all(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
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
