//! `AutoencoderTiny` (TAESD): convolutions and ReLU, fast enough to run for every frame.
//!
//! How much smaller latents are than pictures, and what they are scaled by, is the checkpoint's business: both come from
//! its config.

use super::layers::{Conv, Module};
use super::run::{Link, run};
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Function, OpError, Ops, Value, Values};

/// The autoencoder's shape, from its `config.json`.
#[derive(Clone, Debug)]
pub struct TinyConfig {
    latent_channels: usize,
    scaling_factor: f32,
    encoder: Half,
    decoder: Half,
}

/// Width and number of blocks at each level, in order of use.
#[derive(Clone, Debug)]
struct Half {
    width: usize,
    blocks: Vec<usize>,
}

impl TinyConfig {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        config.require("in_channels", 3)?;
        config.require("out_channels", 3)?;
        config.require("act_fn", "relu")?;
        config.require("upsample_fn", "nearest")?;
        config.require("upsampling_scaling_factor", 2)?;
        config.require("shift_factor", 0)?;
        let scaling_factor = config.number_or("scaling_factor", 1.0)? as f32;
        if !(scaling_factor.is_finite() && scaling_factor > 0.0) {
            return Err(config.unsupported("scaling_factor", "a number above 0"));
        }
        let encoder = half(config, "encoder_block_out_channels", "num_encoder_blocks")?;
        let decoder = half(config, "decoder_block_out_channels", "num_decoder_blocks")?;
        if encoder.blocks.len() != decoder.blocks.len() {
            return Err(
                config.unsupported("num_decoder_blocks", "as many levels as num_encoder_blocks")
            );
        }
        Ok(Self {
            latent_channels: config.size_or("latent_channels", 4)?,
            scaling_factor,
            encoder,
            decoder,
        })
    }

    pub fn scaling_factor(&self) -> f32 {
        self.scaling_factor
    }

    pub fn latent_channels(&self) -> usize {
        self.latent_channels
    }

    /// Picture pixels per latent pixel, along one side.
    pub fn downsampling(&self) -> usize {
        1 << (self.encoder.blocks.len() - 1)
    }
}

fn half(config: &Config, widths_key: &str, blocks_key: &str) -> Result<Half, ConfigError> {
    let widths = config.sizes(widths_key)?;
    // diffusers builds unequal widths and fails when it runs them.
    if widths.iter().any(|&width| width != widths[0]) {
        return Err(config.unsupported(widths_key, "the same width on every level"));
    }
    let list = config.get(blocks_key).and_then(|value| value.as_array());
    let blocks = list.and_then(|list| {
        let count = |value: &serde_json::Value| {
            value.as_u64().filter(|&count| count <= 64).map(|count| count as usize)
        };
        list.iter().map(count).collect::<Option<Vec<_>>>()
    });
    match blocks {
        Some(blocks) if blocks.len() == widths.len() => Ok(Half { width: widths[0], blocks }),
        _ => {
            Err(config.unsupported(blocks_key, format!("{} whole numbers up to 64", widths.len())))
        }
    }
}

/// `AutoencoderTinyBlock`: three convolutions beside the identity.
fn block<O: Ops>(module: &Module<O>, x: &O::T, width: usize) -> Value<O> {
    let conv = Conv::same(width, width, 3);
    let mut hidden = x.clone();
    for index in [0, 2] {
        hidden = module.at(format_args!("conv.{index}")).conv_then(&hidden, conv, None, true)?;
    }
    module.at("conv.4").conv_then(&hidden, conv, Some(x), true)
}

/// Goes through the numbered layers of a `Sequential`. What has no activation waits, to be computed as one run.
struct Layers<'a, O: Ops> {
    module: Module<'a, O>,
    next: usize,
    x: O::T,
    channels: usize,
    waiting: Vec<Link<'a, O>>,
}

