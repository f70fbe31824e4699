//! A checkpoint: a diffusers folder and what is loaded from it.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};
use crate::engine::{Engine, LoadError, Model, RunError, Source};
use crate::lora::{Lora, LoraError, Loras, Part};
use crate::nets::{ClipText, Unet};
use crate::schedule::NoiseLevels;
use crate::tensor::Tensor;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::vae::Autoencoder;

/// Why a checkpoint could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Lora(#[from] LoraError),
    #[error("no weights in {}: there is neither {stem}.safetensors nor {stem}.fp16.safetensors{hint}", folder.display())]
    NoWeights { folder: PathBuf, stem: &'static str, hint: &'static str },
    #[error("the parts of {} do not fit together: {why}", folder.display())]
    Mismatch { folder: PathBuf, why: String },
}

impl CheckpointError {
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Load(LoadError::Cancelled))
    }
}

/// The safetensors file of a component, full or half precision.
pub fn weights_file(folder: &Path, stem: &'static str) -> Result<PathBuf, CheckpointError> {
    let candidates = [format!("{stem}.safetensors"), format!("{stem}.fp16.safetensors")];
    let found = candidates.into_iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let has_pickle = folder.join(format!("{stem}.bin")).exists()
            || folder.join("pytorch_model.bin").exists();
        let hint =
            if has_pickle { "; .bin files are not read, get the safetensors ones" } else { "" };
        CheckpointError::NoWeights { folder: folder.to_owned(), stem, hint }
    })
}

/// What a checkpoint is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The model, a diffusers folder.
    pub folder: &'a Path,
    /// The autoencoder's folder.
    pub vae: &'a Path,
    /// What is merged into the weights.
    pub loras: &'a [Lora],
}

impl<'a> Parts<'a> {
    /// Without LoRAs.
    pub fn new(folder: &'a Path, vae: &'a Path) -> Self {
        Self { folder, vae, loras: &[] }
    }
}

/// Everything a stream needs of a model; shared by the streams that use it.
pub struct Checkpoint {
    pub unet: Model<Unet>,
    pub vae: Autoencoder,
    pub levels: NoiseLevels,
    /// What a user should know of how it was loaded.
    pub warnings: Vec<String>,
    text: Model<ClipText>,
    tokenizer: Tokenizer,
}

impl Checkpoint {
    /// Loads a checkpoint. `progress` is told the share done and the part at work, again and again, and cancels by
    /// answering false.
    pub fn load(
        engine: &Engine,
        parts: Parts<'_>,
        progress: &mut dyn FnMut(f32, &str) -> bool,
    ) -> Result<Self, CheckpointError> {
        let Parts { folder, vae, loras } = parts;
        begin(progress(0.0, "tokenizer"))?;
        let mut loras = Loras::open(loras)?;
        let tokenizer = Tokenizer::load(&folder.join("tokenizer"))?;
        let scheduler = Config::read(&folder.join("scheduler/scheduler_config.json"))?;
        let levels = NoiseLevels::from_config(&scheduler)?;
        begin(progress(0.05, "text encoder"))?;
        let text_folder = folder.join("text_encoder");
        let text = ClipText::from_config(&Config::read(&text_folder.join("config.json"))?)?;
        let weights = &weights_file(&text_folder, "model")?;
        let patches = &loras.patches(Part::TextEncoder, &text, weights)?;
        let source = Source { weights, patches };
        let text = engine.load(text, source, &mut || progress(0.05, "text encoder"))?;
        begin(progress(0.2, "autoencoder"))?;
        let vae = Autoencoder::load(engine, vae, &mut || progress(0.2, "autoencoder"))?;
        begin(progress(0.3, "unet"))?;
        let unet_folder = folder.join("unet");
        let unet = Unet::from_config(&Config::read(&unet_folder.join("config.json"))?)?;
        let weights = &weights_file(&unet_folder, "diffusion_pytorch_model")?;
        let patches = &loras.patches(Part::Unet, &unet, weights)?;
        let warnings = loras.leftovers()?;
        let source = Source { weights, patches };
        let unet = engine.load(unet, source, &mut || progress(0.3, "unet"))?;
        let checkpoint = Self { unet, vae, levels, warnings, text, tokenizer };
        checkpoint.check(folder)?;
        Ok(checkpoint)
    }

    fn check(&self, folder: &Path) -> Result<(), CheckpointError> {
        let (unet, text) = (self.unet.network(), self.text.network());
        let pairs = [
            (
                "text encoder's hidden_size",
                text.width(),
                "unet's cross_attention_dim",
                unet.context(),
            ),
            (
                "autoencoder's latent_channels",
                self.vae.latent_channels(),
                "unet's in_channels",
                unet.latent_channels(),
            ),
        ];
        for (left, a, right, b) in pairs {
            if a != b {
                let why = format!("the {left} is {a}, the {right} {b}");
                return Err(CheckpointError::Mismatch { folder: folder.to_owned(), why });
            }
        }
        if self.tokenizer.vocabulary() > text.vocabulary() {
            let (words, rows) = (self.tokenizer.vocabulary(), text.vocabulary());
            let why = format!(
                "the tokenizer has {words} tokens, the text encoder's vocab_size is {rows}"
            );
            return Err(CheckpointError::Mismatch { folder: folder.to_owned(), why });
        }
        Ok(())
    }

    /// The token ids of a text, padded.
    pub fn tokens(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, self.text.network().tokens())
    }

    /// The embeddings of a text, `[1, tokens, width]`.
    pub fn embed(&self, text: &str) -> Result<Tensor, RunError> {
        let ids: Vec<f32> = self.tokens(text).into_iter().map(|id| id as f32).collect();
        self.text.run(&[&Tensor::new([1, ids.len()], ids)])
    }
}

/// Whether LoRAs fit the model in a folder, as far as can be told without reading values; what does not fit, in words.
pub fn check_loras(folder: &Path, loras: &[Lora]) -> Result<Vec<String>, CheckpointError> {
    let mut loras = Loras::open(loras)?;
    let text = folder.join("text_encoder");
    let network = ClipText::from_config(&Config::read(&text.join("config.json"))?)?;
    loras.patches(Part::TextEncoder, &network, &weights_file(&text, "model")?)?;
    let unet = folder.join("unet");
    let network = Unet::from_config(&Config::read(&unet.join("config.json"))?)?;
    loras.patches(Part::Unet, &network, &weights_file(&unet, "diffusion_pytorch_model")?)?;
    Ok(loras.leftovers()?)
}

fn begin(goes_on: bool) -> Result<(), LoadError> {
    if goes_on { Ok(()) } else { Err(LoadError::Cancelled) }
}
