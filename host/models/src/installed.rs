//! Which models are on this machine, and whether all of each is there.

use crate::choose::{INDEX, components};
use crate::names::ModelId;
use std::fs;
use std::path::{Path, PathBuf};

/// Ids of folders under `models` have so many parts at most, as those that plugins look for.
const MAX_DEPTH: usize = 4;

#[derive(Debug, PartialEq, Eq)]
pub struct Installed {
    pub id: String,
    pub place: Place,
    /// What it takes of the disk.
    pub bytes: u64,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder under `models`.
    Folder,
    /// The hub's cache.
    Cache,
}

#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Complete,
    /// And what is missing.
    Incomplete(String),
}

/// The models under `models` and in the hub's cache, by id. What cannot be read is left out.
pub fn installed(models: &Path, cache: &Path) -> Vec<Installed> {
    let mut found = Vec::new();
    walk(models, "", MAX_DEPTH, &mut found);
    for folder in entries(cache) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(id) = ModelId::of_folder_name(name) {
            let (id, place) = (id.to_string(), Place::Cache);
            found.push(Installed { id, place, bytes: bytes_of(&folder), state: cached(&folder) });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

fn walk(folder: &Path, id: &str, depth: usize, found: &mut Vec<Installed>) {
    for path in entries(folder).into_iter().filter(|path| path.is_dir()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let id = if id.is_empty() { name.to_owned() } else { format!("{id}/{name}") };
        if is_model(&path) {
            let (bytes, state) = (bytes_of(&path), state_of(&path));
            found.push(Installed { id, place: Place::Folder, bytes, state });
        } else if depth > 1 {
            walk(&path, &id, depth - 1, found);
        }
    }
}

fn is_model(folder: &Path) -> bool {
    has(folder, INDEX) || has(folder, "config.json") || has_weights(folder)
}

/// The snapshot that `main` stands for, else the only one there is, as plugins choose it.
fn cached(folder: &Path) -> State {
    let main = fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let snapshots = folder.join("snapshots");
    let of_main = Some(main.trim())
        .filter(|commit| commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && !commit.is_empty())
        .map(|commit| snapshots.join(commit))
        .filter(|path| path.is_dir());
    match (of_main, &entries(&snapshots)[..]) {
        (Some(snapshot), _) => state_of(&snapshot),
        (None, [only]) => state_of(only),
        (None, []) => State::Incomplete("not fetched to its end".to_owned()),
        (None, _) => State::Incomplete("none of its snapshots is of main".to_owned()),
    }
}

fn state_of(folder: &Path) -> State {
    if let Some(broken) = broken_link(folder, MAX_DEPTH) {
        return State::Incomplete(format!("{} leads nowhere", broken.display()));
    }
    let index = fs::read_to_string(folder.join(INDEX)).ok();
    let Some(index) = index else {
        return match has_weights(folder) {
            true => State::Complete,
            false => State::Incomplete("no .safetensors".to_owned()),
        };
    };
    let Ok(index) = serde_json::from_str(&index) else {
        return State::Incomplete(format!("{INDEX} is no JSON object"));
    };
    let lack = components(&index).into_iter().find_map(|name| lack(folder, &name));
    lack.map_or(State::Complete, State::Incomplete)
}

/// What a component lacks; networks are those with `config.json`.
fn lack(folder: &Path, component: &str) -> Option<String> {
    let path = folder.join(component);
    match (path.is_dir(), has(&path, "config.json")) {
        (false, _) => Some(format!("no {component}")),
        (true, true) if !has_weights(&path) => Some(format!("no .safetensors in {component}")),
        (true, _) => None,
    }
}

/// Folders may be links that lead in circles, so that the depth is bounded.
fn broken_link(folder: &Path, depth: usize) -> Option<PathBuf> {
    entries(folder).into_iter().find_map(|path| match path.is_dir() {
        true if depth > 1 => broken_link(&path, depth - 1),
        true => None,
        false => (!path.exists()).then_some(path),
    })
}

fn has(folder: &Path, file: &str) -> bool {
    folder.join(file).is_file()
}

fn has_weights(folder: &Path) -> bool {
    let is_weights = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "safetensors") && path.is_file()
    };
    entries(folder).iter().any(is_weights)
}

/// Links count as little as they take.
fn bytes_of(folder: &Path) -> u64 {
    let sizes = entries(folder).into_iter().map(|path| match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => bytes_of(&path),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    });
    sizes.sum()
}

/// In the order of their names; none where there is no folder. A file name that begins with a dot is no model's.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_seen = |path: &PathBuf| {
        path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
    };
    let mut paths: Vec<_> = read.map(|entry| entry.path()).filter(is_seen).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn states(root: &Path) -> Vec<(String, Place, u64, String)> {
        let found = installed(&root.join("models"), &root.join("hub"));
        let state = |state| match state {
            State::Complete => "complete".to_owned(),
            State::Incomplete(what) => what.replace(root.to_str().expect("UTF-8"), "."),
        };
        found.into_iter().map(|i| (i.id, i.place, i.bytes, state(i.state))).collect()
    }

    const INDEX_TEXT: &str = r#"{"unet": ["diffusers", "U"], "scheduler": ["diffusers", "S"]}"#;

    #[test]
    fn a_folder_is_complete_when_each_component_is_there_with_its_weights() {
        let root = tempfile::tempdir().expect("a folder");
        let check = |wanted: &str| {
            let found = states(root.path());
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].0.as_str(), found[0].3.as_str()), ("org/name", wanted));
        };
        write(root.path(), "models/README.md", "no model");
        write(root.path(), "models/org/name/model_index.json", "[");
        check("model_index.json is no JSON object");
        write(root.path(), "models/org/name/model_index.json", INDEX_TEXT);
        check("no scheduler");
        write(root.path(), "models/org/name/scheduler/scheduler_config.json", "{}");
        check("no unet");
        write(root.path(), "models/org/name/unet/config.json", "{}");
        check("no .safetensors in unet");
        write(root.path(), "models/org/name/unet/model.fp16.safetensors", "weights");
        check("complete");
    }

    #[test]
    fn a_cached_model_is_what_main_stands_for_and_its_links_must_lead_somewhere() {
        let root = tempfile::tempdir().expect("a folder");
        let commit = "a".repeat(40);
        let check = |wanted: &str, bytes: u64| {
            let wanted = ("org/name".to_owned(), Place::Cache, bytes, wanted.to_owned());
            assert_eq!(states(root.path()), [wanted]);
        };
        write(root.path(), "hub/.locks/models--org--name/pull.lock", "");
        write(root.path(), "hub/models--org--name/blobs/cafe.incomplete", "123");
        check("not fetched to its end", 3);
        let snapshot = root.path().join("hub/models--org--name/snapshots").join(&commit);
        fs::create_dir_all(&snapshot).expect("a folder");
        symlink("../../blobs/cafe", snapshot.join("a.safetensors")).expect("a link");
        check(
            &format!("./hub/models--org--name/snapshots/{commit}/a.safetensors leads nowhere"),
            3,
        );
        write(root.path(), "hub/models--org--name/blobs/cafe", "12345");
        check("complete", 8);
        write(root.path(), "hub/models--org--name/snapshots/other/x.txt", "");
        check("none of its snapshots is of main", 8);
        write(root.path(), "hub/models--org--name/refs/main", &commit);
        check("complete", 48);
    }
}
