//! From a `model_id` to a folder or a checkpoint in one file: a path, what is under `models`, or the hub's cache.
//!
//! Ids come from clients. They never lead outside the folders the operator named.

mod file;
mod hub;
mod lora;
mod single;

pub use lora::is_lora_name;

use std::path::{Component, Path, PathBuf};

use plugin_api::Artefact;

use crate::config::Config;

/// Ids are `org/name`, with room for deeper folders under `models`.
const MAX_SEGMENTS: usize = 4;
const MAX_ID_BYTES: usize = 256;

/// The model that comes with the project, and how it is asked for.
const DEMO: &str = "demo";
const DEMO_HINT: &str = "; a small model that needs no download is here: \"pipeline\": \"streamdiffusion-sd15\", \
                         \"params\": {\"model_id\": \"demo\", \"t_index_list\": [32]}";

/// Why a model was not found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("`{id}` is not a model id: wanted is ORG/NAME of letters, digits, `.`, `_` and `-`")]
    Id { id: String },
    #[error("`{id}` names {}, a checkpoint that is no safetensors file; convert it to one, or get the one of that ending", path.display())]
    NotSafetensors { id: String, path: PathBuf },
    #[error("the path `{id}` lies outside the folders models may come from: {}", list(roots))]
    Outside { id: String, roots: Vec<PathBuf> },
    #[error(
        "model `{id}` was not found, looked at {}; run `streamdiffusion-host models pull {download}` or copy a diffusers folder or a .safetensors checkpoint to {}{}",
        list(looked), wanted.display(), if *has_demo { DEMO_HINT } else { "" }
    )]
    NotFound {
        id: String,
        looked: Vec<PathBuf>,
        wanted: PathBuf,
        download: String,
        /// Whether the demo model is there to begin with.
        has_demo: bool,
    },
    #[error(
        "`{name}` names no LoRA: wanted is a .safetensors file or a folder with one, below the models folder or as ORG/NAME of the hub"
    )]
    LoraName { name: String },
    #[error(
        "LoRA `{name}` was not found, looked at {}; run `streamdiffusion-host models pull {download}` or copy its .safetensors file to {}",
        list(looked), wanted.display()
    )]
    NoLora { name: String, looked: Vec<PathBuf>, wanted: PathBuf, download: String },
    #[error(
        "`{file}` of `{model}` was not found, looked at {}; run `streamdiffusion-host models pull {model} --file {file}` or copy it to {}",
        list(looked), wanted.display()
    )]
    NoFile { model: String, file: String, looked: Vec<PathBuf>, wanted: PathBuf },
    #[error("LoRA `{name}` is a folder with several files, name one of them: {}", list(files))]
    SeveralLoras { name: String, files: Vec<PathBuf> },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where an autoencoder is, and what its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenAutoencoder {
    /// Its folder, or a checkpoint in one file that has one.
    pub path: PathBuf,
    pub warning: Option<String>,
    /// What would be used in its place, were it here.
    pub missing: Option<Artefact>,
}

fn is_tiny(folder: &Path) -> bool {
    let config = Config::read(&folder.join("config.json"));
    config.is_ok_and(|config| {
        config.get("_class_name").is_some_and(|class| class == "AutoencoderTiny")
    })
}

/// Where models are looked for.
#[derive(Clone, Debug)]
pub struct ModelRoots {
    /// Folders named by id.
    pub models: PathBuf,
    /// The hub's cache, `$HF_HOME/hub`.
    pub hub: Option<PathBuf>,
}

impl ModelRoots {
    /// With the hub's cache where the hub's own tools put it.
    pub fn from_environment(models: PathBuf) -> Self {
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let hub = variable("HF_HUB_CACHE")
            .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/huggingface/hub")));
        Self { models, hub }
    }

    /// The folder or file of a model. Where it is not found, another that is there is named.
    pub fn resolve(&self, id: &str) -> Result<PathBuf, ResolveError> {
        let mut found = self.find(id);
        if let Err(ResolveError::NotFound { has_demo, .. }) = &mut found {
            *has_demo = self.models.join(DEMO).join("model_index.json").is_file();
        }
        found
    }

