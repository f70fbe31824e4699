//! What the catalog is told: where libraries lie, how workers start, how long they may take.

use plugin_api::Environment;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`crate::PluginCatalog`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Folders whose `*.so` are plugins, most important first. Missing ones are made.
    pub folders: Vec<PathBuf>,
    /// Where copies of libraries and verdicts about them are kept.
    pub cache_dir: PathBuf,
    /// What plugins are given.
    pub environment: Environment,
    pub worker: WorkerCommand,
    pub limits: Limits,
    /// Which plugin (by id) has a `pipeline` name that several vendors claim.
    pub pins: HashMap<String, String>,
    /// The vendor that has a disputed name when no pin decides.
    pub own_vendor: String,
    /// Whether each stream gets a worker of its own instead of one per library.
    pub per_stream: bool,
}

impl Config {
    /// Settings with the defaults for everything but the places.
    pub fn new(folders: Vec<PathBuf>, cache_dir: PathBuf, environment: Environment) -> Self {
        Self {
            folders,
            cache_dir,
            environment,
            worker: WorkerCommand::default(),
            limits: Limits::default(),
            pins: HashMap::new(),
            own_vendor: "streamdiffusion-host".into(),
            per_stream: false,
        }
    }
}

/// How a worker is started: a command that ends in [`crate::run_worker`].
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    pub exe: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
}

impl Default for WorkerCommand {
    /// This binary with the argument `worker`.
    fn default() -> Self {
        Self { exe: "/proc/self/exe".into(), args: vec!["worker".into()], env: Vec::new() }
    }
}

/// How long a plugin may be silent before its worker is ended.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Opening a new library for the first time, in a process of its own.
    pub probe: Duration,
    /// Answering `plan`.
    pub plan: Duration,
    /// Loading, from one sign of life to the next.
    pub load: Duration,
    /// Applying hot params.
    pub update: Duration,
    /// A frame, at least; slow pipelines get `frame_factor` times their running mean, and the first frame as long as
    /// loading.
    pub frame: Duration,
    pub frame_factor: u32,
    /// Closing streams and ending, when nobody needs the worker any more.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(5),
            plan: Duration::from_secs(5),
            load: Duration::from_secs(60),
            update: Duration::from_secs(60),
            frame: Duration::from_secs(10),
            frame_factor: 20,
            close: Duration::from_secs(5),
        }
    }
}
