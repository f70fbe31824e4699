//! What can be wrong with a LoRA, each with the file, the tensor and what would be right.

use std::path::PathBuf;

use super::MAX_SCALE;
use crate::ops::OpError;
use crate::original::OriginalError;
use crate::weights::{Dtype, WeightsError};

/// Why a LoRA cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Original(#[from] OriginalError),
    #[error(transparent)]
    Network(#[from] OpError),
    #[error("the strength of {} must be a number from -{MAX_SCALE} to {MAX_SCALE}, got {scale}", path.display())]
    Scale { path: PathBuf, scale: f32 },
    #[error("`{tensor}` in {} belongs to a {kind}, which cannot be merged; wanted is a LoRA of down and up matrices alone", path.display())]
    Kind { path: PathBuf, tensor: String, kind: &'static str },
    #[error("`{tensor}` in {} has no {missing} beside it", path.display())]
    Incomplete { path: PathBuf, tensor: String, missing: &'static str },
    #[error("`{tensor}` and `{other}` in {} are for the same module", path.display())]
    Twice { path: PathBuf, tensor: String, other: String },
    #[error("`{tensor}` in {} has rank {rank}, wanted is 1 to {}", path.display(), super::MAX_RANK)]
    Rank { path: PathBuf, tensor: String, rank: usize },
    #[error("`{tensor}` in {} must be a single number, its shape is {found:?}", path.display())]
    Alpha { path: PathBuf, tensor: String, found: Vec<usize> },
    #[error("`{tensor}` in {} holds values that are no finite numbers", path.display())]
    NotFinite { path: PathBuf, tensor: String },
    #[error(transparent)]
    Shape(Box<Misfit>),
    #[error("nothing in {} fits the model: it has {}; looked for were {}{}", path.display(), found.join(", "), wanted.join(", "), looks_like(*family))]
    Nothing {
        path: PathBuf,
        /// Some of the file's names.
        found: Vec<String>,
        /// Examples of names that would fit.
        wanted: Vec<String>,
        family: Option<&'static str>,
    },
    #[error(
        "with its LoRAs `{param}` holds values too large for {dtype:?}, as which the model is stored; lower the strengths"
    )]
    Overflow { param: String, dtype: Dtype },
    #[error("could not multiply the matrices for `{param}`")]
    Compute { param: String, source: candle_core::Error },
}

/// A matrix that is none for the parameter it is named after.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{tensor}` in {} has shape {found:?}, which does not fit the model's `{param}` of shape {wanted:?}{}",
    path.display(), looks_like(*family)
)]
pub struct Misfit {
    pub path: PathBuf,
    pub tensor: String,
    pub found: Vec<usize>,
    pub param: String,
    pub wanted: Vec<usize>,
    /// The models the file looks made for.
    pub family: Option<&'static str>,
}

fn looks_like(family: Option<&str>) -> String {
    family.map_or(String::new(), |family| format!("; the file looks made for {family}"))
}
