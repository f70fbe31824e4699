//! Checkpoints in one file: named with or without the ending.

use std::path::{Path, PathBuf};

use super::ResolveError;

const ENDING: &str = "safetensors";
/// Files of the same kind that are not read: what they hold is run, not parsed.
const OTHER_ENDINGS: [&str; 3] = ["ckpt", "pt", "bin"];

/// The model at a path: a folder, a checkpoint, or one whose ending was left out.
pub(super) fn folder_or_file(path: &Path, id: &str) -> Result<Option<PathBuf>, ResolveError> {
    if path.is_dir() {
        return Ok(Some(path.to_owned()));
    }
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        PathBuf::from(name)
    };
    let is_checkpoint = path.extension().is_some_and(|ending| ending == ENDING) && path.is_file();
    let found = if is_checkpoint { path.to_owned() } else { with(ENDING) };
    if found.is_file() {
        return Ok(Some(found));
    }
    let others = OTHER_ENDINGS.map(with);
    let other = std::iter::once(path).chain(others.iter().map(PathBuf::as_path));
    match other.into_iter().find(|path| path.is_file()) {
        Some(path) => {
            Err(ResolveError::NotSafetensors { id: id.to_owned(), path: path.to_owned() })
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelRoots;
    use super::*;

    fn roots(folder: &Path) -> ModelRoots {
        for file in [
            "models/one.safetensors",
            "models/both/unet/config.json",
            "models/both.safetensors",
            "models/old.ckpt",
            "models/text.txt",
            "outside.safetensors",
            "hub/models--org--name/snapshots/abc/sd_xl.safetensors",
        ] {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        ModelRoots { models: folder.join("models"), hub: Some(folder.join("hub")) }
    }

    #[test]
    fn a_checkpoint_is_found_with_and_without_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        let (roots, folder) = (roots(folder.path()), folder.path().canonicalize().unwrap());
        let found = |id: &str| {
            let found = roots.resolve(id).map_err(|error| error.to_string())?;
            let found = found.canonicalize().unwrap();
            Ok::<_, String>(found.strip_prefix(&folder).unwrap().display().to_string())
        };
        for (id, path) in [
            ("one", "models/one.safetensors"),
            ("one.safetensors", "models/one.safetensors"),
            ("both", "models/both"),
            ("both.safetensors", "models/both.safetensors"),
            ("org/name", "hub/models--org--name/snapshots/abc"),
            ("org/name/sd_xl", "hub/models--org--name/snapshots/abc/sd_xl.safetensors"),
            ("org/name/sd_xl.safetensors", "hub/models--org--name/snapshots/abc/sd_xl.safetensors"),
        ] {
            assert_eq!(found(id).as_deref(), Ok(path), "{id}");
        }
        let absolute = folder.join("models/one.safetensors");
        assert_eq!(found(absolute.to_str().unwrap()).as_deref(), Ok("models/one.safetensors"));
        let own = roots.autoencoder(&absolute, None, None).unwrap();
        assert_eq!((own.path, own.warning), (absolute, None));
        for (id, part) in [
            ("old", "old.ckpt, a checkpoint that is no safetensors file"),
            ("old.ckpt", "no safetensors file"),
            ("text.txt", "no safetensors file"),
            ("../outside", "is not a model id"),
            (folder.join("outside.safetensors").to_str().unwrap(), "outside the folders"),
            ("org/name/other", "models pull org/name --file other.safetensors"),
        ] {
            let error = found(id).unwrap_err();
            assert!(error.contains(part), "{id}: {error}");
        }
    }
}
