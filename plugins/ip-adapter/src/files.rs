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
/// Those for faces, which take no image encoder.
const FACES_SD15: &str = "h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15.bin";
const FACES_SDXL: &str = "h94/IP-Adapter-FaceID/ip-adapter-faceid_sdxl.bin";
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
        let [regular, encoder] = match wishes.family {
            Family::Sd15 => SD15,
            Family::Sdxl => SDXL,
        };
        let adapter = match (kind, wishes.family) {
            (Kind::Regular, _) => regular,
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
    pub eyes: Eyes,
}

/// What looks at the picture.
pub enum Eyes {
    Encoder { weights: PathBuf, vision: ClipVision },
    Faces(FaceFiles),
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
        let adapter = find_adapter(names, &roots);
        match kind {
            Kind::Face => {
                let face = wishes.insightface_model_name.as_deref();
                let (adapter, faces) = both(adapter, FaceFiles::find(face, &roots))?;
                Self::for_faces(names, adapter, faces)
            }
            Kind::Regular => {
                let encoder = find_encoder(names, &roots).map_err(|error| vec![error]);
                let (adapter, encoder) = both(adapter, encoder)?;
                Self::regular(names, adapter, &encoder)
            }
        }
        .map_err(|error| vec![error])
    }

    fn for_faces(names: &Names, adapter: PathBuf, faces: FaceFiles) -> Result<Self, AdapterError> {
        let projection = ImageProjection::of(&Weights::open(&adapter)?)?;
        if projection.seen() != Seen::Face {
            let (name, is) = (names.adapter.clone(), "no adapter for faces");
            return Err(AdapterError::Kind { name, is, wanted: "regular" });
        }
        Ok(Self { adapter, projection, eyes: Eyes::Faces(faces) })
    }

    /// Reads what kind of networks they are, and whether they fit each other.
    fn regular(names: &Names, adapter: PathBuf, encoder: &Path) -> Result<Self, AdapterError> {
        let projection = ImageProjection::of(&Weights::open(&adapter)?)?;
        let vision = ClipVision::from_config(&Config::read(&encoder.join("config.json"))?)?;
        let weights = weights_file(encoder, "model")?;
        let [hidden, pooled] = &vision.outputs()[..] else { unreachable!("it has two outputs") };
        let gives = match projection.seen() {
            Seen::Whole => width(pooled),
            Seen::Patches => width(hidden),
            Seen::Face => {
                let (name, is) = (names.adapter.clone(), "an adapter for faces");
                return Err(AdapterError::Kind { name, is, wanted: "faceid" });
            }
        };
        let takes = projection.inputs().first().map_or(0, width);
        if takes != gives {
            let Names { adapter, encoder } = names;
            let (adapter, encoder) = (adapter.clone(), encoder.clone());
            return Err(AdapterError::Widths { adapter, encoder, takes, gives });
        }
        Ok(Self { adapter, projection, eyes: Eyes::Encoder { weights, vision } })
    }

    /// What is looked at with first, then what else there is.
    pub fn paths(&self) -> Vec<PathBuf> {
        match &self.eyes {
            Eyes::Encoder { weights, .. } => vec![self.adapter.clone(), weights.clone()],
            Eyes::Faces(faces) => {
                vec![self.adapter.clone(), faces.detector.clone(), faces.embedder.clone()]
            }
        }
    }
}

/// Both, or all errors of both.
fn both<A, B>(
    one: Result<A, AdapterError>,
    other: Result<B, Vec<AdapterError>>,
) -> Result<(A, B), Vec<AdapterError>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => {
            Err(one.err().into_iter().chain(other.err().into_iter().flatten()).collect())
        }
    }
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
