//! From a key of `lora_dict` to a safetensors file: a path, a file or folder under `models`, or the hub's cache.

use std::path::{Component, Path, PathBuf};

use super::{MAX_ID_BYTES, ModelRoots, ResolveError, is_id, snapshot};

/// What trainers that follow diffusers call the file.
const USUAL: &str = "pytorch_lora_weights.safetensors";
const ENDING: &str = ".safetensors";
/// A folder with more files is none of LoRAs.
const MAX_LISTED: usize = 1000;

/// Whether a key can name a LoRA at all. File names may hold spaces and brackets, unlike the hub's ids. The way to an
/// absolute path may lead through hidden folders, as to the hub's cache.
pub fn is_lora_name(name: &str) -> bool {
    let path = Path::new(name);
    let is_plain = |component| match component {
        Component::RootDir => true,
        Component::Normal(part) => path.is_absolute() || !part.to_string_lossy().starts_with('.'),
        _ => false,
    };
    let is_text = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '\\');
    is_text && name.len() <= MAX_ID_BYTES && path.components().all(is_plain)
}

impl ModelRoots {
    /// The file of a LoRA.
    pub fn resolve_lora(&self, name: &str) -> Result<PathBuf, ResolveError> {
        if !is_lora_name(name) {
            let name = name.chars().take(MAX_ID_BYTES).collect();
            return Err(ResolveError::LoraName { name });
        }
        if Path::new(name).is_absolute() {
            self.inside(name)?;
            return in_place(Path::new(name), name).unwrap_or_else(|| Err(self.outside(name)));
        }
        let (repository, file) = split(name);
        let cached = self.hub.as_ref().filter(|_| is_id(&repository));
        let cached =
            cached.map(|hub| hub.join(format!("models--{}", repository.replace('/', "--"))));
        let own = self.models.join(name);
        let mut looked = vec![own.clone()];
        if let Some(found) = in_place(&own, name) {
            return found;
        }
        if let Some(cached) = cached {
            let snapshot = snapshot(&cached);
            let found = snapshot.and_then(|snapshot| in_place(&snapshot.join(&file), name));
            if let Some(found) = found {
                return found;
            }
            looked.push(cached.join("snapshots/*").join(&file));
        }
        let download = download(&repository, &file);
        Err(ResolveError::NoLora { name: name.to_owned(), looked, wanted: own, download })
    }
}

/// A name's repository, the first two segments, and the file in it, if one is named.
pub(super) fn split(name: &str) -> (String, String) {
    let ends: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
    match ends.get(1) {
        Some(&at) => (name[..at].to_owned(), name[at + 1..].to_owned()),
        None => (name.to_owned(), String::new()),
    }
}

/// How to fetch a repository, or a file of it.
pub(super) fn download(repository: &str, file: &str) -> String {
    let ending = if file.ends_with(ENDING) { "" } else { ENDING };
    match file {
        "" => repository.to_owned(),
        _ => format!("{repository} --file {file}{ending}"),
    }
}