    /// As [`ModelRoots::resolve`], for what another model could not stand in for.
    pub fn find(&self, id: &str) -> Result<PathBuf, ResolveError> {
        if Path::new(id).is_absolute() {
            return self.resolve_path(id);
        }
        if !is_id(id) {
            return Err(ResolveError::Id { id: id.chars().take(MAX_ID_BYTES).collect() });
        }
        let own = self.models.join(id);
        let mut looked = vec![own.clone()];
        if let Some(found) = single::folder_or_file(&own, id)? {
            return Ok(found);
        }
        let (repository, file) = lora::split(id);
        if let Some(hub) = &self.hub {
            let cached = hub.join(format!("models--{}", repository.replace('/', "--")));
            if let Some(snapshot) = snapshot(&cached)
                && let Some(found) = single::folder_or_file(&snapshot.join(&file), id)?
            {
                return Ok(found);
            }
            looked.push(cached);
        }
        let (id, wanted, download) = (id.to_owned(), own, lora::download(&repository, &file));
        Err(ResolveError::NotFound { id, looked, wanted, download, has_demo: false })
    }

    /// The autoencoder for a model: the wished one, else the `small` one of its family if one is named, else the model's
    /// own. A model whose own is small keeps it: its latents need not be those of its family.
    pub fn autoencoder(
        &self,
        model: &Path,
        wish: Option<&str>,
        small: Option<&str>,
    ) -> Result<ChosenAutoencoder, ResolveError> {
        let own = if model.is_file() { model.to_owned() } else { model.join("vae") };
        let chosen = |path| Ok(ChosenAutoencoder { path, warning: None, missing: None });
        match (wish, small) {
            (Some(id), _) => chosen(self.find(id)?),
            (None, Some(id)) if !is_tiny(&own) => match self.find(id) {
                Ok(folder) => chosen(folder),
                Err(error) => {
                    let warning =
                        format!("the model's own autoencoder is used, which is slower: {error}");
                    let missing = error.artefact();
                    Ok(ChosenAutoencoder { path: own, warning: Some(warning), missing })
                }
            },
            _ => chosen(own),
        }
    }

    fn resolve_path(&self, id: &str) -> Result<PathBuf, ResolveError> {
        self.inside(id)?;
        single::folder_or_file(Path::new(id), id)?.ok_or_else(|| self.outside(id))
    }

    /// An absolute path is taken when it lies, links followed, in one of the roots.
    fn inside(&self, id: &str) -> Result<PathBuf, ResolveError> {
        let path = Path::new(id).canonicalize().ok();
        let is_inside = |path: &PathBuf| {
            self.roots()
                .filter_map(|root| root.canonicalize().ok())
                .any(|root| path.starts_with(root))
        };
        path.filter(is_inside).ok_or_else(|| self.outside(id))
    }

    /// One answer for absent and forbidden: a client learns nothing about the rest of the disk.
    fn outside(&self, id: &str) -> ResolveError {
        ResolveError::Outside { id: id.to_owned(), roots: self.roots().cloned().collect() }
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.models).chain(&self.hub)
    }
}

fn is_id(id: &str) -> bool {
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_relative =
        Path::new(id).components().all(|component| matches!(component, Component::Normal(_)));
    id.len() <= MAX_ID_BYTES
        && is_relative
        && id.split('/').count() <= MAX_SEGMENTS
        && id.split('/').all(is_plain)
}

