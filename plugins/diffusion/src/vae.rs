//! Either autoencoder behind one face: pictures to scaled latents and back.

use std::path::Path;

use crate::config::{Config, ConfigError};
use crate::engine::{Engine, Model, RunError, Source};
use crate::files::{FilesError, ModelFiles, Stored, weights_file};
use crate::folder::CheckpointError;
use crate::nets::{KlConfig, KlDecoder, KlEncoder, TinyConfig, TinyDecoder, TinyEncoder};
use crate::noise::Generator;
use crate::original::Component;
use crate::sizes::Pictures;
use crate::tensor::Tensor;

/// A loaded autoencoder.
pub enum Autoencoder {
    Tiny { encoder: Model<TinyEncoder>, decoder: Model<TinyDecoder> },
    Kl { encoder: Model<KlEncoder>, decoder: Model<KlDecoder> },
}

#[derive(Clone, Copy)]
enum Class {
    Tiny,
    Kl,
}

/// The networks' shapes, from a `config.json`.
enum Shape {
    Tiny(TinyConfig),
    Kl(KlConfig),
}

impl Shape {
    /// `_class_name` says which one it is.
    fn read(config: &Config) -> Result<Self, ConfigError> {
        let classes = [("AutoencoderTiny", Class::Tiny), ("AutoencoderKL", Class::Kl)];
        Ok(match config.choice("_class_name", Class::Kl, &classes)? {
            Class::Tiny => Self::Tiny(TinyConfig::from_config(config)?),
            Class::Kl => Self::Kl(KlConfig::from_config(config)?),
        })
    }
}

/// Picture pixels per latent pixel, along one side, of the autoencoder in a folder or file.
pub fn downsampling(path: &Path) -> Result<usize, FilesError> {
    Ok(match Shape::read(&open(path)?.0)? {
        Shape::Tiny(shape) => shape.downsampling(),
        Shape::Kl(shape) => shape.downsampling(),
    })
}

impl Autoencoder {
    /// Loads the autoencoder in a folder, or that of a checkpoint in one file. `goes_on` is asked again and again
    /// meanwhile, and cancels by answering false.
    pub fn load(
        engine: &Engine,
        path: &Path,
        pictures: &Pictures,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, CheckpointError> {
        let (config, weights) = open(path)?;
        let source = |downsampling| Source {
            sizes: Some(pictures.sizes(downsampling)),
            ..Source::from(&weights)
        };
        Ok(match Shape::read(&config)? {
            Shape::Tiny(shape) => {
                let latents = shape.downsampling();
                let encoder = engine.load(TinyEncoder(shape.clone()), source(1), goes_on)?;
                let decoder = engine.load(TinyDecoder(shape), source(latents), goes_on)?;
                Self::Tiny { encoder, decoder }
            }
            Shape::Kl(shape) => {
                let latents = shape.downsampling();
                let encoder = engine.load(KlEncoder(shape.clone()), source(1), goes_on)?;
                let decoder = engine.load(KlDecoder(shape), source(latents), goes_on)?;
                Self::Kl { encoder, decoder }
            }
        })
    }

    /// Pictures `[rows, 3, height, width]` in [-1, 1] to latents at the scale the UNet was trained at. The KL encoder
    /// gives a distribution, from which the generator draws.
    pub fn encode(&self, image: &Tensor, generator: &mut Generator) -> Result<Tensor, RunError> {
        let mut latent = match self {
            Self::Tiny { encoder, .. } => encoder.run(&[image])?,
            Self::Kl { encoder, .. } => sample(&encoder.run(&[image])?, generator),
        };
        let factor = self.scaling_factor();
        latent.data_mut().iter_mut().for_each(|value| *value *= factor);
        Ok(latent)
    }

    /// Latents to pictures in about [-1, 1].
    pub fn decode(&self, latent: &Tensor) -> Result<Tensor, RunError> {
        let mut latent = latent.clone();
        let factor = self.scaling_factor();
        latent.data_mut().iter_mut().for_each(|value| *value /= factor);
        match self {
            Self::Tiny { decoder, .. } => decoder.run(&[&latent]),
            Self::Kl { decoder, .. } => decoder.run(&[&latent]),
        }
    }

    pub fn scaling_factor(&self) -> f32 {
        match self {
            Self::Tiny { encoder, .. } => encoder.network().0.scaling_factor(),
            Self::Kl { encoder, .. } => encoder.network().0.scaling_factor(),
        }
    }

    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Tiny { encoder, .. } => encoder.network().0.latent_channels(),
            Self::Kl { encoder, .. } => encoder.network().0.latent_channels(),
        }
    }

    /// Picture pixels per latent pixel, along one side.
    pub fn downsampling(&self) -> usize {
        match self {
            Self::Tiny { encoder, .. } => encoder.network().0.downsampling(),
            Self::Kl { encoder, .. } => encoder.network().0.downsampling(),
        }
    }
}

fn open(path: &Path) -> Result<(Config, Stored), FilesError> {
    let part = Component::Autoencoder;
    if path.is_file() {
        let files = ModelFiles::open(path)?;
        return Ok((files.config(part)?, files.weights(part)?));
    }
    let config = Config::read(&path.join("config.json"))?;
    Ok((config, Stored::file(weights_file(path, part.stem())?)))
}

/// Draws from the distribution that stacked means and log variances describe.
pub fn sample(moments: &Tensor, generator: &mut Generator) -> Tensor {
    let mut shape = moments.shape().to_vec();
    shape[1] /= 2;
    let mut latent = generator.normal(shape);
    let half = latent.row_len();
    for row in 0..moments.shape()[0] {
        let (means, log_variances) = moments.row(row).split_at(half);
        let drawn = &mut latent.data_mut()[row * half..(row + 1) * half];
        for ((value, mean), log_variance) in drawn.iter_mut().zip(means).zip(log_variances) {
            *value = mean + (0.5 * log_variance.clamp(-30.0, 20.0)).exp() * *value;
        }
    }
    latent
}
