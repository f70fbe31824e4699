//! An adapter and what looks at its picture, on this machine.

use super::face::FaceFiles;
use super::params::{Family, Wishes};
use plugin_api::{Artefact, Environment};
use plugins_diffusion::config::{Config, ConfigError};
use plugins_diffusion::files::{FilesError, weights_file};
use plugins_diffusion::nets::{
    ClipVision, ImageProjection, Network as _, Port, ProjectionError, Seen,
};
use plugins_diffusion::resolve::{ModelRoots, ResolveError};
use plugins_diffusion::weights::{Weights, WeightsError};
use std::path::{Path, PathBuf};

/// Where the adapters' authors have them; the one for SDXL was trained with the larger encoder.
const SD15: [&str; 2] =
    ["h94/IP-Adapter/models/ip-adapter_sd15.safetensors", "h94/IP-Adapter/models/image_encoder"];
const SDXL: [&str; 2] = [
    "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors",
    "h94/IP-Adapter/sdxl_models/image_encoder",
];
/// Those for faces, of which only Plus ones look at more than who it is, all by the smaller encoder.
const FACES_SD15: [&str; 2] = ["h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15.bin", SD15[1]];
const FACES_SDXL: [&str; 2] = ["h94/IP-Adapter-FaceID/ip-adapter-faceid_sdxl.bin", SD15[1]];
/// Of an encoder's folder.
const ENCODER: [&str; 2] = ["config.json", "model.safetensors"];

/// Names that stand in the params or for what they leave out.
pub struct Names {
    pub adapter: String,
    pub encoder: String,
}

/// What `type` says of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of pictures as a whole, or of their patches.
    Regular,
    Face,
}

impl Kind {
    /// By the value of the slot.
    pub fn of_name(name: &str) -> Self {
        if name == "faceid" { Self::Face } else { Self::Regular }
    }
}

impl Names {
    pub fn of(wishes: &Wishes, kind: Kind) -> Self {
        let [adapter, encoder] = match (kind, wishes.family) {
            (Kind::Regular, Family::Sd15) => SD15,
            (Kind::Regular, Family::Sdxl) => SDXL,
            (Kind::Face, Family::Sd15) => FACES_SD15,
            (Kind::Face, Family::Sdxl) => FACES_SDXL,
        };
        let or = |wish: &Option<String>, usual: &str| wish.clone().unwrap_or_else(|| usual.into());
        Self {
            adapter: or(&wishes.ipadapter_model_path, adapter),
            encoder: or(&wishes.image_encoder_path, encoder),
        }
    }
}

/// Why an adapter's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(
        "the image encoder `{name}` was not found{}",
        download.as_ref().map_or_else(String::new, |download| format!("; run `streamdiffusion-host models pull {download}`"))
    )]
    NoEncoder { name: String, download: Option<String> },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Encoder(ResolveError),
    #[error("{0} ({licence})", licence = super::face::LICENCE)]
    FaceModel(ResolveError),
    #[error("`{name}` is {is}; `type` has to be {wanted} for it")]
    Kind { name: String, is: &'static str, wanted: &'static str },
    #[error(
        "the adapter `{adapter}` takes {takes} values of an image encoder, `{encoder}` gives {gives}; `image_encoder_path` can name another"
    )]
    Widths { adapter: String, encoder: String, takes: usize, gives: usize },
}

/// What is there, and what its networks look like.
pub struct Files {
    pub adapter: PathBuf,
    pub projection: ImageProjection,
    /// What looks at the picture, or at the face in it.
    pub encoder: Option<(PathBuf, ClipVision)>,
    /// What finds the face and tells whose it is.
    pub faces: Option<FaceFiles>,
}

/// The file of an adapter.
pub fn find_adapter(names: &Names, roots: &ModelRoots) -> Result<PathBuf, AdapterError> {
    let name = &names.adapter;
    match roots.find(name) {
        // Its pickle is parsed, never run.
        Err(ResolveError::NotSafetensors { path, .. }) if is_bin(&path) => Ok(path),
        Err(ResolveError::NotFound { .. }) if is_bin(Path::new(name)) => {
            let parts: Vec<&str> = name.splitn(3, '/').collect();
            let [owner, repository, file] = parts[..] else { return Ok(roots.find(name)?) };
            Ok(roots.resolve_file(&format!("{owner}/{repository}"), file)?)
        }
        found => Ok(found?),
    }
}

fn is_bin(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "bin")
}

/// The folder of an image encoder.
pub fn find_encoder(names: &Names, roots: &ModelRoots) -> Result<PathBuf, AdapterError> {
    roots.find(&names.encoder).map_err(|error| match error {
        ResolveError::NotFound { .. } => {
            let name = names.encoder.clone();
            let download = encoder_artefact(&name).map(|artefact| {
                let files = artefact.files.iter().map(|file| format!(" --file {file}"));
                artefact.model + &files.collect::<String>()
            });
            AdapterError::NoEncoder { name, download }
        }
        error => AdapterError::Encoder(error),
    })
}

/// What to fetch for an encoder that is not here: of a name that goes on after the repository's, the files in that folder.
pub fn encoder_artefact(name: &str) -> Option<Artefact> {
    let is_id = !name.starts_with('/') && name.split('/').all(|part| !part.is_empty());
    let parts: Vec<&str> = name.split('/').collect();
    let [owner, repository, folder @ ..] = &parts[..] else { return None };
    let file = |file: &&str| [folder, &[*file]].concat().join("/");
    let files = ENCODER.iter().map(file).collect();
    is_id.then(|| Artefact { files, ..Artefact::of_model(format!("{owner}/{repository}")) })
}