/// The snapshot that `main` stands for, else the only one there is.
fn snapshot(cached: &Path) -> Option<PathBuf> {
    let snapshots = cached.join("snapshots");
    let main = std::fs::read_to_string(cached.join("refs/main")).ok();
    let main = main.map(|revision| revision.trim().to_owned()).filter(|revision| is_id(revision));
    if let Some(found) = main.map(|revision| snapshots.join(revision)).filter(|path| path.is_dir())
    {
        return Some(found);
    }
    let mut entries = std::fs::read_dir(snapshots).ok()?.flatten().map(|entry| entry.path());
    let only = entries.next()?;
    (entries.next().is_none() && only.is_dir()).then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(folder: &Path) -> ModelRoots {
        ModelRoots { models: folder.join("models"), hub: Some(folder.join("hub")) }
    }

    #[test]
    fn models_are_found_by_id_in_the_folder_and_in_the_hubs_cache() {
        let folder = tempfile::tempdir().unwrap();
        let roots = roots(folder.path());
        let own = folder.path().join("models/test/tiny");
        let revision = folder.path().join("hub/models--org--name/snapshots/abc123");
        let refs = folder.path().join("hub/models--org--name/refs");
        for path in [&own, &revision, &refs] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(refs.join("main"), "abc123\n").unwrap();
        assert_eq!(roots.resolve("test/tiny").unwrap(), own);
        assert_eq!(roots.resolve("org/name").unwrap(), revision);
        assert_eq!(roots.resolve(own.to_str().unwrap()).unwrap(), own.canonicalize().unwrap());
        std::fs::write(refs.join("main"), "../../../..").unwrap();
        assert_eq!(roots.resolve("org/name").unwrap(), revision);
    }

    #[test]
    fn a_missing_model_names_every_place_and_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = roots(folder.path()).resolve("org/name").unwrap_err().to_string();
        for part in [
            "models/org/name",
            "hub/models--org--name",
            "streamdiffusion-host models pull org/name",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("demo"), "{error}");
    }

    #[test]
    fn a_missing_model_names_the_demo_where_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let roots = roots(folder.path());
        let demo = roots.models.join("demo");
        std::fs::create_dir_all(&demo).unwrap();
        let message = |id: &str| roots.resolve(id).unwrap_err().to_string();
        assert!(!message("org/name").contains(DEMO_HINT), "an empty folder is no model");
        std::fs::write(demo.join("model_index.json"), "{}").unwrap();
        assert!(message("org/name").ends_with(DEMO_HINT), "{}", message("org/name"));
        let autoencoder = roots.autoencoder(&demo, Some("no/such"), None).unwrap_err().to_string();
        assert!(!autoencoder.contains(DEMO_HINT), "it is no autoencoder: {autoencoder}");
    }

    #[test]
    fn the_small_autoencoder_is_used_where_it_fits_and_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let roots = roots(folder.path());
        let own = roots.models.join("org/name/vae");
        std::fs::create_dir_all(&own).unwrap();
        let choose = |wish, small| roots.autoencoder(own.parent().unwrap(), wish, small).unwrap();
        let small = Some("madebyollin/taesd");
        let fallback = choose(None, small);
        assert_eq!(fallback.path, own);
        assert!(fallback.warning.unwrap().contains("madebyollin/taesd"));
        assert_eq!(fallback.missing.unwrap().model, "madebyollin/taesd");
        let tiny = roots.models.join("madebyollin/taesd");
        std::fs::create_dir_all(&tiny).unwrap();
        let chosen = |path| ChosenAutoencoder { path, warning: None, missing: None };
        assert_eq!(choose(None, small), chosen(tiny.clone()));
        assert_eq!(choose(None, None).path, own);
        assert_eq!(choose(small, None).path, tiny);
        std::fs::write(own.join("config.json"), r#"{"_class_name": "AutoencoderTiny"}"#).unwrap();
        assert_eq!(choose(None, small), chosen(own.clone()));
        assert!(roots.autoencoder(&own, Some("no/such"), small).is_err());
    }

    #[test]
    fn ids_do_not_lead_outside() {
        let folder = tempfile::tempdir().unwrap();
        let roots = roots(folder.path());
        std::fs::create_dir_all(&roots.models).unwrap();
        for id in
            ["..", "../x", "a/../../x", "a//b", "", ".hidden/x", "a\0b", "a/b/c/d/e", "a b", "a\\b"]
        {
            assert!(matches!(roots.resolve(id), Err(ResolveError::Id { .. })), "{id:?}");
        }
        assert!(matches!(roots.resolve("/etc"), Err(ResolveError::Outside { .. })));
        let sneaky = format!("{}/../..", roots.models.display());
        assert!(matches!(roots.resolve(&sneaky), Err(ResolveError::Outside { .. })));
    }
}
