//! The image processors that a stream's params name: which plugins have them, which of them were switched off.

use crate::library::Library;
use crate::marks::Mark;
use crate::message::Offered;
use host_ports::SwitchedOff;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOBODYS: &str = "no installed plugin has it";

/// Those that params name.
#[derive(Default)]
pub(crate) struct Named {
    /// The plugins that have them, by name.
    pub found: BTreeMap<String, Arc<Library>>,
    /// Those that no plugin has, or has any more.
    pub missing: Vec<String>,
    /// What goes missing without one, by name, where the pipeline's schema says so.
    pub without: BTreeMap<String, String>,
}

/// Finds those that params name.
pub(crate) type Find = Box<dyn Fn(&Map<String, Value>) -> Named + Send>;

/// The libraries of them that are of other vendors than `library`: a worker is shared by streams with the same ones alone.
pub(crate) fn strangers(
    library: &Library,
    found: BTreeMap<String, Arc<Library>>,
) -> Vec<Arc<Library>> {
    let is_strange = |other: &Arc<Library>| other.manifest.vendor != library.manifest.vendor;
    let by_hash = found.into_values().filter(is_strange).map(|other| (other.hash.clone(), other));
    by_hash.collect::<BTreeMap<_, _>>().into_values().collect()
}

pub(crate) fn hashes(libraries: &[Arc<Library>]) -> Vec<&str> {
    libraries.iter().map(|library| library.hash.as_str()).collect()
}

/// The same as workers are told.
pub(crate) fn offered(found: &BTreeMap<String, Arc<Library>>) -> Vec<Offered> {
    let offered = found.iter().map(|(name, library)| Offered {
        name: name.clone(),
        plugin: library.id().to_owned(),
        library: library.file(),
    });
    offered.collect()
}

/// Those of one stream.
#[derive(Clone, Default)]
pub(crate) struct Processors {
    pub offered: Vec<Offered>,
    /// What goes missing without one, by name.
    without: BTreeMap<String, String>,
    off: Vec<SwitchedOff>,
}

impl Processors {
    /// Those that params name. One that was switched off and is no longer named gets another chance when it is named
    /// again; one that was missing gets it when it is there.
    pub(crate) fn name(
        &mut self,
        offered: Vec<Offered>,
        missing: Vec<String>,
        without: BTreeMap<String, String>,
    ) {
        let is_named = |off: &SwitchedOff| offered.iter().any(|one| one.name == off.name);
        self.off.retain(|off| off.plugin.is_some() && is_named(off));
        self.without = without;
        for name in missing {
            let reason = self.told(&name, NOBODYS.into());
            self.off.push(SwitchedOff { name, plugin: None, reason });
        }
        self.offered = offered;
    }

    /// The reason, with what it means where that is known.
    fn told(&self, name: &str, reason: String) -> String {
        match self.without.get(name) {
            Some(without) => format!("{without}: {reason}"),
            None => reason,
        }
    }

    /// Which one the worker's mark names.
    pub(crate) fn marked(&self, mark: Mark) -> Option<&Offered> {
        self.offered.iter().find(|one| Mark::of(one) == mark)
    }

    /// Whatever a worker says, only those named can be switched off, each once.
    pub(crate) fn switch_off(&mut self, name: &str, reason: String) {
        let Some(one) = self.offered.iter().find(|one| one.name == name) else { return };
        if self.off.iter().all(|off| off.name != name) {
            tracing::warn!(plugin = one.plugin, processor = name, reason, "processor switched off");
            let (name, plugin) = (one.name.clone(), Some(one.plugin.clone()));
            let reason = self.told(&name, reason);
            self.off.push(SwitchedOff { name, plugin, reason });
        }
    }

    pub(crate) fn off(&self) -> &[SwitchedOff] {
        &self.off
    }

    /// What a worker that starts is told of those that ended another one.
    pub(crate) fn off_by_name(&self) -> Vec<(String, String)> {
        self.off.iter().map(|off| (off.name.clone(), off.reason.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::LibraryFile;

    fn offered(names: &[&str]) -> Vec<Offered> {
        let library = LibraryFile { path: "p".into(), manifest_hash: "h".into() };
        let one = |name: &&str| Offered {
            name: (*name).to_owned(),
            plugin: "tints".into(),
            library: library.clone(),
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn what_is_switched_off_is_named_and_told_once() {
        let mut processors = Processors::default();
        processors.name(offered(&["blur", "tint"]), vec![], BTreeMap::new());
        processors.switch_off("tint", "it broke".into());
        processors.switch_off("tint", "it broke again".into());
        processors.switch_off("elsewhere", "it never was".into());
        assert_eq!(processors.off_by_name(), [("tint".to_owned(), "it broke".to_owned())]);
        processors.name(offered(&["tint"]), vec![], BTreeMap::new());
        assert_eq!(processors.off().len(), 1, "it is still named");
        processors.name(offered(&["blur"]), vec![], BTreeMap::new());
        processors.name(offered(&["blur", "tint"]), vec![], BTreeMap::new());
        assert!(processors.off().is_empty(), "it was left out and is named anew");
        processors.name(offered(&["blur"]), vec!["tint".into()], BTreeMap::new());
        assert_eq!(processors.off_by_name(), [("tint".to_owned(), NOBODYS.to_owned())]);
        processors.name(offered(&["blur", "tint"]), vec![], BTreeMap::new());
        assert!(processors.off().is_empty(), "it is there again");
    }

    #[test]
    fn what_goes_missing_without_one_is_told_with_the_reason() {
        let mut processors = Processors::default();
        let without = BTreeMap::from([("check".to_owned(), "nothing is checked".to_owned())]);
        processors.name(offered(&["check", "tint"]), vec![], without.clone());
        processors.switch_off("check", "it broke".into());
        processors.switch_off("tint", "it broke".into());
        let reasons = |processors: &Processors| {
            let off = processors.off().iter();
            off.map(|off| off.reason.clone()).collect::<Vec<_>>()
        };
        assert_eq!(reasons(&processors), ["nothing is checked: it broke", "it broke"]);
        processors.name(offered(&["tint"]), vec!["check".into()], without);
        let wanted = ["it broke".to_owned(), format!("nothing is checked: {NOBODYS}")];
        assert_eq!(reasons(&processors), wanted);
    }

    #[test]
    fn a_mark_names_whom_the_worker_calls() {
        let mut processors = Processors::default();
        processors.name(offered(&["blur", "tint"]), vec![], BTreeMap::new());
        let named = |mark| processors.marked(mark).map(|one| one.name.as_str());
        assert_eq!(named(Mark::of(&offered(&["tint"])[0])), Some("tint"));
        assert_eq!(named(Mark::of(&offered(&["swap"])[0])), None);
        assert_eq!([Mark::IDLE, Mark::OWN].map(named), [None, None]);
    }
}
