//! What is read from files and read again when they change. Looking whether they did costs a `stat` each, so it is done at
//! every use, and a change counts from the next use on.

use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub struct Watched<T, E> {
    paths: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    stamps: Vec<Option<Stamp>>,
    value: Arc<T>,
}

/// Tells a file from what it was before. A replacement has another inode even when its times are the same.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<T, E: Error + 'static> Watched<T, E> {
    /// Reads for the first time; `read` is called again when one of the files is another.
    pub fn new(
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before reading, so that a change in between is seen at the first use.
        let stamps = stamps(&paths);
        let known = Mutex::new(Known { stamps, value: Arc::new(read()?) });
        Ok(Self { paths, read: Box::new(read), known })
    }

    /// What the files hold. When they cannot be read any more, what they held before.
    pub fn current(&self) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.paths);
        if known.stamps != stamps {
            known.stamps = stamps;
            match (self.read)() {
                Ok(value) => {
                    tracing::info!(files = ?self.paths, "read again");
                    known.value = Arc::new(value);
                }
                // Once for each change, however often it is asked for.
                Err(error) => {
                    let files = &self.paths;
                    let error: &dyn Error = &error;
                    tracing::error!(?files, error, "not read again; what was read before holds");
                }
            }
        }
        known.value.clone()
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: file.ino(),
        size: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("number");
        let replace = |text: &str| {
            std::fs::write(folder.path().join("new"), text).expect("a file");
            std::fs::rename(folder.path().join("new"), &path).expect("a rename");
        };
        replace("1");
        let read = {
            let path = path.clone();
            move || -> Result<i32, io::Error> {
                std::fs::read_to_string(&path)?.parse().map_err(io::Error::other)
            }
        };
        let number = Watched::new(vec![path.clone()], read).expect("a number");
        assert_eq!(*number.current(), 1);
        replace("2");
        assert_eq!(*number.current(), 2);
        replace("x");
        assert_eq!(*number.current(), 2);
        replace("3");
        assert_eq!(*number.current(), 3);
    }
}
