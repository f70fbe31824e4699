//! Why a network does not do what is asked of it.

use crate::picture::PictureError;
use plugin_api::Error;
use plugins_diffusion::engine::{EngineError, LoadError, RunError};
use plugins_diffusion::engines::EnginesError;
use plugins_diffusion::onnx::{FileError, SwitchError};
use plugins_diffusion::resolve::ResolveError;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum NeuralError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Picture(#[from] PictureError),
    #[error("the network of {} gave {got}; wanted is {wanted}", path.display())]
    Output { path: PathBuf, got: String, wanted: String },
    #[error("loading was cancelled")]
    Cancelled,
}

impl NeuralError {
    /// What a network gave cannot be used.
    pub fn output(path: &Path, got: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::Output { path: path.to_owned(), got: got.into(), wanted: wanted.into() }
    }
}

/// As the host is told.
pub fn told(error: NeuralError) -> Error {
    match error {
        NeuralError::Cancelled
        | NeuralError::Load(LoadError::Cancelled | LoadError::Engines(EnginesError::Cancelled)) => {
            Error::cancelled()
        }
        other => other.into(),
    }
}
