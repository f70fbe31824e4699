//! The families of models, told apart by their own config files.
//!
//! A family decides which parts a checkpoint has and how its texts are read; what the UNet looks like is its config's
//! business.

use std::path::PathBuf;

use crate::files::{FilesError, ModelFiles};
use crate::lora::Part;
use crate::nets::Reading;
use crate::original::Component;

/// Models that are built and prompted alike; each family has a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x and 2.x, SD-Turbo among them.
    Sd,
    /// Stable Diffusion XL and SDXL-Turbo.
    Sdxl,
}

/// A text encoder of a checkpoint and its tokenizer's folder.
#[derive(Clone, Copy, Debug)]
pub struct EncoderFolders {
    pub encoder: Component,
    pub tokenizer: &'static str,
    pub reading: Reading,
    /// What LoRAs call it.
    pub part: Part,
}

/// Why a model cannot be used with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(
        "{} is a model of {}, the plugin {} takes {}; its plugin is {}, with the pipeline {}",
        model.display(), found.name(), wanted.plugin(), wanted.name(), found.plugin(), found.pipeline()
    )]
    Other { model: PathBuf, found: Family, wanted: Family },
}

impl Family {
    /// The family of a model.
    pub fn of(files: &ModelFiles) -> Result<Self, FilesError> {
        let unet = files.config(Component::Unet)?;
        let is_sdxl = unet.get("addition_embed_type").is_some_and(|kind| kind == "text_time");
        Ok(if is_sdxl { Self::Sdxl } else { Self::Sd })
    }

    /// Fails unless the model is of this family.
    pub fn expect(self, files: &ModelFiles) -> Result<(), FamilyError> {
        let found = Self::of(files)?;
        let other = || FamilyError::Other { model: files.path().to_owned(), found, wanted: self };
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
            encoder: Component::TextEncoder,
            tokenizer: "tokenizer",
            reading: Reading::Last,
            part: Part::TextEncoder,
        };
        const SD: &[EncoderFolders] = &[FIRST];
        const SDXL: &[EncoderFolders] = &[
            EncoderFolders { reading: Reading::BeforeLast, ..FIRST },
            EncoderFolders {
                encoder: Component::TextEncoder2,
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
