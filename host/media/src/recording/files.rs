//! The files of recordings. One is hidden while it is written, and gets its name when it is whole; what a crash left behind
//! is whole up to its last fragment, and gets its name at the next start.

use host_ports::{RecordError, RecordedFile};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const EXTENSION: &str = "mp4";
/// Behind the name of a file that is being written, with a dot before it.
const UNFINISHED: &str = ".part";
/// Files that are listed, newest ones.
const MOST_LISTED: usize = 1000;

/// The recordings of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// A file that is being written.
pub(crate) struct Unfinished {
    file: File,
    /// Bytes of whole fragments.
    whole: u64,
    hidden: PathBuf,
    name: String,
}

impl Folder {
    pub fn new(recordings: &Path, stream: &str) -> Self {
        Self(recordings.join(stream))
    }

    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// Bytes that programs without privileges may still write.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.0)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub fn begin(&self, name: &str) -> io::Result<Unfinished> {
        let name = format!("{name}.{EXTENSION}");
        let hidden = self.0.join(format!(".{name}{UNFINISHED}"));
        let file = File::options().write(true).create_new(true).open(&hidden)?;
        Ok(Unfinished { file, whole: 0, hidden, name })
    }

    /// Oldest first.
    pub fn list(&self) -> Result<Vec<RecordedFile>, RecordError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&error)),
        };
        let mut files: Vec<_> = entries.flatten().filter_map(|entry| described(&entry)).collect();
        files.sort_by(|a, b| (a.modified_at, &a.name).cmp(&(b.modified_at, &b.name)));
        files.drain(..files.len().saturating_sub(MOST_LISTED));
        Ok(files)
    }

    /// The path of a finished file. A name that is none of ours leads nowhere.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        let is_ours = is_plain && !name.starts_with('.') && is_recording(name);
        let path = is_ours.then(|| self.0.join(name))?;
        // What links elsewhere is no file of ours.
        path.symlink_metadata().is_ok_and(|found| found.is_file()).then_some(path)
    }

    /// Takes a finished file away.
    pub fn remove(&self, name: &str) -> Result<(), RecordError> {
        let path = self.find(name).ok_or(RecordError::NoFile)?;
        fs::remove_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RecordError::NoFile,
            _ => failed(&error),
        })
    }
}

impl Unfinished {
    /// Takes all of it, or none.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        match written {
            Ok(()) => self.whole += bytes.len() as u64,
            // Half a fragment would only confuse; where that fails too, players stop at it.
            Err(_) => drop(self.file.set_len(self.whole)),
        }
        written
    }

    /// Gives the file its name, which is returned.
    pub fn finish(self) -> io::Result<String> {
        self.file.sync_all()?;
        fs::rename(&self.hidden, self.hidden.with_file_name(&self.name))?;
        Ok(self.name)
    }
}

/// Gives those files their names that a run before this one could not finish.
pub(crate) fn recover(recordings: &Path) {
    let Ok(streams) = fs::read_dir(recordings) else { return };
    for stream in streams.flatten() {
        let Ok(entries) = fs::read_dir(stream.path()) else { continue };
        for entry in entries.flatten() {
            let (hidden, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str().and_then(finished_name) else { continue };
            let is_empty = entry.metadata().is_ok_and(|metadata| metadata.len() == 0);
            let done = match is_empty {
                true => fs::remove_file(&hidden),
                false => fs::rename(&hidden, hidden.with_file_name(name)),
            };
            if let Err(error) = done {
                tracing::warn!(path = %hidden.display(), %error, "a recording of an earlier run keeps its hidden name");
            }
        }
    }
}

fn finished_name(hidden: &str) -> Option<&str> {
    hidden.strip_prefix('.')?.strip_suffix(UNFINISHED).filter(|name| is_recording(name))
}

fn is_recording(name: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new(EXTENSION))
}

fn described(entry: &fs::DirEntry) -> Option<RecordedFile> {
    let name = entry.file_name().into_string().ok()?;
    let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let is_finished = !name.starts_with('.') && is_recording(&name);
    let modified_at = metadata.modified().ok()?;
    is_finished.then_some(RecordedFile { name, bytes: metadata.len(), modified_at })
}

pub(crate) fn failed(error: &io::Error) -> RecordError {
    RecordError::Files { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_seen_when_it_is_whole_and_after_a_crash() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path(), "str_1");
        folder.create().unwrap();
        let mut first = folder.begin("first").unwrap();
        first.write(b"all of it").unwrap();
        assert_eq!((folder.list().unwrap(), folder.find("first.mp4")), (vec![], None));
        assert_eq!(first.finish().unwrap(), "first.mp4");
        folder.begin("second").unwrap().write(b"half").unwrap();
        drop(folder.begin("empty").unwrap());
        recover(root.path());
        let names: Vec<_> = folder.list().unwrap().into_iter().map(|f| (f.name, f.bytes)).collect();
        let named = |name: &str, bytes| (name.to_owned(), bytes);
        assert_eq!(names.len(), 2);
        assert!(names.contains(&named("first.mp4", 9)) && names.contains(&named("second.mp4", 4)));
    }

    #[test]
    fn only_names_of_recordings_lead_to_files() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path(), "str_1");
        folder.create().unwrap();
        fs::write(root.path().join("outside.mp4"), b"x").unwrap();
        fs::write(root.path().join("str_1/.hidden.mp4"), b"x").unwrap();
        fs::write(root.path().join("str_1/notes.txt"), b"x").unwrap();
        fs::create_dir(root.path().join("str_1/folder.mp4")).unwrap();
        for name in [
            "../outside.mp4",
            "..%2foutside.mp4",
            "/etc/passwd.mp4",
            ".hidden.mp4",
            "notes.txt",
            "",
            "none.mp4",
            "a/b.mp4",
            "folder.mp4",
            "whole.mp4\0",
            "..",
        ] {
            assert_eq!(folder.find(name), None, "{name}");
            assert_eq!(folder.remove(name), Err(RecordError::NoFile), "{name}");
        }
        assert!(root.path().join("outside.mp4").exists());
    }

    #[test]
    fn a_finished_file_is_removed_once_and_one_that_is_written_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path(), "str_1");
        folder.create().unwrap();
        let mut file = folder.begin("first").unwrap();
        file.write(b"all of it").unwrap();
        assert_eq!(folder.remove("first.mp4"), Err(RecordError::NoFile));
        file.finish().unwrap();
        assert_eq!(folder.remove("first.mp4"), Ok(()));
        assert_eq!(folder.remove("first.mp4"), Err(RecordError::NoFile));
        assert_eq!(folder.list(), Ok(vec![]));
    }
}