impl<'a, O: Ops> Layers<'a, O> {
    fn new(module: Module<'a, O>, x: O::T, channels: usize) -> Self {
        Self { module, next: 0, x, channels, waiting: Vec::new() }
    }

    fn next(&mut self) -> Module<'a, O> {
        self.next += 1;
        self.module.at(self.next - 1)
    }

    fn affine(&mut self, factor: f32, offset: f32) {
        self.waiting.push(Link::Affine { factor, offset });
    }

    fn conv(&mut self, conv: Conv) {
        let module = self.next();
        self.waiting.push(Link::Conv(module, conv));
    }

    fn double(&mut self) {
        self.next += 1; // The upsampling has a number of its own.
        self.waiting.push(Link::Double);
    }

    fn relu(&mut self) -> Result<(), OpError> {
        let x = self.flush()?;
        self.next += 1; // So has the ReLU.
        self.x = self.module.ops.apply(&x, Function::Relu)?;
        Ok(())
    }

    fn blocks(&mut self, count: usize, width: usize) -> Result<(), OpError> {
        for _ in 0..count {
            let x = self.flush()?;
            self.x = block(&self.next(), &x, width)?;
        }
        Ok(())
    }

    /// The result of all layers so far.
    fn flush(&mut self) -> Value<O> {
        let links = std::mem::take(&mut self.waiting);
        self.x = run(self.module.ops, &self.x, self.channels, &links)?;
        let last = links.iter().rev().find_map(Link::conv);
        self.channels = last.map_or(self.channels, |conv| conv.outputs);
        Ok(self.x.clone())
    }
}

/// Pictures in [-1, 1] to unscaled latents.
#[derive(Clone, Debug)]
pub struct TinyEncoder(pub TinyConfig);

impl Network for TinyEncoder {
    fn inputs(&self) -> Vec<Port> {
        let side = |name| Dim::MultipleOf(name, self.0.downsampling());
        vec![Port::picture_of("image", 3, side)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::picture("latent", self.0.latent_channels)]
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let Half { width, blocks } = &self.0.encoder;
        let module = Module::root(ops).at("encoder.layers");
        let mut layers = Layers::new(module, inputs[0].clone(), 3);
        layers.affine(0.5, 0.5);
        for (level, &count) in blocks.iter().enumerate() {
            layers.conv(if level == 0 {
                Conv::same(3, *width, 3)
            } else {
                Conv::down(*width, [1; 4]).without_bias()
            });
            layers.blocks(count, *width)?;
        }
        layers.conv(Conv::same(*width, self.0.latent_channels, 3));
        Ok(vec![layers.flush()?])
    }
}

/// Unscaled latents to pictures in about [-1, 1], not clamped.
#[derive(Clone, Debug)]
pub struct TinyDecoder(pub TinyConfig);

impl Network for TinyDecoder {
    fn inputs(&self) -> Vec<Port> {
        // Two borders, each of which may be computed on its own.
        let side = |name| Dim::AtLeast(name, 2);
        vec![Port::picture_of("latent", self.0.latent_channels, side)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::picture("image", 3)]
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let Half { width, blocks } = &self.0.decoder;
        let latent_channels = self.0.latent_channels;
        let module = Module::root(ops).at("decoder.layers");
        let squashed = ops.apply(&ops.scale(&inputs[0], 1.0 / 3.0)?, Function::Tanh)?;
        let mut layers = Layers::new(module, squashed, latent_channels);
        layers.affine(3.0, 0.0);
        layers.conv(Conv::same(latent_channels, *width, 3));
        layers.relu()?;
        for (level, &count) in blocks.iter().enumerate() {
            layers.blocks(count, *width)?;
            if level + 1 < blocks.len() {
                layers.double();
                layers.conv(Conv::same(*width, *width, 3).without_bias());
            }
        }
        layers.conv(Conv::same(*width, 3, 3));
        layers.affine(2.0, -1.0);
        Ok(vec![layers.flush()?])
    }
}