/// The file at a path, or the one in the folder there.
fn in_place(path: &Path, name: &str) -> Option<Result<PathBuf, ResolveError>> {
    if path.is_file() {
        let is_weights = path.to_string_lossy().ends_with(ENDING);
        let name = name.to_owned();
        return Some(if is_weights {
            Ok(path.into())
        } else {
            Err(ResolveError::LoraName { name })
        });
    }
    let usual = path.join(USUAL);
    if usual.is_file() {
        return Some(Ok(usual));
    }
    let entries = std::fs::read_dir(path).ok()?.flatten().take(MAX_LISTED);
    let is_weights = |path: &PathBuf| path.to_string_lossy().ends_with(ENDING) && path.is_file();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_weights).collect();
    files.sort();
    match files.len() {
        0 => None,
        1 => files.pop().map(Ok),
        _ => Some(Err(ResolveError::SeveralLoras { name: name.to_owned(), files })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk(tempfile::TempDir);

    impl Disk {
        fn with(files: &[&str]) -> Self {
            let disk = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir_all(disk.0.path().join("models")).unwrap();
            for file in files {
                let path = disk.0.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            disk
        }

        fn roots(&self) -> ModelRoots {
            let folder = self.0.path();
            ModelRoots { models: folder.join("models"), hub: Some(folder.join("hub")) }
        }

        /// What a name leads to, as a path below the folder, or the message.
        fn find(&self, name: &str) -> Result<String, String> {
            let root = self.0.path().canonicalize().unwrap();
            let found = self.roots().resolve_lora(name).map_err(|error| error.to_string())?;
            let found = found.canonicalize().unwrap();
            Ok(found.strip_prefix(root).unwrap().display().to_string())
        }
    }

    #[test]
    fn a_lora_is_found_by_file_by_folder_and_in_the_hubs_cache() {
        let disk = Disk::with(&[
            "models/loras/My style (v2).safetensors",
            "models/org/one/anything.safetensors",
            "models/org/usual/pytorch_lora_weights.safetensors",
            "models/org/usual/other.safetensors",
            "hub/models--far--away/snapshots/abc/pytorch_lora_weights.safetensors",
            "hub/models--far--away/snapshots/abc/deep/er.safetensors",
        ]);
        let cached = "hub/models--far--away/snapshots/abc";
        for (name, file) in [
            ("loras/My style (v2).safetensors", "models/loras/My style (v2).safetensors".into()),
            ("org/one", "models/org/one/anything.safetensors".into()),
            ("org/usual", "models/org/usual/pytorch_lora_weights.safetensors".into()),
            ("org/usual/other.safetensors", "models/org/usual/other.safetensors".into()),
            ("far/away", format!("{cached}/pytorch_lora_weights.safetensors")),
            ("far/away/deep/er.safetensors", format!("{cached}/deep/er.safetensors")),
        ] {
            assert_eq!(disk.find(name), Ok(file), "{name}");
        }
        let absolute = disk.roots().models.join("org/one");
        for path in [absolute.clone(), absolute.join("anything.safetensors")] {
            let found = disk.find(path.to_str().unwrap());
            assert_eq!(found.as_deref(), Ok("models/org/one/anything.safetensors"));
        }
    }

    #[test]
    fn a_missing_lora_names_every_place_and_how_to_get_it() {
        let disk = Disk::with(&["models/many/a.safetensors", "models/many/b.safetensors"]);
        let error = disk.find("org/name").unwrap_err();
        for part in ["models/org/name", "hub/models--org--name", "models pull org/name"] {
            assert!(error.contains(part), "{error}");
        }
        let error = disk.find("org/name/file.safetensors").unwrap_err();
        assert!(
            error.contains("streamdiffusion-host models pull org/name --file file.safetensors"),
            "{error}"
        );
        let error = disk.find("many").unwrap_err();
        assert!(error.contains("a.safetensors") && error.contains("b.safetensors"), "{error}");
    }

    #[test]
    fn names_do_not_lead_outside() {
        let disk = Disk::with(&[
            "outside.safetensors",
            "models/notes.txt",
            "models/x/.hidden/a.safetensors",
        ]);
        let outside = disk.0.path().join("outside.safetensors");
        for name in [
            outside.to_str().unwrap(),
            "/etc",
            "/etc/passwd",
            "/",
            "/nowhere/at/all.safetensors",
            "../outside.safetensors",
            "x/../../outside.safetensors",
            "x/.hidden/a.safetensors",
            "x\\..\\a",
            "a\0b",
            "",
            ".",
            "notes.txt",
        ] {
            assert!(disk.find(name).is_err(), "{name:?}");
        }
        let sneaky = format!("{}/../outside.safetensors", disk.roots().models.display());
        assert!(disk.find(&sneaky).is_err());
        std::os::unix::fs::symlink(&outside, disk.0.path().join("models/link.safetensors"))
            .unwrap();
        let link = disk.roots().models.join("link.safetensors");
        assert!(
            disk.find(link.to_str().unwrap()).is_err(),
            "an absolute path's links are followed"
        );
        assert!(disk.find(&"a/".repeat(400)).is_err());
    }
}
