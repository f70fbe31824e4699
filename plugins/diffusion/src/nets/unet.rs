//! `UNet2DConditionModel` as SD1.5, SD2.1 (SD-Turbo) and SDXL use it, and with a prompt that reaches every residual block,
//! as in DeepFloyd IF.
//!
//! Latent sides need not be multiples of the downsampling: upsampling goes to the size of the skip it meets. Every row
//! has its own timestep, as the stream batch needs.

mod attentions;

use super::cached_attention::{self, Cached};
use super::descent::{Descent, Given, Lowest, Skip, attention_levels};
use super::image_prompt::{self, ImagePrompt};
use super::layers::{Conv, Module};
use super::{Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Groups, OpError, Ops, Value, Values};

/// The network's shape, from `unet/config.json`, and what it takes beside the usual inputs.
#[derive(Clone, Debug)]
pub struct Unet {
    descent: Descent,
    has_residuals: bool,
    /// Tokens of a picture, where it has an adapter for them.
    image_tokens: Option<usize>,
    has_cached_attention: bool,
}

impl Unet {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        refuse_variants(config)?;
        let descent = Descent::from_config(config)?;
        let types = ["UpBlock2D", "CrossAttnUpBlock2D"];
        let mut mirrored = attention_levels(config, "up_block_types", types, descent.levels.len())?;
        mirrored.reverse();
        if !mirrored.into_iter().eq(descent.levels.iter().map(|level| level.has_attention)) {
            return Err(config.unsupported("up_block_types", "the mirror of down_block_types"));
        }
        Ok(Self { descent, has_residuals: false, image_tokens: None, has_cached_attention: false })
    }

    /// With what ControlNets, each scaled and all summed, add to the activations that are kept for the way up and to that
    /// of the middle: further inputs, named as by diffusers.
    pub fn with_residuals(self) -> Self {
        Self { has_residuals: true, ..self }
    }

    pub fn has_residuals(&self) -> bool {
        self.has_residuals
    }

    /// With an IP-Adapter, which makes that many tokens of a picture: they are a further input, and so is for every
    /// attention to the text, in the adapter's order, how much they count. Its weights are looked for under
    /// [`ADAPTER`](super::ADAPTER).
    pub fn with_image_tokens(self, count: usize) -> Self {
        Self { image_tokens: Some(count), ..self }
    }

    pub fn image_tokens(&self) -> Option<usize> {
        self.image_tokens
    }

    /// With self-attention that also attends to earlier frames: their keys and values are further inputs, those of the
    /// frames at hand further outputs.
    pub fn with_cached_attention(self) -> Self {
        Self { has_cached_attention: true, ..self }
    }

    pub fn has_cached_attention(&self) -> bool {
        self.has_cached_attention
    }

    pub fn latent_channels(&self) -> usize {
        self.descent.latent_channels
    }

    /// Width of the text embeddings it attends to.
    pub fn context(&self) -> usize {
        self.descent.context
    }

    /// Width of the text's embedding as a whole, where it takes one.
    pub fn pooled_width(&self) -> Option<usize> {
        self.descent.addition.and_then(|addition| addition.pooled_width())
    }

    fn image_inputs(&self) -> Vec<Port> {
        let inputs =
            |tokens| image_prompt::inputs(tokens, self.context(), self.adapted_layers().len());
        self.image_tokens.into_iter().flat_map(inputs).collect()
    }

    fn ascend<O: Ops>(&self, root: &Module<O>, lowest: Lowest<O>, given: &Given<O>) -> Value<O> {
        let descent = &self.descent;
        let (mut hidden, mut skips) = lowest;
        let mut shapes = descent.skips();
        let mut channels = descent.lowest().channels;
        for (index, &level) in descent.levels.iter().rev().enumerate() {
            let block = root.at(format_args!("up_blocks.{index}"));
            for layer in 0..=level.layers {
                let (skip, shape) = skips
                    .pop()
                    .zip(shapes.pop())
                    .expect("the way down left one for each layer of the way up");
                let joined = root.ops.concat(&[&hidden, &skip], 1)?;
                let inputs = channels + shape.channels;
                hidden = descent.layer((&block, layer), &joined, inputs, given, level)?;
                channels = level.channels;
            }
            if let Some(skip) = skips.last() {
                let larger = root.ops.upsample_to(&hidden, skip)?;
                hidden = block
                    .at("upsamplers.0.conv")
                    .conv(&larger, Conv::same(channels, channels, 3))?;
            }
        }
        Ok(hidden)
    }

    /// From the last activation to the noise.
    fn leave<O: Ops>(&self, root: &Module<O>, hidden: &O::T) -> Value<O> {
        let Descent { ref levels, groups: count, epsilon, latent_channels, .. } = self.descent;
        let channels = levels[0].channels;
        let active = root
            .at("conv_norm_out")
            .group_norm_silu(hidden, Groups { channels, count, epsilon })?;
        root.at("conv_out").conv(&active, Conv::same(channels, latent_channels, 3))
    }

    /// The shapes of the residuals for latents of a shape; none for a UNet without them.
    pub fn residual_shapes(&self, latents: &[usize]) -> Vec<[usize; 4]> {
        let [rows, _, height, width] = *latents else { return Vec::new() };
        if !self.has_residuals {
            return Vec::new();
        }
        let skips = self.descent.skips().into_iter().chain([self.descent.deepest()]);
        let shape = |Skip { channels, halvings }: Skip| {
            let side = |side| (0..halvings).fold(side, |side, _| self.descent.halve(side));
            [rows, channels, side(height), side(width)]
        };
        skips.map(shape).collect()
    }

    /// Those of the way down, then that of the middle.
    fn residuals(&self) -> Vec<Port> {
        if !self.has_residuals {
            return Vec::new();
        }
        let skips = self.descent.skips().into_iter().enumerate();
        let down = skips.map(|(index, skip)| {
            self.descent.port(format!("down_block_additional_residuals.{index}"), skip)
        });
        let middle =
            self.descent.port("mid_block_additional_residual".into(), self.descent.deepest());
        down.chain([middle]).collect()
    }
}

