//! A checkpoint in one safetensors file, in the layout of the original Stable Diffusion code.
//!
//! Each network is a view of the file: its tensors under the names that diffusers has for them, where they lie. What a
//! diffusers folder says in config files follows from names and shapes (`configs`), by the rules that diffusers itself
//! has for such files. Beside `NAME.safetensors` may lie a folder `NAME.config` with config files and tokenizers as in a
//! diffusers folder; they count more.

mod clip;
mod configs;
pub mod unet;
mod vae;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::{Config, ConfigError};
use crate::weights::{Piece, Renamed, Weights, WeightsError};
use unet::Naming;

/// The networks of a checkpoint, named by their folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    TextEncoder,
    /// The second text encoder of Stable Diffusion XL.
    TextEncoder2,
    Unet,
    Autoencoder,
}

impl Component {
    pub const fn folder(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::Unet => "unet",
            Self::Autoencoder => "vae",
        }
    }

    /// What its file of weights is called in its folder, up to the ending.
    pub const fn stem(self) -> &'static str {
        match self {
            Self::TextEncoder | Self::TextEncoder2 => "model",
            Self::Unet | Self::Autoencoder => "diffusion_pytorch_model",
        }
    }

    /// What names of it begin with; models differ.
    const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::TextEncoder => &[CLIP, OPEN_CLIP, CLIP_XL],
            Self::TextEncoder2 => &[OPEN_CLIP_XL],
            Self::Unet => &["model.diffusion_model."],
            Self::Autoencoder => &["first_stage_model.", "vae."],
        }
    }

    /// A tensor that it always has, named as in diffusers.
    const fn landmark(self) -> &'static str {
        match self {
            Self::TextEncoder | Self::TextEncoder2 => {
                "text_model.embeddings.token_embedding.weight"
            }
            Self::Unet => "conv_in.weight",
            Self::Autoencoder => "decoder.conv_in.weight",
        }
    }
}

/// Stable Diffusion 1.x.
const CLIP: &str = "cond_stage_model.transformer.";
/// Stable Diffusion 2.x.
const OPEN_CLIP: &str = "cond_stage_model.model.";
const CLIP_XL: &str = "conditioner.embedders.0.transformer.";
const OPEN_CLIP_XL: &str = "conditioner.embedders.1.model.";

/// Why a file is no checkpoint, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum OriginalError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "{} has no {}: no tensor is named `{}…`; a checkpoint in one file has the names of the original Stable Diffusion code{hint}",
        path.display(), component.folder(), component.prefixes().join("…` or `")
    )]
    Absent { path: PathBuf, component: Component, hint: &'static str },
}

/// A checkpoint's file, opened.
#[derive(Debug)]
pub struct OriginalFile {
    weights: Weights,
    /// As it was named; the weights' own may be where a link leads.
    path: PathBuf,
}

