//! An accepted library: the copy that is loaded, and what its manifest says.

use crate::message::LibraryFile;
use plugin_api::{Claim, IMAGE_PROCESSOR_SLOT, Manifest};
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

    /// Whether it contributes an image processor of this name.
    pub(crate) fn has_processor(&self, name: &str) -> bool {
        let slots = self.manifest.contributes.iter();
        slots
            .filter(|slot| slot.slot == IMAGE_PROCESSOR_SLOT)
            .any(|slot| slot.items.iter().any(|choice| choice.value == name))
    }

    /// The claim at `index` of the manifest, if it has that name.
    pub(crate) fn claim(&self, index: usize, pipeline: &str) -> Option<&Claim> {
        self.manifest.claims.get(index).filter(|claim| claim.pipeline == pipeline)
    }
}
