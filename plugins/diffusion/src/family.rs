//! The families of models, told apart by their own config files.
//!
//! A family decides which parts a checkpoint has and how its texts are read; what the UNet looks like is its config's
//! business.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};
use crate::lora::Part;
use crate::nets::Reading;

/// Models that are built and prompted alike; each family has a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x and 2.x, SD-Turbo among them.
    Sd,
    /// Stable Diffusion XL and SDXL-Turbo.
    Sdxl,
}

/// A text encoder of a checkpoint and its tokenizer, by their folders.
#[derive(Clone, Copy, Debug)]
pub struct EncoderFolders {
    pub encoder: &'static str,
    pub tokenizer: &'static str,
    pub reading: Reading,
    /// What LoRAs call it.
    pub part: Part,
}

/// Why a model cannot be used with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "{} is a model of {}, the plugin {} takes {}; its plugin is {}, with the pipeline {}",
        folder.display(), found.name(), wanted.plugin(), wanted.name(), found.plugin(), found.pipeline()
    )]
    Other { folder: PathBuf, found: Family, wanted: Family },
}

impl Family {
    /// The family of a diffusers folder.
    pub fn of(folder: &Path) -> Result<Self, ConfigError> {
        let unet = Config::read(&folder.join("unet/config.json"))?;
        let is_sdxl = unet.get("addition_embed_type").is_some_and(|kind| kind == "text_time");
        Ok(if is_sdxl { Self::Sdxl } else { Self::Sd })
    }

    /// Fails unless the model in a diffusers folder is of this family.
    pub fn expect(self, folder: &Path) -> Result<(), FamilyError> {
        let found = Self::of(folder)?;
        let other = || FamilyError::Other { folder: folder.to_owned(), found, wanted: self };
        if found == self { Ok(()) } else { Err(other()) }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sd => "Stable Diffusion 1.x or 2.x",
            Self::Sdxl => "Stable Diffusion XL",
        }
    }

    /// The plugin for the family.
    pub const fn plugin(self) -> &'static str {
        match self {
            Self::Sd => "sd15",
            Self::Sdxl => "sdxl",
        }
    }

    /// The plugin's pipeline that takes any model of the family.
    pub const fn pipeline(self) -> &'static str {
        match self {
            Self::Sd => "streamdiffusion-sd15",
            Self::Sdxl => "streamdiffusion-sdxl",
        }
    }

    /// The small autoencoder for the family's latents.
    pub const fn tiny_autoencoder(self) -> &'static str {
        match self {
            Self::Sd => "madebyollin/taesd",
            Self::Sdxl => "madebyollin/taesdxl",
        }
    }

    /// The text encoders, whose embeddings are joined in this order.
    pub const fn encoders(self) -> &'static [EncoderFolders] {
        const FIRST: EncoderFolders = EncoderFolders {
            encoder: "text_encoder",
            tokenizer: "tokenizer",
            reading: Reading::Last,
            part: Part::TextEncoder,
        };
        const SD: &[EncoderFolders] = &[FIRST];
        const SDXL: &[EncoderFolders] = &[
            EncoderFolders { reading: Reading::BeforeLast, ..FIRST },
            EncoderFolders {
                encoder: "text_encoder_2",
                tokenizer: "tokenizer_2",
                reading: Reading::BeforeLastAndPooled,
                part: Part::TextEncoder2,
            },
        ];
        match self {
            Self::Sd => SD,
            Self::Sdxl => SDXL,
        }
    }
}
