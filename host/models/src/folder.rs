//! A model in the hub's cache: `blobs` by checksum, `snapshots` with links to them by name, `refs` from branch to commit.

use crate::cancel::Cancel;
use crate::checksum::Checksum;
use crate::error::PullError;
use crate::names::{FileName, ModelId, Revision};
use crate::pull::Event;
use crate::repository::Facts;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often is looked whether a lock that another program has is free.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Room that is left on the disk for everything else.
const RESERVE_BYTES: u64 = 64 << 20;

/// Of a snapshot that is being made. Not in `snapshots`, where it could be taken for a whole one.
const NEW_SNAPSHOT: &str = ".snapshot.incomplete";

const NEW_LINK: &str = ".link.incomplete";
const NEW_REF: &str = ".ref.incomplete";

pub const LOCKS: &str = ".locks";

pub struct ModelFolder {
    pub root: PathBuf,
    /// Where the hub's own tools have locks for this model.
    locks: PathBuf,
}

/// Held until it is dropped, or the process ends.
pub struct Lock(#[expect(dead_code, reason = "holding it open is its use")] File);

impl ModelFolder {
    pub fn new(cache: &Path, id: &ModelId) -> Self {
        let name = id.folder_name();
        Self { root: cache.join(&name), locks: cache.join(LOCKS).join(name) }
    }

    pub fn create(&self) -> Result<(), PullError> {
        for folder in ["blobs", "refs", "snapshots"] {
            make_folder(&self.root.join(folder))?;
        }
        make_folder(&self.locks)
    }

    pub fn blob_path(&self, checksum: &Checksum) -> PathBuf {
        self.root.join("blobs").join(checksum.as_str())
    }

    pub fn partial_path(&self, checksum: &Checksum) -> PathBuf {
        self.root.join("blobs").join(format!("{checksum}.incomplete"))
    }

    /// Whether the whole file is there. One of another size is damaged, and deleted.
    pub fn has_blob(&self, facts: &Facts) -> Result<bool, PullError> {
        let path = self.blob_path(&facts.checksum);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == facts.size => Ok(true),
            Ok(_) => {
                fs::remove_file(&path).map_err(PullError::files("delete", &path))?;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(PullError::files("read", &path)(error)),
        }
    }

    /// How much of a file is still to come.
    pub fn lacking(&self, facts: &Facts) -> Result<u64, PullError> {
        if self.has_blob(facts)? {
            return Ok(0);
        }
        let partial = fs::metadata(self.partial_path(&facts.checksum));
        let there = partial.map_or(0, |metadata| metadata.len());
        Ok(if there > facts.size { facts.size } else { facts.size - there })
    }

    pub fn check_space(&self, needed: u64) -> Result<(), PullError> {
        let disk = rustix::fs::statvfs(&self.root).map_err(io::Error::from);
        let disk = disk.map_err(PullError::files("look at the disk of", &self.root))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(RESERVE_BYTES);
        match needed <= free {
            true => Ok(()),
            false => Err(PullError::NoSpace { folder: self.root.clone(), needed, free }),
        }
    }

    /// One pull at a time; the others wait.
    pub fn lock(
        &self,
        cancel: &Cancel,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Lock, PullError> {
        self.wait_for(&self.lock_path(), cancel, report)
    }

    /// The lock of the hub's own tools for a blob, so that they do not write the same file meanwhile.
    pub fn lock_blob(
        &self,
        checksum: &Checksum,
        cancel: &Cancel,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Lock, PullError> {
        self.wait_for(&self.locks.join(format!("{checksum}.lock")), cancel, report)
    }

    /// The lock of all pulls of the model, unless one is under way.
    pub fn try_lock(&self) -> io::Result<Option<Lock>> {
        fs::create_dir_all(&self.locks)?;
        try_lock(&self.lock_path())
    }

    /// Makes the files visible, all at once where the commit had no snapshot before, and the ref last of all.
    pub fn publish(
        &self,
        commit: &str,
        revision: &Revision,
        files: &[(FileName, Facts)],
    ) -> Result<PathBuf, PullError> {
        let snapshot = self.root.join("snapshots").join(commit);
        let new = self.root.join(NEW_SNAPSHOT);
        remove_if_there(&new)?;
        let is_new = !snapshot.exists();
        let target = if is_new { &new } else { &snapshot };
        for (file, facts) in files {
            link(target, file, facts.checksum.as_str(), &self.root.join(NEW_LINK))?;
        }
        if is_new {
            fs::rename(&new, &snapshot).map_err(PullError::files("rename", &new))?;
        }
        if revision.as_str() != commit {
            self.write_ref(revision, commit)?;
        }
        Ok(snapshot)
    }

    /// Never half of it, whenever somebody looks.
    fn write_ref(&self, revision: &Revision, commit: &str) -> Result<(), PullError> {
        let path = self.root.join("refs").join(revision.as_str());
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let new = self.root.join(NEW_REF);
        fs::write(&new, commit).map_err(PullError::files("write", &new))?;
        fs::rename(&new, &path).map_err(PullError::files("write", &path))
    }

    fn lock_path(&self) -> PathBuf {
        self.locks.join("pull.lock")
    }

    fn wait_for(
        &self,
        path: &Path,
        cancel: &Cancel,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Lock, PullError> {
        let mut is_told = false;
        loop {
            if let Some(lock) = try_lock(path).map_err(PullError::files("lock", path))? {
                return Ok(lock);
            }
            if !std::mem::replace(&mut is_told, true) {
                report(Event::Waiting { lock: path });
            }
            if cancel.wait(LOCK_POLL) {
                return Err(PullError::Cancelled);
            }
        }
    }
}

fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A relative link, so that the cache can be moved. It takes the place of one that leads elsewhere.
fn link(snapshot: &Path, file: &FileName, blob: &str, new: &Path) -> Result<(), PullError> {
    let path = snapshot.join(file.as_str());
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let depth = file.as_str().split('/').count() + 1;
    let target = format!("{}blobs/{blob}", "../".repeat(depth));
    remove_if_there(new)?;
    symlink(target, new).map_err(PullError::files("make the link", new))?;
    fs::rename(new, &path).map_err(PullError::files("make the link", &path))
}

fn make_folder(path: &Path) -> Result<(), PullError> {
    fs::create_dir_all(path).map_err(PullError::files("make the folder", path))
}

fn remove_if_there(path: &Path) -> Result<(), PullError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(PullError::files("delete", path)),
    }
}
