//! For fuzz targets: what becomes of a library's bytes before any of its code runs.

use crate::candidates::{self, Outcome};
use crate::{manifest_section, registry};
use host_ports::Claim;
use plugin_api::Manifest;
use std::io::Cursor;

/// The manifest in a library file.
pub fn section(library: &[u8]) -> Result<Vec<u8>, String> {
    manifest_section::find(Cursor::new(library))
}

/// A manifest that this host can use.
pub fn manifest(bytes: &[u8]) -> Result<Manifest, String> {
    candidates::parse(bytes).map_err(|outcome| match outcome {
        Outcome::Bad { reason, .. } => reason,
        Outcome::Good(_) => "it was not opened".to_owned(),
    })
}

/// What plugins that do not dispute each other's names offer together.
pub fn claims(manifests: &[Manifest]) -> Vec<Claim> {
    registry::claims(manifests.iter()).0
}
