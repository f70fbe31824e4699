//! Which files the face networks are in.

use crate::files::AdapterError;
use plugins_diffusion::resolve::ModelRoots;
use std::path::PathBuf;

/// InsightFace's packs, one repository each.
const OWNER: &str = "immich-app";
const USUAL: &str = "buffalo_l";
const DETECTOR: &str = "detection/model.onnx";
const EMBEDDER: &str = "recognition/model.onnx";

/// Told with what is to be fetched.
pub const LICENCE: &str = "InsightFace's face models are for research that is not commercial";

pub struct FaceFiles {
    pub detector: PathBuf,
    pub embedder: PathBuf,
}

impl FaceFiles {
    /// Of a pack by its name, or of a repository with the same files; or all that is missing.
    pub fn find(name: Option<&str>, roots: &ModelRoots) -> Result<Self, Vec<AdapterError>> {
        let name = name.unwrap_or(USUAL);
        let model = match name.contains('/') {
            true => name.to_owned(),
            false => format!("{OWNER}/{name}"),
        };
        let find = |file| roots.resolve_file(&model, file).map_err(AdapterError::FaceModel);
        match (find(DETECTOR), find(EMBEDDER)) {
            (Ok(detector), Ok(embedder)) => Ok(Self { detector, embedder }),
            (detector, embedder) => {
                Err([detector.err(), embedder.err()].into_iter().flatten().collect())
            }
        }
    }
}
