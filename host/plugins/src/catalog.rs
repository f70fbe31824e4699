//! The catalog: folders watched, libraries decided upon, pipelines made.

use crate::candidates::{Candidate, examine};
use crate::config::Config;
use crate::files;
use crate::pipeline::{Parts, WorkerPipeline};
use crate::plans::Planners;
use crate::processors::{Named, hashes, offered, strangers};
use crate::registry::{Policy, Registry};
use crate::slots;
use crate::sys::{FrameMemory, InputPool};
use crate::watch::{Change, Changes, is_library, watch};
use crate::workers::Workers;
use host_ports::{
    Claim, ClaimRef, OpenRequest, Opened, PipelineCatalog, PipelineError, Plan, PlanError,
    PluginReport, PluginState, ResolveError,
};
use notify::RecommendedWatcher;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The plugins in the configured folders, kept up to date while it lives.
pub struct PluginCatalog {
    shared: Arc<Shared>,
    // Dropped first: that ends the thread.
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    config: Arc<Config>,
    // Before the workers, whose thread their processes would not outlive.
    planners: Planners,
    workers: Arc<Workers>,
    registry: RwLock<Registry>,
    /// What is known of each file.
    candidates: Mutex<BTreeMap<PathBuf, Candidate>>,
    /// Counts how often the registry was decided anew.
    generation: Mutex<u64>,
    changed: Condvar,
    /// Whom to tell of it.
    listeners: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl PluginCatalog {
    /// Looks at all libraries (new ones are probed) and begins to watch.
    pub fn new(mut config: Config) -> io::Result<Self> {
        std::fs::create_dir_all(&config.cache_dir)?;
        config.folders.retain(|folder| is_usable(folder));
        // Watched before looked at, so that nothing slips in between.
        let (watcher, changes) = watch(&config.folders).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            config: Arc::new(config),
            workers: Arc::new(Workers::new()?),
            planners: Planners::default(),
            registry: RwLock::default(),
            candidates: Mutex::default(),
            generation: Mutex::default(),
            changed: Condvar::new(),
            listeners: Mutex::default(),
        });
        shared.look_at_everything();
        shared.clean_cache();
        let thread = follow(shared.clone(), changes)?;
        Ok(Self { shared, watcher: Some(watcher), thread: Some(thread) })
    }

    /// Counts how often the set of plugins was decided anew: when it is unchanged, so is everything the catalog lists.
    pub fn generation(&self) -> u64 {
        *lock(&self.shared.generation)
    }

    /// Waits until the set of plugins has been decided anew since `seen`, at most for `limit`; gives the generation.
    pub fn wait_for_change(&self, seen: u64, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        let mut generation = lock(&self.shared.generation);
        while *generation == seen {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            generation = match self.shared.changed.wait_timeout(generation, left) {
                Ok((generation, _)) => generation,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        *generation
    }
}

impl Drop for PluginCatalog {
    fn drop(&mut self) {
        self.watcher.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl PipelineCatalog for PluginCatalog {
    fn plugins(&self) -> Vec<PluginReport> {
        self.shared.read(|registry| registry.reports.clone())
    }

    fn claims(&self) -> Vec<Claim> {
        self.shared.read(Registry::claims)
    }

    fn resolve(&self, pipeline: &str, model_id: Option<&str>) -> Result<Claim, ResolveError> {
        self.shared.read(|registry| registry.resolve(pipeline, model_id))
    }

    fn plan(
        &self,
        claim: &ClaimRef,
        previous: Option<&Map<String, Value>>,
        params: &Map<String, Value>,
    ) -> Result<Plan, PlanError> {
        let plugin = claim.plugin.clone();
        let Some(library) = self.shared.read(|registry| registry.plugin(&plugin).cloned()) else {
            return Err(PlanError::Gone { plugin });
        };
        let Some(of_library) = library.claim(claim.index, &claim.pipeline) else {
            return Err(PlanError::Gone { plugin });
        };
        let Shared { config, workers, planners, .. } = &*self.shared;
        let found = self.shared.named(of_library, params).found;
        let before = previous.map(|previous| self.shared.named(of_library, previous).found);
        let mut all = before.clone().unwrap_or_default();
        all.extend(found.clone());
        let mut plan = planners
            .plan((config, workers), &library, &claim.pipeline, previous, params, offered(&all))
            .map_err(|message| PlanError::Failed { plugin, message })?;
        // Another vendor's library takes another worker, as it might end that of other streams.
        if let Some((previous, before)) = previous.zip(before)
            && hashes(&strangers(&library, before)) != hashes(&strangers(&library, found))
        {
            let sides = [previous, params];
            plan.reload.extend(slots::changed(&of_library.params, sides));
        }
        Ok(plan)
    }

    fn open(&self, request: OpenRequest) -> Result<Opened, PipelineError> {
        let ClaimRef { plugin, pipeline, index } = request.claim;
        let cannot = |message: String| PipelineError::CannotLoad { message };
        let library = self.shared.read(|registry| registry.plugin(&plugin).cloned());
        let claim = library.as_ref().and_then(|library| library.claim(index, &pipeline).cloned());
        let (library, claim) =
            library.zip(claim).ok_or_else(|| cannot(PlanError::Gone { plugin }.to_string()))?;
        let trouble = |error: io::Error| cannot(format!("no frame memory: {error}"));
        let memory = FrameMemory::new(request.formats).map_err(trouble)?;
        let input = Arc::new(InputPool(memory.clone()));
        let (config, workers) = (self.shared.config.clone(), self.shared.workers.clone());
        let shared = self.shared.clone();
        let find = Box::new(move |params: &Map<String, Value>| shared.named(&claim, params));
        let parts = Parts { library, claim: index, config, workers, memory, find };
        let pipeline = Box::new(WorkerPipeline::new(parts).map_err(trouble)?);
        Ok(Opened { pipeline, input })
    }

    fn tell_changes(&self, told: Box<dyn Fn() + Send + Sync>) {
        lock(&self.shared.listeners).push(told);
    }
}

impl Shared {
    fn read<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What params name for the pipeline to open.
    fn named(&self, claim: &plugin_api::Claim, params: &Map<String, Value>) -> Named {
        self.read(|registry| registry.named(claim, params))
    }

    fn look_at_everything(&self) {
        let files: Vec<PathBuf> =
            self.config.folders.iter().flat_map(|folder| libraries_in(folder)).collect();
        let found = examine(&self.config, self.workers.spawner(), &files);
        *lock(&self.candidates) =
            found.into_iter().map(|candidate| (candidate.path.clone(), candidate)).collect();
        self.decide();
    }

    fn look_at(&self, files: &[PathBuf]) {
        let found = examine(&self.config, self.workers.spawner(), files);
        {
            let mut candidates = lock(&self.candidates);
            candidates.retain(|path, _| !files.contains(path));
            candidates.extend(found.into_iter().map(|found| (found.path.clone(), found)));
        }
        self.decide();
    }

    fn decide(&self) {
        let policy = Policy { pins: &self.config.pins, own_vendor: &self.config.own_vendor };
        let registry = Registry::new(&self.by_folder(), &policy);
        {
            let mut current = self.registry.write().unwrap_or_else(PoisonError::into_inner);
            log_changes(&current.reports, &registry.reports);
            *current = registry;
        }
        self.planners.retain(|hash| self.read(|registry| registry.has_hash(hash)));
        *lock(&self.generation) += 1;
        self.changed.notify_all();
        lock(&self.listeners).iter().for_each(|told| told());
    }

    /// All candidates, in the order of the folders and then by name.
    fn by_folder(&self) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = lock(&self.candidates).values().cloned().collect();
        let folders = &self.config.folders;
        let rank = |path: &Path| folders.iter().position(|folder| path.parent() == Some(folder));
        candidates.sort_by_key(|candidate| rank(&candidate.path));
        candidates
    }

    fn clean_cache(&self) {
        let hashes: Vec<String> =
            lock(&self.candidates).values().map(|candidate| candidate.hash.clone()).collect();
        let cache_dir = &self.config.cache_dir;
        if let Err(error) =
            files::clean_cache(cache_dir, |hash| hashes.iter().any(|kept| kept == hash))
        {
            tracing::warn!(folder = %cache_dir.display(), %error, "old copies of plugins not removed");
        }
    }
}

/// Body and start of the `plugin-scan` thread: looks at what changed, until the watcher is dropped.
fn follow(shared: Arc<Shared>, changes: Changes) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("plugin-scan".into()).spawn(move || {
        for change in changes {
            match change {
                Change::Files(files) => shared.look_at(&files),
                Change::Everything => shared.look_at_everything(),
            }
        }
    })
}

/// Whether a plugin folder can be watched. One that does not exist is made, so that plugins can be dropped into it.
fn is_usable(folder: &Path) -> bool {
    let is_new = !folder.exists();
    match std::fs::create_dir_all(folder) {
        Ok(()) if is_new => tracing::info!(folder = %folder.display(), "plugin folder made"),
        Ok(()) => {}
        Err(error) => {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "plugin folder cannot be made; it is left out");
        }
    }
    folder.is_dir()
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    let entries = entries.unwrap_or_else(|error| {
        tracing::warn!(folder = %folder.display(), %error, "plugin folder cannot be read");
        Vec::new()
    });
    entries.into_iter().map(|entry| entry.path()).filter(|path| is_library(path)).collect()
}

/// One line for each file that is new, different, or gone.
fn log_changes(before: &[PluginReport], after: &[PluginReport]) {
    for report in after.iter().filter(|report| !before.contains(report)) {
        let (file, id, version) = (&report.file, report.id.as_deref(), report.version.as_deref());
        match &report.state {
            PluginState::Accepted => tracing::info!(file, id, version, "plugin accepted"),
            PluginState::Refused { reason } => {
                tracing::warn!(file, id, version, reason, "plugin refused");
            }
        }
    }
    for report in before.iter().filter(|old| after.iter().all(|new| new.file != old.file)) {
        tracing::info!(file = report.file, "plugin removed");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
