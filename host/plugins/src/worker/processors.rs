//! The image processors of other plugins that streams of this worker use: their libraries, and who may be called.

use super::open_library;
use crate::marks::Mark;
use crate::message::{LibraryFile, Offered};
use plugin_api::loader::{Lendable, Library};
use plugin_api::{Error, Feature, Manifest};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Libraries that are open, or why they cannot be opened; each is opened once.
#[derive(Default)]
pub(super) struct Libraries {
    opened: Mutex<HashMap<LibraryFile, Arc<OnceLock<Opened>>>>,
}

type Opened = Result<(Arc<Library>, Arc<Manifest>), String>;

impl Libraries {
    fn open(&self, file: &LibraryFile) -> Opened {
        let place = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.entry(file.clone()).or_default().clone()
        };
        // Whatever its constructors do, others are opened meanwhile.
        let open = || open_library(file).map(|(library, manifest)| (library, Arc::new(manifest)));
        place.get_or_init(open).clone()
    }
}

/// Those that one stream or one plan may ask for.
#[derive(Clone, Default)]
pub(super) struct Processors {
    by_name: BTreeMap<String, Processor>,
    /// Names and reasons.
    off: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Processor {
    mark: Mark,
    opened: Opened,
}

impl Processors {
    pub(super) fn new(libraries: &Libraries, offered: &[Offered]) -> Self {
        let processor = |one: &Offered| {
            let opened = libraries.open(&one.library);
            (one.name.clone(), Processor { mark: Mark::of(one), opened })
        };
        Self { by_name: offered.iter().map(processor).collect(), off: BTreeMap::new() }
    }

    /// Those that come after `old`. One that was switched off and is not offered for a while gets another chance.
    pub(super) fn after(mut self, old: &Self) -> Self {
        let off = old.off.iter().filter(|(name, _)| self.by_name.contains_key(*name));
        self.off = off.map(|(name, reason)| (name.clone(), reason.clone())).collect();
        self
    }

    /// Whether it was in use until now.
    pub(super) fn switch_off(&mut self, name: &str, reason: String) -> bool {
        self.off.insert(name.to_owned(), reason).is_none()
    }

    /// The mark of one, whether it may be called or not.
    pub(super) fn mark_of(&self, name: &str) -> Option<Mark> {
        self.by_name.get(name).map(|processor| processor.mark)
    }

    /// The mark of one that may be called.
    pub(super) fn mark(&self, name: &str) -> Result<Mark, Error> {
        self.usable(name).map(|processor| processor.mark)
    }

    fn usable(&self, name: &str) -> Result<&Processor, Error> {
        if let Some(reason) = self.off.get(name) {
            return Err(Error::new(format!("`{name}` is switched off: {reason}")));
        }
        self.by_name.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            Error::invalid(format!(
                "the params name no `{name}` of an installed plugin for a pipeline to open; they name: {}",
                names.join(", ")
            ))
        })
    }

    pub(super) fn find(&self, feature: Feature, name: &str) -> Result<Lendable, Error> {
        let (library, manifest) = self.usable(name)?.opened.clone().map_err(Error::new)?;
        if !library.has(feature) {
            let (id, noun) = (&manifest.id, feature.noun());
            let what = format!("the plugin {id} names `{name}` and cannot open it as a {noun}");
            return Err(Error::new(what));
        }
        Ok(Lendable { library, params: params(&manifest, name) })
    }
}

/// The names of its params; none where it has no schema.
fn params(manifest: &Manifest, name: &str) -> Option<Vec<String>> {
    let mut choices = manifest.contributes.iter().flat_map(|slot| &slot.items);
    let choice = choices.find(|choice| choice.value == name)?;
    let properties = choice.params.as_ref()?.get("properties").and_then(Value::as_object);
    Some(properties.into_iter().flatten().map(|(name, _)| name.clone()).collect())
}
