//! A blob on its way: what is there of it, and its checksum so far.

use crate::checksum::Hasher;
use crate::error::PullError;
use crate::names::FileName;
use crate::repository::Facts;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const CHUNK: usize = 128 << 10;

pub struct Partial<'a> {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
    name: &'a FileName,
    facts: &'a Facts,
}

impl<'a> Partial<'a> {
    /// Goes on from what an earlier try left, which is read once for its checksum.
    pub fn open(path: PathBuf, name: &'a FileName, facts: &'a Facts) -> Result<Self, PullError> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(PullError::files("open", &path))?;
        let hasher = facts.checksum.hasher(facts.size);
        let mut partial = Self { path, file, hasher, length: 0, name, facts };
        partial.take_up()?;
        Ok(partial)
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn is_whole(&self) -> bool {
        self.length == self.facts.size
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<(), PullError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(PullError::files("empty", &self.path))?;
        self.hasher = self.facts.checksum.hasher(self.facts.size);
        self.length = 0;
        Ok(())
    }

    /// Takes the next bytes. More than were announced are not written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), PullError> {
        if self.length + bytes.len() as u64 > self.facts.size {
            return Err(self.wrong_size(format!("more than {}", self.facts.size)));
        }
        self.file.write_all(bytes).map_err(PullError::files("write", &self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Deletes what is there, since the hub sends another size than it announced.
    pub fn wrong_size(&self, got: String) -> PullError {
        delete(&self.path);
        PullError::WrongSize { file: self.name.clone(), announced: self.facts.size, got }
    }

    /// Puts the whole file in its place if its checksum is right, and deletes it otherwise.
    pub fn finish(self, place: &Path) -> Result<(), PullError> {
        let Self { path, file, hasher, name, facts, .. } = self;
        // Before it counts as there: a file that is named but not written yet would survive a loss of power as zeros.
        file.sync_data().map_err(PullError::files("write", &path))?;
        let announced = facts.checksum.clone();
        let got = hasher.finish();
        if got != announced {
            delete(&path);
            return Err(PullError::WrongChecksum { file: name.clone(), announced, got });
        }
        std::fs::rename(&path, place).map_err(PullError::files("rename", &path))
    }

    /// What is longer than the whole file is none of it.
    fn take_up(&mut self) -> Result<(), PullError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.file.read(&mut buffer);
            let count = read.map_err(PullError::files("read", &self.path))?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.length += count as u64;
            if self.length > self.facts.size {
                return self.restart();
            }
        }
    }
}

/// What cannot be deleted is read again by the next try, and its checksum found wrong.
fn delete(path: &Path) {
    let _ = std::fs::remove_file(path);
}