/// Adds residuals where there are any: `from` has those of the way down and that of the middle.
fn add_residuals<O: Ops>(ops: &O, to: Lowest<O>, from: &[O::T]) -> Result<Lowest<O>, OpError> {
    let Some((middle, down)) = from.split_last() else { return Ok(to) };
    let skips = to.1.iter().zip(down).map(|(skip, residual)| ops.add(skip, residual));
    Ok((ops.add(&to.0, middle)?, skips.collect::<Result<_, _>>()?))
}

impl Network for Unet {
    fn inputs(&self) -> Vec<Port> {
        let mut inputs = self.descent.inputs();
        inputs.extend(self.residuals());
        inputs.extend(self.image_inputs());
        inputs.extend(cached_attention::inputs(&self.cached_layers()));
        inputs
    }

    fn outputs(&self) -> Vec<Port> {
        let mut outputs = vec![Port::picture("noise", self.latent_channels())];
        outputs.extend(cached_attention::outputs(&self.cached_layers()));
        outputs
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let (root, descent) = (Module::root(ops), &self.descent);
        let (usual, rest) = inputs.split_at(descent.inputs().len());
        let (residuals, rest) = rest.split_at(self.residuals().len());
        let (image, earlier) = rest.split_at(self.image_inputs().len());
        let mut given = descent.given(&root, usual)?;
        if let [tokens, scales] = image {
            given.image = Some(ImagePrompt { tokens, scales, layers: self.adapted_layers() });
        }
        given.cached = self.has_cached_attention.then(|| Cached::new(earlier));
        let first = descent.enter(&root, &usual[0])?;
        let (lowest, skips) = descent.descend(&root, first, &given)?;
        let lowest = descent.middle(&root, &lowest, &given)?;
        let lowest = add_residuals(ops, (lowest, skips), residuals)?;
        let hidden = self.ascend(&root, lowest, &given)?;
        let mut outputs = vec![self.leave(&root, &hidden)?];
        outputs.extend(given.cached.into_iter().flat_map(Cached::into_latest));
        Ok(outputs)
    }
}

/// Refuses what diffusers' UNet can be configured to, beyond the way down, and no checkpoint of these families uses.
fn refuse_variants(config: &Config) -> Result<(), ConfigError> {
    config.require("conv_out_kernel", 3)?;
    config.require("out_channels", config.size("in_channels")?)?;
    config.require("resnet_out_scale_factor", 1)?;
    config.require("resnet_skip_time_act", false)?;
    config.require_absent("cross_attention_norm")
}
