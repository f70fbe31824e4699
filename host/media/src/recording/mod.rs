//! Recordings of a path's output: `recorder` takes its units and ends where it must, `files` writes them.

mod files;
mod recorder;

pub(crate) use files::{Folder, recover};
pub(crate) use recorder::Recorder;

use std::path::PathBuf;
use std::time::Duration;

/// Where recordings go, and how much of them there may be.
#[derive(Clone, Debug)]
pub struct RecordingConfig {
    /// Has a folder for each stream that was recorded.
    pub folder: PathBuf,
    /// What one may become, until it ends.
    pub max_length: Duration,
    pub max_bytes: u64,
    /// What is left of the disk for everything else.
    pub min_free_bytes: u64,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            folder: "recordings".into(),
            max_length: Duration::from_secs(4 * 3600),
            max_bytes: 8 << 30,
            min_free_bytes: 1 << 30,
        }
    }
}