impl Files {
    /// Or all that is missing or does not fit.
    pub fn find(
        names: &Names,
        kind: Kind,
        wishes: &Wishes,
        environment: &Environment,
    ) -> Result<Self, Vec<AdapterError>> {
        let roots = ModelRoots::from_environment(environment.models_dir.clone());
        let adapter = find_adapter(names, &roots).and_then(|path| {
            let projection = ImageProjection::of(&Weights::open(&path)?)?;
            check_kind(kind, &projection, names)?;
            Ok((path, projection))
        });
        let seen = adapter.as_ref().ok().map(|(_, projection)| projection.seen());
        // Of an adapter that is not here its kind has to tell what it needs.
        let needs_encoder = seen.map_or(kind == Kind::Regular, |seen| seen != Seen::Face);
        let face = wishes.insightface_model_name.as_deref();
        let faces = (kind == Kind::Face).then(|| FaceFiles::find(face, &roots)).transpose();
        let encoder = needs_encoder.then(|| encoder(names, &roots)).transpose();
        match (adapter, faces, encoder) {
            (Ok((adapter, projection)), Ok(faces), Ok(encoder)) => {
                let files = Self { adapter, projection, encoder, faces };
                files.check_widths(names).map(|()| files).map_err(|error| vec![error])
            }
            (adapter, faces, encoder) => {
                let faces = faces.err().into_iter().flatten();
                Err(adapter.err().into_iter().chain(faces).chain(encoder.err()).collect())
            }
        }
    }

    /// Whether the projection takes what the encoder gives.
    fn check_widths(&self, names: &Names) -> Result<(), AdapterError> {
        let Some((_, vision)) = &self.encoder else { return Ok(()) };
        let [hidden, pooled] = &vision.outputs()[..] else { unreachable!("it has two outputs") };
        let gives = width(if self.projection.seen() == Seen::Whole { pooled } else { hidden });
        let takes = self.projection.inputs().last().map_or(0, width);
        if takes != gives {
            let Names { adapter, encoder } = names;
            let (adapter, encoder) = (adapter.clone(), encoder.clone());
            return Err(AdapterError::Widths { adapter, encoder, takes, gives });
        }
        Ok(())
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        let encoder = self.encoder.iter().map(|(weights, _)| weights);
        let faces = self.faces.iter().flat_map(|faces| [&faces.detector, &faces.embedder]);
        [&self.adapter].into_iter().chain(encoder).chain(faces).cloned().collect()
    }
}

fn check_kind(kind: Kind, projection: &ImageProjection, names: &Names) -> Result<(), AdapterError> {
    let is_for_faces = matches!(projection.seen(), Seen::Face | Seen::FaceAndPatches);
    let name = names.adapter.clone();
    match (kind, is_for_faces) {
        (Kind::Regular, true) => {
            Err(AdapterError::Kind { name, is: "an adapter for faces", wanted: "faceid" })
        }
        (Kind::Face, false) => {
            Err(AdapterError::Kind { name, is: "no adapter for faces", wanted: "regular" })
        }
        _ => Ok(()),
    }
}

fn encoder(names: &Names, roots: &ModelRoots) -> Result<(PathBuf, ClipVision), AdapterError> {
    let folder = find_encoder(names, roots)?;
    let vision = ClipVision::from_config(&Config::read(&folder.join("config.json"))?)?;
    Ok((weights_file(&folder, "model")?, vision))
}

fn width(port: &Port) -> usize {
    port.dims.last().and_then(|dim| dim.fixed()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_that_is_missing_is_fetched_file_by_file() {
        let artefact = encoder_artefact(SDXL[1]).unwrap();
        assert_eq!(artefact.model, "h94/IP-Adapter");
        let folder = "sdxl_models/image_encoder";
        let files = [format!("{folder}/config.json"), format!("{folder}/model.safetensors")];
        assert_eq!(artefact.files, files);
        assert_eq!(encoder_artefact("org/clip").unwrap().files, ENCODER);
        for name in ["clip", "/clip/there", "org//clip"] {
            assert_eq!(encoder_artefact(name), None, "{name}");
        }
    }

    #[test]
    fn a_missing_file_is_told_with_how_to_get_it() {
        let roots = ModelRoots { models: "/nowhere".into(), hub: None };
        let [adapter, encoder] = SD15.map(String::from);
        let names = Names { adapter, encoder };
        let error = find_adapter(&names, &roots).unwrap_err().to_string();
        let pull = "models pull h94/IP-Adapter --file models/ip-adapter_sd15.safetensors";
        assert!(error.contains(pull), "{error}");
        let error = find_encoder(&names, &roots).unwrap_err().to_string();
        let pull = "pull h94/IP-Adapter --file models/image_encoder/config.json --file";
        assert!(error.contains(pull), "{error}");
    }

    #[test]
    fn torch_files_are_taken_where_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let roots = ModelRoots { models: folder.path().to_owned(), hub: None };
        let (bin, pt) = (folder.path().join("a.bin"), folder.path().join("b.pt"));
        for path in [&bin, &pt] {
            std::fs::write(path, "").unwrap();
        }
        let find = |adapter: &str| {
            let names = Names { adapter: adapter.into(), encoder: String::new() };
            find_adapter(&names, &roots)
        };
        assert_eq!(find("a.bin").unwrap(), bin);
        assert!(find("b.pt").unwrap_err().to_string().contains("no safetensors file"));
    }
}
