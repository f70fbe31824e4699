//! Watching the plugin folders.

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// Changed files that wait to be looked at; with more, everything is looked at.
const MAX_WAITING: usize = 256;

/// What is to be looked at again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Files(Vec<PathBuf>),
    Everything,
}

/// Watches folders until it is dropped; then the receiver ends.
pub(crate) fn watch(
    folders: &[PathBuf],
) -> notify::Result<(RecommendedWatcher, mpsc::Receiver<Change>)> {
    let (changes, receiver) = mpsc::sync_channel(MAX_WAITING);
    let mut watcher = notify::recommended_watcher(move |event| {
        let change = match event {
            Ok(event) => to_change(&event),
            // Events were lost.
            Err(_) => Some(Change::Everything),
        };
        if let Some(change) = change
            && changes.try_send(change).is_err()
        {
            tracing::warn!("too many changes in the plugin folders; some were not looked at");
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok((watcher, receiver))
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
