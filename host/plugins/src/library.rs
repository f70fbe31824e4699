//! An accepted library: the copy that is loaded, and what its manifest says.

use crate::message::LibraryFile;
use plugin_api::{Claim, Manifest};
use std::path::PathBuf;

/// A library that may be loaded. Its file is a copy named by content, so it never changes.
#[derive(Debug)]
pub(crate) struct Library {
    pub path: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub hash: String,
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes, hexadecimal.
    pub manifest_hash: String,
}

impl Library {
    pub(crate) fn id(&self) -> &str {
        &self.manifest.id
    }

    pub(crate) fn file(&self) -> LibraryFile {
        let path = self.path.to_string_lossy().into_owned();
        LibraryFile { path, manifest_hash: self.manifest_hash.clone() }
    }

    /// Whether it contributes this value to this slot.
    pub(crate) fn contributes(&self, slot: &str, value: &str) -> bool {
        let slots =
            self.manifest.contributes.iter().filter(|contribution| contribution.slot == slot);
        slots.flat_map(|slot| &slot.items).any(|choice| choice.value == value)
    }

    /// The claim at `index` of the manifest, if it has that name.
    pub(crate) fn claim(&self, index: usize, pipeline: &str) -> Option<&Claim> {
        self.manifest.claims.get(index).filter(|claim| claim.pipeline == pipeline)
    }
}
