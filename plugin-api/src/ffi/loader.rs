//! The host's side: a plugin library opened, checked and called.

use super::calls::{Callee, LoadedPipeline, Wanted};
use super::host_context::HostContext;
#[cfg(feature = "layout")]
use super::read::bytes_of;
use super::read::{read_bytes, read_versioned};
use crate::abi::*;
use crate::{Error, Feature, Manifest};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The entry symbol of this ABI major.
const ENTRY: &str = "sdh_plugin_entry_0";

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic linker refused it.
    #[error("the library cannot be opened: {reason}")]
    Open {
        /// What the linker says.
        reason: String,
    },
    /// It is no plugin, or one for another ABI major.
    #[error("the library has no symbol `{ENTRY}`; it is no plugin, or one for another ABI major")]
    NoEntry,
    /// A table is missing, too small or incomplete.
    #[error("the library's tables are not those of ABI 0.1: {what}")]
    Table {
        /// What is wrong.
        what: String,
    },
    /// abi_stable layouts are carried and differ.
    #[error("{what}; rebuild the plugin with this host's plugin-api")]
    Layout {
        /// Which and how.
        what: String,
    },
}

/// An open plugin library. It is never unloaded: threads of its own, thread-local destructors and exit handlers may run
/// its code at any later time.
pub struct Library {
    plugin: SdhPlugin,
    /// Of what it has, and not only names.
    tables: BTreeMap<Feature, Callee>,
}

// SAFETY: the tables hold functions that the ABI lets be called from any thread, and pointers to constant bytes.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Opens a library and checks its tables. Its constructors run, so it may do anything to this process.
    pub fn open(path: &Path) -> Result<Arc<Self>, LoadError> {
        // SAFETY: loading runs the library's constructors, which nobody can check. Callers do it in processes that may
        // end; the handle is leaked below, so no code of the library is unmapped while in use.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
            let reason = error_chain(&error);
            LoadError::Open { reason }
        })?;
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        // SAFETY: the symbol's name carries the ABI major, which fixes its type.
        let entry =
            unsafe { library.get::<SdhPluginEntry>(ENTRY) }.map_err(|_| LoadError::NoEntry)?;
        // SAFETY: the entry takes nothing and may be called from any thread.
        let plugin = unsafe { entry() };
        // SAFETY: by the ABI it is null or a static table.
        let plugin = unsafe { read_versioned(plugin.cast_mut(), size_of::<SdhPlugin>()) }
            .map_err(|error| LoadError::Table { what: error.message })?;
        let mut library = Self { plugin, tables: BTreeMap::new() };
        library.check()?;
        for feature in Feature::ALL {
            let found = Callee::find(plugin.get_feature, plugin.last_error, feature);
            let found = found.map_err(|what| LoadError::Table { what })?;
            library.tables.extend(found.map(|table| (feature, table)));
        }
        if !library.has(Feature::Pipeline) && library.offers_pipelines() {
            let id = Feature::Pipeline.id();
            return Err(LoadError::Table { what: format!("{id}: SdhPipelineTable is null") });
        }
        Ok(Arc::new(library))
    }

    /// The manifest in the library's table, which has to be the one of its section.
    pub fn manifest(&self) -> &[u8] {
        // SAFETY: by the ABI the bytes are static.
        unsafe { read_bytes(self.plugin.manifest) }.unwrap_or_default()
    }

    /// Whether what it has of a feature can be opened.
    pub fn has(&self, feature: Feature) -> bool {
        self.tables.contains_key(&feature)
    }

    /// Asks for a plan; gives the JSON text. `previous` is a JSON object.
    pub fn plan(
        &self,
        host: &HostContext,
        wanted: Wanted<'_>,
        previous: Option<&str>,
    ) -> Result<String, Error> {
        self.callee(wanted)?.plan(host, wanted, previous)
    }

    /// Loads what is wanted. It keeps `host`, so that its callbacks work as long as it lives.
    pub fn load(
        &self,
        host: HostContext,
        wanted: Wanted<'_>,
    ) -> Result<Arc<LoadedPipeline>, Error> {
        self.callee(wanted)?.load(Box::new(host), wanted)
    }

    fn callee(&self, wanted: Wanted<'_>) -> Result<Callee, Error> {
        self.tables.get(&wanted.feature).copied().ok_or_else(|| {
            Error::invalid(format!("this plugin offers no {} to call", wanted.feature.noun()))
        })
    }

    /// A manifest that cannot be read is for others to refuse; most plugins have pipelines.
    fn offers_pipelines(&self) -> bool {
        let manifest = Manifest::parse(self.manifest());
        manifest.map_or(true, |manifest| manifest.has_feature(Feature::Pipeline.id()))
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.plugin.abi_major != SDH_ABI_MAJOR {
            let what = format!("the table is for ABI major {}", self.plugin.abi_major);
            return Err(LoadError::Table { what });
        }
        if self.manifest().is_empty() {
            return Err(LoadError::Table { what: "the manifest is empty".into() });
        }
        self.check_layouts()
    }

    #[cfg(feature = "layout")]
    fn check_layouts(&self) -> Result<(), LoadError> {
        let Some(get_feature) = self.plugin.get_feature else { return Ok(()) };
        // SAFETY: the text is valid during the call, and the function may be called from any thread.
        let table = unsafe { get_feature(bytes_of(crate::layout::FEATURE.as_bytes())) };
        let table = table.cast::<crate::layout::LayoutTable>();
        if table.is_null() {
            return Ok(());
        }
        // SAFETY: a feature's table begins with its size.
        if unsafe { table.cast::<u32>().read() } as usize != size_of::<crate::layout::LayoutTable>()
        {
            let what = "the table of its layouts has an unexpected size".into();
            return Err(LoadError::Layout { what });
        }
        // SAFETY: by the feature's id it is a static table of this type, made by the same version of abi_stable.
        crate::layout::check(unsafe { &*table }).map_err(|what| LoadError::Layout { what })
    }

    #[cfg(not(feature = "layout"))]
    fn check_layouts(&self) -> Result<(), LoadError> {
        Ok(())
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
