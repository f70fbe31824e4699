//! `CLIPVisionModelWithProjection`: a style picture to what an IP-Adapter makes its tokens of.
//!
//! It looks at one picture at a time, as a stream has one.

use super::clip_layer::ClipLayer;
use super::layers::{Conv, Module};
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Ops, Value, Values, Window};

/// The image encoder's shape, from its `config.json`.
#[derive(Clone, Debug)]
pub struct ClipVision {
    layer: ClipLayer,
    layers: usize,
    channels: usize,
    side: usize,
    /// Pixels along the side of what becomes one token.
    patch: usize,
    projection: usize,
}

impl ClipVision {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let (side, patch) = (config.size_or("image_size", 224)?, config.size_or("patch_size", 32)?);
        if side % patch != 0 {
            let supported = format!("divisors of image_size {side}");
            return Err(config.unsupported("patch_size", supported));
        }
        Ok(Self {
            layer: ClipLayer::from_config(config)?,
            layers: config.size("num_hidden_layers")?,
            channels: config.size_or("num_channels", 3)?,
            side,
            patch,
            projection: config.size_or("projection_dim", 512)?,
        })
    }

    /// Pixels along the side of the picture.
    pub fn side(&self) -> usize {
        self.side
    }

    /// One token for the picture as a whole, and one for every patch.
    fn tokens(&self) -> usize {
        1 + (self.side / self.patch).pow(2)
    }

    fn embed<O: Ops>(&self, model: &Module<O>, picture: &O::T) -> Value<O> {
        let (ops, width) = (model.ops, self.layer.width);
        let embeddings = model.at("embeddings");
        let patches = Conv {
            inputs: self.channels,
            outputs: width,
            side: self.patch,
            window: Window::symmetric(self.patch, 0),
            has_bias: false,
        };
        let patches = embeddings.at("patch_embedding").conv(picture, patches)?;
        let patches = ops.permute(&ops.reshape(&patches, &[0, width as i64, -1])?, &[0, 2, 1])?;
        let whole = embeddings.param("class_embedding", &[width])?;
        let whole = ops.reshape(&whole, &[1, 1, width as i64])?;
        let places = embeddings.at("position_embedding").table(self.tokens(), width)?;
        ops.add(&ops.concat(&[&whole, &patches], 1)?, &places)
    }

    /// The token of the whole picture, normed and projected.
    fn pool<O: Ops>(&self, root: &Module<O>, model: &Module<O>, x: &O::T) -> Value<O> {
        let (ops, width) = (root.ops, self.layer.width);
        let whole = ops.reshape(&ops.slice(x, 1, 0, Some(1))?, &[1, width as i64])?;
        let normed = model.at("post_layernorm").layer_norm(&whole, width, self.layer.epsilon)?;
        root.at("visual_projection").linear(&normed, width, self.projection, false)
    }
}

impl Network for ClipVision {
    /// A picture by CLIP's mean and deviation.
    fn inputs(&self) -> Vec<Port> {
        let dims = [1, self.channels, self.side, self.side].map(Dim::Fixed);
        vec![Port::new("pixel_values", dims)]
    }

    /// What the last layer is given, and the whole picture as one vector.
    fn outputs(&self) -> Vec<Port> {
        let hidden = [1, self.tokens(), self.layer.width].map(Dim::Fixed);
        let pooled = [1, self.projection].map(Dim::Fixed);
        vec![Port::new("hidden_state", hidden), Port::new("image_embeds", pooled)]
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let root = Module::root(ops);
        let model = root.at("vision_model");
        let embedded = self.embed(&model, &inputs[0])?;
        // The name as it is in every checkpoint.
        let norm = model.at("pre_layrnorm");
        let first = norm.layer_norm(&embedded, self.layer.width, self.layer.epsilon)?;
        let run = |x: O::T, index: usize| {
            self.layer.compute(&model.at(format_args!("encoder.layers.{index}")), &x, None)
        };
        let last = self.layers - 1;
        let hidden = (0..last).try_fold(first, run)?;
        let pooled = self.pool(&root, &model, &run(hidden.clone(), last)?)?;
        Ok(vec![hidden, pooled])
    }
}