impl OriginalFile {
    /// Opens a file that holds at least a UNet.
    pub fn open(path: &Path) -> Result<Self, OriginalError> {
        let file = Self { weights: Weights::open(path)?, path: path.to_owned() };
        file.view(Component::Unet)?;
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The config of a network: the one beside the file, else what the file shows.
    pub fn config(&self, component: Component) -> Result<Config, OriginalError> {
        let beside = self.beside(&format!("{}/config.json", component.folder()));
        if beside.is_file() {
            return Ok(Config::read(&beside)?);
        }
        let view = self.view(component)?;
        let values = match component {
            Component::Unet => configs::unet(&view, self.layers(), self.has(CLIP_XL)),
            Component::Autoencoder => configs::autoencoder(&view, self.has(CLIP_XL)),
            Component::TextEncoder if self.has(OPEN_CLIP) => configs::open_clip(&view),
            Component::TextEncoder => configs::clip(&view),
            Component::TextEncoder2 => configs::open_clip_xl(&view),
        };
        Ok(Config::inferred(self.path.join(component.folder()), values))
    }

    /// The scheduler's config: that of all families, and what the model predicts where the file tells.
    pub fn scheduler(&self) -> Result<Config, OriginalError> {
        let beside = self.beside("scheduler/scheduler_config.json");
        if beside.is_file() {
            return Ok(Config::read(&beside)?);
        }
        let values = json!({
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
            "num_train_timesteps": 1000,
            "prediction_type": self.prediction().unwrap_or("epsilon"),
        });
        Ok(Config::inferred(self.path.join("scheduler"), values))
    }

    /// The folder of a tokenizer, if there is one beside the file.
    pub fn tokenizer(&self, name: &str) -> Option<PathBuf> {
        Some(self.beside(name)).filter(|folder| folder.is_dir())
    }

    /// Whether a text encoder is OpenCLIP's, not OpenAI's.
    pub fn has_open_clip(&self, component: Component) -> bool {
        component == Component::TextEncoder2 || self.has(OPEN_CLIP)
    }

    /// What a user should know.
    pub fn warning(&self) -> Option<String> {
        let is_told =
            self.prediction().is_some() || self.beside("scheduler/scheduler_config.json").is_file();
        (self.has(OPEN_CLIP) && !is_told).then(|| {
            format!(
                "{} does not tell what its UNet predicts, which is taken to be the noise, as in SD-Turbo and Stable Diffusion 2.1 base; if it is one for 768 pixels, which predicts `v`, pictures are spoiled",
                self.path.display()
            )
        })
    }

    /// The tensors of a network, named as in diffusers.
    pub fn view(&self, component: Component) -> Result<Weights, OriginalError> {
        let view = match component {
            Component::Unet => {
                let naming = Naming { layers: self.layers(), separator: '.' };
                self.renamed(component, |name| unet_name(name, naming).into_iter().collect())
            }
            Component::Autoencoder => {
                let levels = self.levels();
                self.renamed(component, |name| {
                    vae::to_diffusers(name, levels).into_iter().collect()
                })
            }
            Component::TextEncoder if !self.has(OPEN_CLIP) => {
                self.renamed(component, |name| vec![(name.to_owned(), Piece::Whole)])
            }
            Component::TextEncoder | Component::TextEncoder2 => {
                self.renamed(component, clip::to_transformers)
            }
        };
        if view.shape(component.landmark()).is_some() {
            return Ok(view);
        }
        let hint = match component {
            Component::Autoencoder => "; another autoencoder can be named with `vae_id`",
            _ => "",
        };
        Err(OriginalError::Absent { path: self.path.clone(), component, hint })
    }

    fn renamed(&self, component: Component, rename: impl Fn(&str) -> Vec<Renamed>) -> Weights {
        self.weights.renamed(|name| {
            let rest = component.prefixes().iter().find_map(|prefix| name.strip_prefix(prefix));
            rest.map(&rename).unwrap_or_default()
        })
    }

    /// Whether there are tensors whose names begin so.
    fn has(&self, prefix: &str) -> bool {
        self.weights.tensors().any(|(name, _)| name.starts_with(prefix))
    }

    /// Residual blocks of a level of the UNet: the first block after them is a downsampler.
    fn layers(&self) -> usize {
        let is_down = |block: &usize| {
            let name = format!("model.diffusion_model.input_blocks.{block}.0.op.weight");
            self.weights.shape(&name).is_some()
        };
        (1..configs::MAX_COUNT).find(is_down).map_or(configs::MAX_COUNT, |block| block - 1)
    }

    /// Levels of the autoencoder.
    fn levels(&self) -> usize {
        let prefixes = Component::Autoencoder.prefixes();
        let has_level = |level: &usize| {
            prefixes.iter().any(|prefix| {
                let name = format!("{prefix}decoder.up.{level}.block.0.conv1.weight");
                self.weights.shape(&name).is_some()
            })
        };
        (0..configs::MAX_COUNT).take_while(has_level).count()
    }

    /// What the UNet predicts, where trainers wrote it down.
    fn prediction(&self) -> Option<&'static str> {
        // A mark that trainers of XL models leave, and the field of the Stability metadata.
        if self.weights.shape("v_pred").is_some() {
            return Some("v_prediction");
        }
        match self.weights.metadata("modelspec.prediction_type")? {
            "epsilon" => Some("epsilon"),
            "v" | "v_prediction" => Some("v_prediction"),
            _ => None,
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_extension("config").join(name)
    }
}

fn unet_name(name: &str, naming: Naming) -> Option<Renamed> {
    let (module, leaf) = name.rsplit_once('.')?;
    Some((format!("{}.{leaf}", naming.to_diffusers(module)?), Piece::Whole))
}
