//! Finds ONNX Runtime's library and starts it once for the process.
//!
//! All sessions share one thread pool whose threads sleep when idle: several pools, or spinning threads, would take the
//! cores from the codecs and from each other.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::{Environment, GlobalThreadPoolOptions};

use super::operators;

/// Why ONNX Runtime is not there.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error(
        "ONNX Runtime was not found: ORT_DYLIB_PATH is not set and there is no libonnxruntime.so in {}; \
         `./dev setup` puts it there", directory.display()
    )]
    Absent { directory: PathBuf },
    #[error("ORT_DYLIB_PATH names {}, which is not a file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} cannot be loaded as ONNX Runtime: {why}", path.display())]
    Load { path: PathBuf, why: String },
}

/// ONNX Runtime, loaded and with its thread pool running.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(super) environment: Environment,
    pub(super) library: PathBuf,
}

/// The library can be loaded and its environment made only once in a process.
static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library named by `ORT_DYLIB_PATH`, else the one in `directory`. The first caller's `threads` count
    /// for the whole process.
    pub fn start(directory: &Path, threads: usize) -> Result<Self, RuntimeError> {
        // A caller that panicked while starting left nothing half made.
        let mut started = STARTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(runtime) = &*started {
            return Ok(runtime.clone());
        }
        let path = library(directory, std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from))?;
        let environment = environment(&path, threads)
            .map_err(|why| RuntimeError::Load { path: path.clone(), why })?;
        operators::note(&environment);
        tracing::info!(library = %path.display(), threads, "onnx runtime started");
        Ok(started.insert(Self { environment, library: path }).clone())
    }
}

/// Whether the library that would be loaded has that of a provider beside it.
pub fn has_provider(directory: &Path, provider: &str) -> bool {
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let name = format!("libonnxruntime_providers_{provider}.so");
    library(directory, named).is_ok_and(|path| path.with_file_name(name).exists())
}

fn environment(path: &Path, threads: usize) -> Result<Environment, String> {
    let builder = ort::init_from(path).map_err(|error| error.to_string())?;
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(threads)
        .and_then(|pool| pool.with_inter_threads(1))
        .and_then(|pool| pool.with_spin_control(false));
    let built = pool.and_then(|pool| {
        builder
            .with_name("streamdiffusion-host")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .build()
    });
    built.map_err(|error| error.to_string())
}

/// The library to load, as an absolute path: the loader would look beside the program for a relative one.
fn library(directory: &Path, named: Option<PathBuf>) -> Result<PathBuf, RuntimeError> {
    if let Some(path) = named {
        let found = path.canonicalize().ok().filter(|path| path.is_file());
        return found.ok_or(RuntimeError::NotAFile { path });
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
    };
    // The highest version when there are several.
    let newest = entries.map(|entry| entry.path()).filter(is_library).max();
    newest
        .and_then(|path| path.canonicalize().ok())
        .ok_or_else(|| RuntimeError::Absent { directory: directory.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_by_name_and_its_absence_says_how_to_get_it() {
        let directory = tempfile::tempdir().unwrap();
        let error = library(directory.path(), None).unwrap_err().to_string();
        assert!(
            error.contains("./dev setup")
                && error.contains(&directory.path().display().to_string()),
            "{error}"
        );
        std::fs::write(directory.path().join("libonnxruntime_providers_shared.so"), "").unwrap();
        assert!(library(directory.path(), None).is_err());
        std::fs::write(directory.path().join("libonnxruntime.so.1.31.1"), "").unwrap();
        assert!(library(directory.path(), None).unwrap().ends_with("libonnxruntime.so.1.31.1"));
    }

    #[test]
    fn a_named_library_must_exist() {
        let error = library(Path::new("/"), Some("/nowhere/libonnxruntime.so".into())).unwrap_err();
        assert!(error.to_string().contains("/nowhere/libonnxruntime.so"));
    }
}
