//! Watching the plugin folders.

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

/// Changed files that wait to be looked at; with more, everything is looked at.
const MAX_WAITING: usize = 256;

/// What is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Files(Vec<PathBuf>),
    Everything,
}

/// What happened in the watched folders, one by one; ends with the watcher.
pub(crate) struct Changes {
    receiver: mpsc::Receiver<Change>,
    /// There was no room for one.
    is_lossy: Arc<AtomicBool>,
}

impl Iterator for Changes {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        let change = self.receiver.recv().ok()?;
        // Those that still wait are looked at once more: they may be older than the look at everything.
        Some(if self.is_lossy.swap(false, Ordering::AcqRel) { Change::Everything } else { change })
    }
}

/// The way into `Changes`.
#[derive(Clone)]
struct Reporter {
    changes: mpsc::SyncSender<Change>,
    is_lossy: Arc<AtomicBool>,
}

impl Reporter {
    fn report(&self, change: Change) {
        if self.changes.try_send(change).is_err() {
            self.is_lossy.store(true, Ordering::Release);
        }
    }
}

fn channel() -> (Reporter, Changes) {
    let (changes, receiver) = mpsc::sync_channel(MAX_WAITING);
    let is_lossy = Arc::new(AtomicBool::new(false));
    (Reporter { changes, is_lossy: is_lossy.clone() }, Changes { receiver, is_lossy })
}

/// Watches folders until it is dropped; then the changes end.
pub(crate) fn watch(folders: &[PathBuf]) -> notify::Result<(RecommendedWatcher, Changes)> {
    let (reporter, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event| {
        let change = match event {
            Ok(event) => to_change(&event),
            // Events were lost.
            Err(_) => Some(Change::Everything),
        };
        if let Some(change) = change {
            reporter.report(change);
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok((watcher, changes))
}

/// Whether a file is a plugin library by its name.
pub(crate) fn is_library(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so")
}

/// A file counts when it is complete (closed after writing, or renamed), or gone; while it is written it does not.
fn to_change(event: &Event) -> Option<Change> {
    if event.need_rescan() {
        return Some(Change::Everything);
    }
    let counts = matches!(
        event.kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_)
    );
    let files: Vec<PathBuf> = event.paths.iter().filter(|path| is_library(path)).cloned().collect();
    (counts && !files.is_empty()).then_some(Change::Files(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_too_many_changes_everything_is_looked_at() {
        let (reporter, mut changes) = channel();
        let one = Change::Files(vec!["a.so".into()]);
        (0..MAX_WAITING).for_each(|_| reporter.report(one.clone()));
        assert_eq!(
            changes.next(),
            Some(one.clone()),
            "as many as there is room for are told apart"
        );
        (0..2).for_each(|_| reporter.report(one.clone()));
        assert_eq!(changes.next(), Some(Change::Everything));
        assert_eq!(changes.next(), Some(one));
    }
}
