//! Opening a new library once in a process of its own, and remembering what came of it.

use crate::config::Config;
use crate::library::Library;
use crate::process::Spawner;
use crate::workers::{Worker, WorkerError};
use plugin_api::ABI_VERSION;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What came of opening a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Accepted,
    Refused { reason: String },
}

/// Opens a library, or tells what came of it before.
pub(crate) fn probe(config: &Config, spawner: &Spawner, library: &Library) -> Verdict {
    let file = verdict_file(&config.cache_dir, &library.hash);
    if let Some(verdict) = remembered(&file) {
        return verdict;
    }
    let (verdict, is_lasting) = open_once(config, spawner, library);
    if is_lasting && let Err(error) = remember(&file, &verdict) {
        tracing::warn!(file = %file.display(), %error, "verdict not kept; the next start probes again");
    }
    verdict
}

/// The verdict, and whether it would be the same another time.
fn open_once(config: &Config, spawner: &Spawner, library: &Library) -> (Verdict, bool) {
    let limit = config.limits.probe;
    let refused = |reason: String| Verdict::Refused { reason };
    match Worker::start(spawner, config, library, limit, None) {
        Ok(worker) => {
            drop(worker);
            (Verdict::Accepted, true)
        }
        Err(WorkerError::Died { how }) => {
            (refused(format!("the process that opened it {how}")), true)
        }
        Err(WorkerError::Hung { limit }) => {
            (refused(format!("was not open after {} s", limit.as_secs())), true)
        }
        // A library that it needs may be installed later.
        Err(WorkerError::Refused { message }) => (refused(message), false),
        Err(error) => (refused(error.to_string()), false),
    }
}

fn verdict_file(cache_dir: &Path, hash: &str) -> PathBuf {
    cache_dir.join(format!("{hash}.{ABI_VERSION}.verdict.json"))
}

fn remembered(file: &Path) -> Option<Verdict> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn remember(file: &Path, verdict: &Verdict) -> io::Result<()> {
    let unfinished = file.with_extension(format!("tmp-{}", std::process::id()));
    std::fs::write(&unfinished, serde_json::to_vec(verdict)?)?;
    std::fs::rename(unfinished, file)
}
