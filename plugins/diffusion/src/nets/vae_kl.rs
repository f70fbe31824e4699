//! `AutoencoderKL`: the autoencoder SD checkpoints come with.
//!
//! The encoder gives the moments of a distribution; sampling needs the stream's random generator and is done there.

use super::layers::{Attention, Conv, Module, Resnet};
use super::{Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Groups, Ops, Value, Values};

const EPSILON: f32 = 1e-6;

/// The autoencoder's shape, from its `config.json`.
#[derive(Clone, Debug)]
pub struct KlConfig {
    channels: Vec<usize>,
    layers: usize,
    groups: usize,
    latent_channels: usize,
    scaling_factor: f32,
    has_mid_attention: bool,
    has_quant_conv: bool,
    has_post_quant_conv: bool,
    /// The one of SDXL: in half precision its pictures are black.
    overflows_halves: bool,
}

impl KlConfig {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let channels = config.sizes("block_out_channels")?;
        config.require("in_channels", 3)?;
        config.require("out_channels", 3)?;
        config.require("act_fn", "silu")?;
        config.require("shift_factor", 0)?;
        config.require("down_block_types", vec!["DownEncoderBlock2D"; channels.len()])?;
        config.require("up_block_types", vec!["UpDecoderBlock2D"; channels.len()])?;
        config.require_absent("latents_mean")?;
        config.require_absent("latents_std")?;
        let groups = config.size_or("norm_num_groups", 32)?;
        if let Some(width) = channels.iter().find(|&width| width % groups != 0) {
            return Err(
                config.unsupported("norm_num_groups", format!("divisors of {width} channels"))
            );
        }
        let scaling_factor = config.number_or("scaling_factor", 0.18215)? as f32;
        if !(scaling_factor.is_finite() && scaling_factor > 0.0) {
            return Err(config.unsupported("scaling_factor", "a number above 0"));
        }
        Ok(Self {
            layers: config.size_or("layers_per_block", 1)?,
            latent_channels: config.size_or("latent_channels", 4)?,
            has_mid_attention: config.bool_or("mid_block_add_attention", true)?,
            has_quant_conv: config.bool_or("use_quant_conv", true)?,
            has_post_quant_conv: config.bool_or("use_post_quant_conv", true)?,
            overflows_halves: config.bool_or("force_upcast", false)?,
            channels,
            groups,
            scaling_factor,
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
        1 << (self.channels.len() - 1)
    }

    fn lowest(&self) -> usize {
        self.channels[self.channels.len() - 1]
    }

    fn resnet(&self, inputs: usize, outputs: usize) -> Resnet {
        Resnet { inputs, outputs, time: None, groups: self.groups, epsilon: EPSILON }
    }

    fn middle<O: Ops>(&self, half: &Module<O>, x: &O::T) -> Value<O> {
        let block = half.at("mid_block");
        let resnet = self.resnet(self.lowest(), self.lowest());
        let mut hidden = block.at("resnets.0").resnet(x, None, resnet)?;
        if self.has_mid_attention {
            hidden = self.attention(&block.at("attentions.0"), &hidden)?;
        }
        block.at("resnets.1").resnet(&hidden, None, resnet)
    }

    fn attention<O: Ops>(&self, module: &Module<O>, x: &O::T) -> Value<O> {
        let ops = module.ops;
        let channels = self.lowest();
        let normed = module.at("group_norm").group_norm(x, self.norm(channels))?;
        let tokens = ops.permute(&ops.reshape(&normed, &[0, channels as i64, -1])?, &[0, 2, 1])?;
        let attention = Attention { channels, context: channels, heads: 1, has_bias: true };
        let mixed = module.attention(&tokens, &tokens, attention)?;
        ops.add(x, &ops.reshape_like(&ops.permute(&mixed, &[0, 2, 1])?, x)?)
    }

    fn norm(&self, channels: usize) -> Groups {
        Groups { channels, count: self.groups, epsilon: EPSILON }
    }

    fn finish<O: Ops>(
        &self,
        half: &Module<O>,
        x: &O::T,
        inputs: usize,
        outputs: usize,
    ) -> Value<O> {
        let active = half.at("conv_norm_out").group_norm_silu(x, self.norm(inputs))?;
        half.at("conv_out").conv(&active, Conv::same(inputs, outputs, 3))
    }
}

/// Pictures in [-1, 1] to means and log variances, stacked along the channels.
#[derive(Clone, Debug)]
pub struct KlEncoder(pub KlConfig);

impl Network for KlEncoder {
    fn inputs(&self) -> Vec<Port> {
        vec![Port::picture("image", 3)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::picture("moments", 2 * self.0.latent_channels)]
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let config = &self.0;
        let root = Module::root(ops);
        let half = root.at("encoder");
        let mut width = config.channels[0];
        let mut x = half.at("conv_in").conv(&inputs[0], Conv::same(3, width, 3))?;
        for (level, &outputs) in config.channels.iter().enumerate() {
            let block = half.at(format_args!("down_blocks.{level}"));
            for layer in 0..config.layers {
                let resnet = config.resnet(width, outputs);
                x = block.at(format_args!("resnets.{layer}")).resnet(&x, None, resnet)?;
                width = outputs;
            }
            if level + 1 < config.channels.len() {
                x = block.at("downsamplers.0.conv").conv(&x, Conv::down(width, [0, 0, 1, 1]))?;
            }
        }
        let moments = 2 * config.latent_channels;
        let x = config.finish(&half, &config.middle(&half, &x)?, width, moments)?;
        if !config.has_quant_conv {
            return Ok(vec![x]);
        }
        Ok(vec![root.at("quant_conv").conv(&x, Conv::same(moments, moments, 1))?])
    }

    fn needs_full_precision(&self) -> bool {
        self.0.overflows_halves
    }
}

/// Unscaled latents to pictures in about [-1, 1], not clamped.
#[derive(Clone, Debug)]
pub struct KlDecoder(pub KlConfig);

impl Network for KlDecoder {
    fn inputs(&self) -> Vec<Port> {
        vec![Port::picture("latent", self.0.latent_channels)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::picture("image", 3)]
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let config = &self.0;
        let root = Module::root(ops);
        let half = root.at("decoder");
        let latent = config.latent_channels;
        let mut x = inputs[0].clone();
        if config.has_post_quant_conv {
            x = root.at("post_quant_conv").conv(&x, Conv::same(latent, latent, 1))?;
        }
        let mut width = config.lowest();
        x = half.at("conv_in").conv(&x, Conv::same(latent, width, 3))?;
        x = config.middle(&half, &x)?;
        for (level, &outputs) in config.channels.iter().rev().enumerate() {
            let block = half.at(format_args!("up_blocks.{level}"));
            for layer in 0..=config.layers {
                let resnet = config.resnet(width, outputs);
                x = block.at(format_args!("resnets.{layer}")).resnet(&x, None, resnet)?;
                width = outputs;
            }
            if level + 1 < config.channels.len() {
                x = block
                    .at("upsamplers.0.conv")
                    .conv(&ops.upsample(&x)?, Conv::same(width, width, 3))?;
            }
        }
        Ok(vec![config.finish(&half, &x, width, 3)?])
    }

    fn needs_full_precision(&self) -> bool {
        self.0.overflows_halves
    }
}
