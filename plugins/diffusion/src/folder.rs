//! A checkpoint: a diffusers folder and what is loaded from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::engine::{Engine, LoadError, Model, Source};
use crate::family::{EncoderFolders, Family};
use crate::lora::{Lora, LoraError, Loras, Part, Patches};
use crate::nets::{ClipText, Unet};
use crate::schedule::NoiseLevels;
use crate::text_encoders::{Encoder, TextEncoders};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::vae::Autoencoder;

/// A stream whose prompts change again and again never waits for its encoders; one that is left alone gives back their
/// memory.
pub const TEXT_ENCODERS_KEPT_FOR: Duration = Duration::from_secs(300);

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
    /// Whether the UNet is to attend to earlier frames.
    pub has_cached_attention: bool,
}

impl<'a> Parts<'a> {
    /// Without LoRAs and cached attention.
    pub fn new(folder: &'a Path, vae: &'a Path) -> Self {
        Self { folder, vae, loras: &[], has_cached_attention: false }
    }
}

/// Everything a stream needs of a model; shared by the streams that use it.
pub struct Checkpoint {
    pub family: Family,
    pub unet: Model<Unet>,
    pub vae: Autoencoder,
    pub levels: NoiseLevels,
    pub texts: TextEncoders,
    /// What a user should know of how it was loaded.
    pub warnings: Vec<String>,
}

impl Checkpoint {
    /// Loads a checkpoint of any family. `progress` is told the share done and the part at work, again and again, and
    /// cancels by answering false.
    pub fn load(
        engine: &Engine,
        parts: Parts<'_>,
        progress: &mut dyn FnMut(f32, &str) -> bool,
    ) -> Result<Self, CheckpointError> {
        let Parts { folder, vae, loras, has_cached_attention } = parts;
        begin(progress(0.0, "tokenizer"))?;
        let family = Family::of(folder)?;
        let mut loras = Loras::open(loras)?;
        let encoders = family.encoders().iter().map(|&own| encoder(folder, own, &mut loras));
        let encoders = encoders.collect::<Result<Vec<_>, CheckpointError>>()?;
        let (unet, weights, patches) = unet(folder, &mut loras)?;
        let unet = if has_cached_attention { unet.with_cached_attention() } else { unet };
        let warnings = loras.leftovers()?;
        let scheduler = Config::read(&folder.join("scheduler/scheduler_config.json"))?;
        let levels = NoiseLevels::from_config(&scheduler)?;
        begin(progress(0.05, "text encoder"))?;
        let mut goes_on = || progress(0.05, "text encoder");
        let texts = TextEncoders::load(engine, encoders, kept_for(family), &mut goes_on)?;
        begin(progress(0.2, "autoencoder"))?;
        let vae = Autoencoder::load(engine, vae, &mut || progress(0.2, "autoencoder"))?;
        begin(progress(0.3, "unet"))?;
        let source = Source { weights: &weights, patches: &patches };
        let unet = engine.load(unet, source, &mut || progress(0.3, "unet"))?;
        let checkpoint = Self { family, unet, vae, levels, texts, warnings };
        checkpoint
            .check()
            .map_err(|why| CheckpointError::Mismatch { folder: folder.to_owned(), why })?;
        Ok(checkpoint)
    }

    /// Says which parts do not fit together.
    fn check(&self) -> Result<(), String> {
        let unet = self.unet.network();
        let encoders = || self.texts.encoders().iter().map(|encoder| &encoder.network);
        let pooled = encoders().find_map(ClipText::pooled_width);
        let mut tokens = encoders().map(ClipText::tokens);
        let (first, last) = (tokens.next(), tokens.next_back());
        let pairs = [
            (
                "text encoder's hidden_size",
                encoders().map(ClipText::width).sum(),
                "unet's cross_attention_dim",
                unet.context(),
            ),
            (
                "text encoder's projection_dim",
                pooled.unwrap_or(0),
                "unet's width for the text as a whole",
                unet.pooled_width().unwrap_or(0),
            ),
            (
                "first text encoder's max_position_embeddings",
                first.unwrap_or(0),
                "second one's",
                last.or(first).unwrap_or(0),
            ),
            (
                "autoencoder's latent_channels",
                self.vae.latent_channels(),
                "unet's in_channels",
                unet.latent_channels(),
            ),
        ];
        if let Some((left, a, right, b)) = pairs.into_iter().find(|(_, a, _, b)| a != b) {
            return Err(format!("the {left} is {a}, the {right} {b}"));
        }
        self.texts.encoders().iter().try_for_each(check_vocabulary)
    }
}

fn check_vocabulary(encoder: &Encoder) -> Result<(), String> {
    let (words, rows) = (encoder.tokenizer.vocabulary(), encoder.network.vocabulary());
    let why =
        || format!("the tokenizer has {words} tokens, the text encoder's vocab_size is {rows}");
    if words <= rows { Ok(()) } else { Err(why()) }
}

/// The two of SDXL take 1.6 GB in half precision; the one of the others an eighth of that, not worth a pause.
fn kept_for(family: Family) -> Option<Duration> {
    (family == Family::Sdxl).then_some(TEXT_ENCODERS_KEPT_FOR)
}

/// Whether LoRAs fit the model in a folder, as far as can be told without reading values; what does not fit, in words.
pub fn check_loras(folder: &Path, loras: &[Lora]) -> Result<Vec<String>, CheckpointError> {
    if loras.is_empty() {
        return Ok(Vec::new());
    }
    let mut loras = Loras::open(loras)?;
    for &own in Family::of(folder)?.encoders() {
        let (network, weights) = text_network(folder, own)?;
        loras.patches(own.part, &network, &weights)?;
    }
    unet(folder, &mut loras)?;
    Ok(loras.leftovers()?)
}

fn encoder(
    folder: &Path,
    own: EncoderFolders,
    loras: &mut Loras,
) -> Result<Encoder, CheckpointError> {
    let (network, weights) = text_network(folder, own)?;
    let patches = loras.patches(own.part, &network, &weights)?;
    let tokenizer = Tokenizer::load(&folder.join(own.tokenizer))?;
    Ok(Encoder { tokenizer, network, weights, patches })
}

fn text_network(
    folder: &Path,
    own: EncoderFolders,
) -> Result<(ClipText, PathBuf), CheckpointError> {
    let folder = folder.join(own.encoder);
    let network = ClipText::from_config(&Config::read(&folder.join("config.json"))?, own.reading)?;
    Ok((network, weights_file(&folder, "model")?))
}

fn unet(folder: &Path, loras: &mut Loras) -> Result<(Unet, PathBuf, Patches), CheckpointError> {
    let folder = folder.join("unet");
    let network = Unet::from_config(&Config::read(&folder.join("config.json"))?)?;
    let weights = weights_file(&folder, "diffusion_pytorch_model")?;
    let patches = loras.patches(Part::Unet, &network, &weights)?;
    Ok((network, weights, patches))
}

fn begin(goes_on: bool) -> Result<(), LoadError> {
    if goes_on { Ok(()) } else { Err(LoadError::Cancelled) }
}
