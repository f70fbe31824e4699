//! What became of each library file by itself: copied, read, probed.

use crate::config::Config;
use crate::files;
use crate::library::Library;
use crate::manifest_section;
use crate::probe::{Verdict, probe};
use crate::process::Spawner;
use crate::slots;
use plugin_api::{Feature, Manifest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Files that are looked at together: probing waits for processes, so several may.
const AT_ONCE: usize = 4;

/// Characters of a reason. It is listed and logged, and may repeat what the file says at any length.
const LONGEST_REASON: usize = 1000;

/// A library file, alone.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub path: PathBuf,
    /// Empty when the file cannot be read.
    pub hash: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// May be loaded, if no other file has its place.
    Good(Arc<Library>),
    /// The manifest as far as it is known.
    Bad { manifest: Option<Box<Manifest>>, reason: String },
}

/// Looks at files. Files that are gone are left out.
pub(crate) fn examine(config: &Config, spawner: &Spawner, files: &[PathBuf]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for files in files.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let threads: Vec<_> = files
                .iter()
                .filter(|file| file.is_file())
                .map(|file| scope.spawn(|| examine_one(config, spawner, file)))
                .collect();
            candidates.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
        });
    }
    candidates
}

fn examine_one(config: &Config, spawner: &Spawner, path: &Path) -> Candidate {
    let (hash, outcome) = match files::copy_to_cache(path, &config.cache_dir) {
        Ok((hash, copy)) => {
            let library = read(copy, &hash);
            (hash, library.map_or_else(|bad| bad, |library| open(config, spawner, library)))
        }
        Err(error) => {
            let cache_dir = config.cache_dir.display();
            (String::new(), bad(None, format!("it cannot be copied to {cache_dir}: {error}")))
        }
    };
    Candidate { path: path.to_owned(), hash, outcome }
}

/// Everything that can be known without running code.
fn read(path: PathBuf, hash: &str) -> Result<Library, Outcome> {
    let bytes = manifest_section::read(&path).map_err(|reason| bad(None, reason))?;
    let manifest = parse(&bytes)?;
    let manifest_hash = files::hash_bytes(&bytes);
    Ok(Library { path, hash: hash.into(), manifest, manifest_hash })
}

/// A manifest that this host can use.
pub(crate) fn parse(bytes: &[u8]) -> Result<Manifest, Outcome> {
    let manifest = Manifest::parse(bytes).map_err(|error| bad(None, error.to_string()))?;
    if let Err(error) = manifest.check_abi() {
        return Err(bad(Some(manifest), error.to_string()));
    }
    if let Err(reason) = check_features(&manifest).and_then(|()| slots::check(&manifest)) {
        return Err(bad(Some(manifest), reason));
    }
    Ok(manifest)
}

/// What a plugin says of itself needs the features it says it has.
fn check_features(manifest: &Manifest) -> Result<(), String> {
    let pipeline = Feature::Pipeline.id();
    let has_pipelines = manifest.has_feature(pipeline);
    let others = Feature::LENT.map(Feature::id);
    let has_others = others.iter().any(|feature| manifest.has_feature(feature));
    let features = &manifest.features;
    match manifest.claims.is_empty() {
        false if !has_pipelines => {
            Err(format!("it offers {features:?}; its claims need `{pipeline}`"))
        }
        true if !has_pipelines && !has_others => {
            let used = others.join("`, `");
            Err(format!("it offers {features:?}; this host uses `{pipeline}`, `{used}`"))
        }
        _ => Ok(()),
    }
}

fn open(config: &Config, spawner: &Spawner, library: Library) -> Outcome {
    match probe(config, spawner, &library) {
        Verdict::Accepted => Outcome::Good(Arc::new(library)),
        Verdict::Refused { reason } => bad(Some(library.manifest), reason),
    }
}

fn bad(manifest: Option<Manifest>, mut reason: String) -> Outcome {
    if let Some((end, _)) = reason.char_indices().nth(LONGEST_REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    Outcome::Bad { manifest: manifest.map(Box::new), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_reason_is_short_however_long_what_it_is_about() {
        let long = "x".repeat(100_000);
        let refused = |field: &str, value: Value| {
            let mut manifest = json!({
                "id": "a", "vendor": "v", "version": "1.0.0", "abi": "*", "features": ["pipeline/0"],
                "license": "MIT", "description": "d",
                "claims": [{ "pipeline": "a", "description": "d", "params": { "type": "object" } }],
            });
            manifest[field] = value;
            match parse(manifest.to_string().as_bytes()) {
                Err(Outcome::Bad { reason, .. }) => reason,
                other => panic!("{field} is accepted: {other:?}"),
            }
        };
        for (field, value) in
            [("id", json!(long)), ("features", json!([long])), ("claims", json!(long))]
        {
            let reason = refused(field, value);
            assert!(reason.contains("xxx") && reason.len() < 1100, "{} bytes", reason.len());
        }
    }
}
