//! How each plugin has fared since the host started, over all streams.

use host_ports::PipelineError;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Only installed plugins are ever loaded, so there are never many.
#[derive(Default)]
pub struct Tally {
    plugins: Mutex<BTreeMap<String, PluginFigures>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginFigures {
    /// Pipelines that were loaded.
    pub loads: u64,
    /// Calls that the plugin answered with an error, loads among them.
    pub failures: u64,
    /// Workers that died, hung or broke the protocol.
    pub crashes: u64,
}

impl Tally {
    pub fn count_load(&self, plugin: &str) {
        self.plugins().entry(plugin.to_owned()).or_default().loads += 1;
    }

    pub fn count_error(&self, plugin: &str, error: &PipelineError) {
        let mut plugins = self.plugins();
        let figures = plugins.entry(plugin.to_owned()).or_default();
        match error {
            // Asked for by the host.
            PipelineError::Cancelled => {}
            error if error.needs_restart() => figures.crashes += 1,
            _ => figures.failures += 1,
        }
    }

    pub fn snapshot(&self) -> BTreeMap<String, PluginFigures> {
        self.plugins().clone()
    }

    fn plugins(&self) -> MutexGuard<'_, BTreeMap<String, PluginFigures>> {
        // Counters hold at every step.
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
