//! A checkpoint: what is loaded from a model's files, and whether its parts fit together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_api::Graft;

use crate::config::ConfigError;
use crate::engine::{Engine, LoadError, Model, Report, Source};
use crate::family::{EncoderFolders, Family};
use crate::files::{FilesError, ModelFiles, Stored};
use crate::lora::{Lora, LoraError, Loras, Part, Patches};
use crate::nets::{ADAPTER, ClipText, Unet};
use crate::onnx;
use crate::original::Component;
use crate::schedule::NoiseLevels;
use crate::sizes::{Pictures, Sizes};
use crate::text_encoders::{Encoder, TextEncoders};
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
    Files(#[from] FilesError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Lora(#[from] LoraError),
    #[error("the parts of {} do not fit together: {why}", model.display())]
    Mismatch { model: PathBuf, why: String },
}

impl CheckpointError {
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Load(LoadError::Cancelled))
    }
}

/// What a checkpoint is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The model, a diffusers folder or a checkpoint in one file.
    pub model: &'a Path,
    /// The autoencoder's folder, or a checkpoint in one file that has one.
    pub vae: &'a Path,
    /// What is merged into the weights.
    pub loras: &'a [Lora],
    /// Whether the UNet is to attend to earlier frames.
    pub has_cached_attention: bool,
    /// Whether ControlNets are to steer the UNet.
    pub has_residuals: bool,
    /// What is grafted onto the UNet, so that it attends to tokens of a picture.
    pub adapter: Option<&'a Graft>,
    /// What it is loaded for; other pictures work too, but where the networks are compiled.
    pub pictures: Pictures,
}

impl<'a> Parts<'a> {
    /// Without LoRAs, cached attention, ControlNets and adapter, for single pictures of 512x512.
    pub fn new(model: &'a Path, vae: &'a Path) -> Self {
        Self {
            model,
            vae,
            loras: &[],
            has_cached_attention: false,
            has_residuals: false,
            adapter: None,
            pictures: Pictures::new(512, 512),
        }
    }
}

/// Everything a stream needs of a model; shared by the streams that use it.
pub struct Checkpoint {
    pub family: Family,
    pub unet: Model<Unet>,
    pub vae: Autoencoder,
    pub levels: NoiseLevels,
    pub texts: TextEncoders,
    /// What its networks run on.
    pub report: Report,
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
        let Parts { model, vae, loras, has_cached_attention, has_residuals, adapter, pictures } =
            parts;
        begin(progress(0.0, "tokenizer"))?;
        let files = ModelFiles::open(model)?;
        let family = Family::of(&files)?;
        let mut loras = Loras::open(loras)?;
        let encoders = family.encoders().iter().map(|&own| encoder(&files, own, &mut loras));
        let encoders = encoders.collect::<Result<Vec<_>, CheckpointError>>()?;
        let (unet, weights, patches) = unet(&files, &mut loras)?;
        let unet = if has_cached_attention { unet.with_cached_attention() } else { unet };
        let unet = if has_residuals { unet.with_residuals() } else { unet };
        let (unet, weights) = match adapter {
            Some(graft) => adapted(unet, weights, graft),
            None => (unet, weights),
        };
        let mut warnings = loras.leftovers()?;
        warnings.extend(files.warning());
        let levels = NoiseLevels::from_config(&files.scheduler()?)?;
        begin(progress(0.05, "text encoder"))?;
        let mut goes_on = || progress(0.05, "text encoder");
        let texts = TextEncoders::load(engine, encoders, kept_for(family), &mut goes_on)?;
        begin(progress(0.2, "autoencoder"))?;
        let vae = Autoencoder::load(engine, vae, &pictures, &mut || progress(0.2, "autoencoder"))?;
        begin(progress(0.3, "unet"))?;
        let tokens = texts.encoders().first().map_or(0, |encoder| encoder.network.tokens());
        let sizes = Sizes { rows: pictures.rows, tokens, ..pictures.sizes(vae.downsampling()) };
        let source = Source { weights, patches: &patches, sizes: Some(sizes) };
        let unet = engine.load(unet, source, &mut || progress(0.3, "unet"))?;
        let report = engine.report();
        let checkpoint = Self { family, unet, vae, levels, texts, report, warnings };
        checkpoint
            .check()
            .map_err(|why| CheckpointError::Mismatch { model: model.to_owned(), why })?;
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

/// Whether LoRAs fit a model, as far as can be told without reading values; what does not fit, in words.
pub fn check_loras(files: &ModelFiles, loras: &[Lora]) -> Result<Vec<String>, CheckpointError> {
    if loras.is_empty() {
        return Ok(Vec::new());
    }
    let mut loras = Loras::open(loras)?;
    for &own in Family::of(files)?.encoders() {
        let (network, weights) = text_network(files, own)?;
        loras.patches(own.part, &network, &weights)?;
    }
    unet(files, &mut loras)?;
    Ok(loras.leftovers()?)
}

fn encoder(
    files: &ModelFiles,
    own: EncoderFolders,
    loras: &mut Loras,
) -> Result<Encoder, CheckpointError> {
    let (network, weights) = text_network(files, own)?;
    let patches = loras.patches(own.part, &network, &weights)?;
    Ok(Encoder { tokenizer: files.tokenizer(own)?, network, weights, patches })
}

fn text_network(
    files: &ModelFiles,
    own: EncoderFolders,
) -> Result<(ClipText, Stored), CheckpointError> {
    let network = ClipText::from_config(&files.config(own.encoder)?, own.reading)?;
    Ok((network, files.weights(own.encoder)?))
}

fn unet(files: &ModelFiles, loras: &mut Loras) -> Result<(Unet, Stored, Patches), CheckpointError> {
    let network = Unet::from_config(&files.config(Component::Unet)?)?;
    let weights = files.weights(Component::Unet)?;
    let patches = loras.patches(Part::Unet, &network, &weights)?;
    Ok((network, weights, patches))
}

fn adapted(unet: Unet, weights: Stored, graft: &Graft) -> (Unet, Stored) {
    (unet.with_image_tokens(graft.tokens), weights.with(ADAPTER, &graft.weights))
}

/// Whether an adapter fits a model's UNet, as far as can be told without reading values.
pub fn check_adapter(files: &ModelFiles, graft: &Graft) -> Result<(), CheckpointError> {
    let network = Unet::from_config(&files.config(Component::Unet)?)?;
    let (network, weights) = adapted(network, files.weights(Component::Unet)?, graft);
    let weights = weights.open().map_err(LoadError::from)?;
    onnx::check(&network, &weights).map_err(LoadError::from)?;
    Ok(())
}

fn begin(goes_on: bool) -> Result<(), LoadError> {
    if goes_on { Ok(()) } else { Err(LoadError::Cancelled) }
}
