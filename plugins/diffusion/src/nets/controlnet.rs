//! `ControlNetModel`: from latents and a control picture to what a UNet adds to its own activations.
//!
//! It is the first half of a UNet whose first activation also has the control picture in it, and one convolution behind
//! everything that half keeps. How strong the residuals are, and which ControlNets work together, is for those to say who
//! hand them to the UNet.

use super::descent::Descent;
use super::layers::{Conv, Module};
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Function, Ops, Value, Values};

/// Channels of the control picture at each resolution, in diffusers' default.
const USUAL_CHANNELS: [usize; 4] = [16, 32, 96, 256];

/// The network's shape, from `config.json`.
#[derive(Clone, Debug)]
pub struct ControlNet {
    descent: Descent,
    picture_channels: usize,
    /// Of the control picture's activations, each at half the size of the one before.
    embedding: Vec<usize>,
}

impl ControlNet {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        config.require("controlnet_conditioning_channel_order", "rgb")?;
        config.require("global_pool_conditions", false)?;
        let key = "conditioning_embedding_out_channels";
        Ok(Self {
            descent: Descent::from_config(config)?,
            picture_channels: config.size_or("conditioning_channels", 3)?,
            embedding: match config.get(key) {
                Some(_) => config.sizes(key)?,
                None => USUAL_CHANNELS.to_vec(),
            },
        })
    }

    /// Channels of the control picture: 3, or 6 for two pictures.
    pub fn picture_channels(&self) -> usize {
        self.picture_channels
    }

    /// Pixels of the control picture along the side of one latent.
    pub fn downsampling(&self) -> usize {
        1 << (self.embedding.len() - 1)
    }

    /// Width of the text embeddings it attends to.
    pub fn context(&self) -> usize {
        self.descent.context
    }

    /// `ControlNetConditioningEmbedding`: the control picture at the size of latents.
    fn embed<O: Ops>(&self, module: &Module<O>, picture: &O::T) -> Value<O> {
        let silu = |x: &O::T| module.ops.apply(x, Function::Silu);
        let enter = Conv::same(self.picture_channels, self.embedding[0], 3);
        let mut hidden = silu(&module.at("conv_in").conv(picture, enter)?)?;
        for (level, pair) in self.embedding.windows(2).enumerate() {
            let block = |index: usize| module.at(format_args!("blocks.{}", 2 * level + index));
            hidden = silu(&block(0).conv(&hidden, Conv::same(pair[0], pair[0], 3))?)?;
            let down = Conv { outputs: pair[1], ..Conv::down(pair[0], [1; 4]) };
            hidden = silu(&block(1).conv(&hidden, down)?)?;
        }
        let last = self.embedding[self.embedding.len() - 1];
        module.at("conv_out").conv(&hidden, Conv::same(last, self.descent.levels[0].channels, 3))
    }
}

impl Network for ControlNet {
    /// Those of the UNet, then the control picture in [0, 1].
    fn inputs(&self) -> Vec<Port> {
        let side = |name| Dim::Times(name, self.downsampling());
        let mut inputs = self.descent.inputs();
        inputs.push(Port::picture_of("controlnet_cond", self.picture_channels, side));
        inputs
    }

    /// For each activation that is kept for the way up, then for the middle.
    fn outputs(&self) -> Vec<Port> {
        let skips = self.descent.skips().into_iter().enumerate();
        let down = skips.map(|(index, skip)| {
            self.descent.port(format!("down_block_res_samples.{index}"), skip)
        });
        let middle = self.descent.port("mid_block_res_sample".into(), self.descent.deepest());
        down.chain([middle]).collect()
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let (root, descent) = (Module::root(ops), &self.descent);
        let (usual, picture) = inputs.split_at(descent.inputs().len());
        let given = descent.given(&root, usual)?;
        let picture = self.embed(&root.at("controlnet_cond_embedding"), &picture[0])?;
        let first = ops.add(&descent.enter(&root, &usual[0])?, &picture)?;
        let (lowest, kept) = descent.descend(&root, first, &given)?;
        let middle = descent.middle(&root, &lowest, &given)?;
        let point = |module: Module<O>, x: &O::T, channels| {
            module.conv(x, Conv::same(channels, channels, 1))
        };
        let places = descent.skips().into_iter().enumerate();
        let mut residuals = places
            .zip(&kept)
            .map(|((index, skip), x)| {
                point(root.at(format_args!("controlnet_down_blocks.{index}")), x, skip.channels)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let channels = descent.deepest().channels;
        residuals.push(point(root.at("controlnet_mid_block"), &middle, channels)?);
        Ok(residuals)
    }
}
