//! The image processors of other plugins that streams of this worker use: their libraries, and who may be called.

use super::open_library;
use crate::message::{LibraryFile, Offered};
use plugin_api::loader::{Lendable, Library};
use plugin_api::{Error, IMAGE_PROCESSOR_SLOT, Manifest};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Libraries that are open, or why they cannot be opened; each is opened once.
#[derive(Default)]
pub(super) struct Libraries {
    opened: Mutex<HashMap<LibraryFile, Opened>>,
}

type Opened = Result<(Arc<Library>, Arc<Manifest>), String>;

impl Libraries {
    fn open(&self, file: &LibraryFile) -> Opened {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || open_library(file).map(|(library, manifest)| (library, Arc::new(manifest)));
        opened.entry(file.clone()).or_insert_with(open).clone()
    }
}

/// Those that one stream or one plan may ask for.
#[derive(Default)]
pub(super) struct Processors {
    by_name: BTreeMap<String, Processor>,
    /// Names and reasons.
    off: BTreeMap<String, String>,
}

struct Processor {
    /// What the host knows it by in the stream's mark.
    mark: u32,
    opened: Opened,
}

impl Processors {
    pub(super) fn new(libraries: &Libraries, offered: &[Offered]) -> Self {
        let mut processors = Self::default();
        processors.offer(libraries, offered);
        processors
    }

    /// Others than before. One that was switched off and is no longer offered gets another chance when it is again.
    pub(super) fn offer(&mut self, libraries: &Libraries, offered: &[Offered]) {
        let processor = |(mark, one): (u32, &Offered)| {
            (one.name.clone(), Processor { mark, opened: libraries.open(&one.library) })
        };
        self.by_name = (1..).zip(offered).map(processor).collect();
        self.off.retain(|name, _| self.by_name.contains_key(name));
    }

    /// Whether it was in use until now.
    pub(super) fn switch_off(&mut self, name: &str, reason: String) -> bool {
        self.off.insert(name.to_owned(), reason).is_none()
    }

    /// The mark of one that may be called.
    pub(super) fn mark(&self, name: &str) -> Result<u32, Error> {
        self.usable(name).map(|processor| processor.mark)
    }

    fn usable(&self, name: &str) -> Result<&Processor, Error> {
        if let Some(reason) = self.off.get(name) {
            return Err(Error::new(format!("`{name}` is switched off: {reason}")));
        }
        self.by_name.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            Error::invalid(format!(
                "the params name no image processor `{name}` of an installed plugin; they name: {}",
                names.join(", ")
            ))
        })
    }

    pub(super) fn find(&self, name: &str) -> Result<Lendable, Error> {
        let (library, manifest) = self.usable(name)?.opened.clone().map_err(Error::new)?;
        if !library.has_processors() {
            let id = &manifest.id;
            return Err(Error::new(format!("the plugin {id} names `{name}` and cannot open it")));
        }
        Ok(Lendable { library, params: params(&manifest, name) })
    }
}

/// The names of its params; none where it has no schema.
fn params(manifest: &Manifest, name: &str) -> Option<Vec<String>> {
    let slots = manifest.contributes.iter().filter(|slot| slot.slot == IMAGE_PROCESSOR_SLOT);
    let choice = slots.flat_map(|slot| &slot.items).find(|choice| choice.value == name)?;
    let properties = choice.params.as_ref()?.get("properties").and_then(Value::as_object);
    Some(properties.into_iter().flatten().map(|(name, _)| name.clone()).collect())
}
