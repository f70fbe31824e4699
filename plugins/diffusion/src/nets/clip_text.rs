//! `CLIPTextModel` and `CLIPTextModelWithProjection`: token ids to the embeddings the UNet attends to.

use super::clip_layer::ClipLayer;
use super::layers::Module;
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Ops, Value, Values};

/// Most tokens taken; CLIP has 77, and the mask grows with the square.
const MAX_TOKENS: usize = 1024;

/// In configs from before the end token was written down, standing for the largest id of a text.
const LARGEST_ID: usize = 2;

/// What is read of the encoder; models differ in what their UNet was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The last layer's output, normed: Stable Diffusion 1.x and 2.x.
    Last,
    /// What the last layer is given: the first encoder of SDXL.
    BeforeLast,
    /// The same, and the whole text as one vector, projected: the second encoder of SDXL.
    BeforeLastAndPooled,
}

/// The text encoder's shape, from `text_encoder/config.json`.
#[derive(Clone, Debug)]
pub struct ClipText {
    reading: Reading,
    vocabulary: usize,
    layer: ClipLayer,
    layers: usize,
    tokens: usize,
    projection: usize,
    end: usize,
}

impl ClipText {
    pub fn from_config(config: &Config, reading: Reading) -> Result<Self, ConfigError> {
        let tokens = config.size_or("max_position_embeddings", 77)?;
        if !(2..=MAX_TOKENS).contains(&tokens) {
            let supported = format!("a whole number from 2 to {MAX_TOKENS}");
            return Err(config.unsupported("max_position_embeddings", supported));
        }
        Ok(Self {
            reading,
            vocabulary: config.size("vocab_size")?,
            layer: ClipLayer::from_config(config)?,
            layers: config.size("num_hidden_layers")?,
            tokens,
            projection: config.size_or("projection_dim", 512)?,
            end: config.size_or("eos_token_id", 49407)?,
        })
    }

    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Number of tokens every text is padded or cut to.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Width of the embeddings.
    pub fn width(&self) -> usize {
        self.layer.width
    }

    /// Width of the vector that stands for the whole text, where it is read.
    pub fn pooled_width(&self) -> Option<usize> {
        (self.reading == Reading::BeforeLastAndPooled).then_some(self.projection)
    }

    /// Where a text ends: the token that has seen all of it, and is read for the whole.
    pub fn end_of(&self, ids: &[u32]) -> usize {
        let end = match self.end {
            LARGEST_ID => ids.iter().max().copied(),
            end => u32::try_from(end).ok(),
        };
        ids.iter().position(|&id| Some(id) == end).unwrap_or(0)
    }

    /// No token sees a later one; padding is not masked.
    fn causal_mask<O: Ops>(&self, ops: &O) -> Value<O> {
        let count = self.tokens;
        let value = |index: usize| if index % count > index / count { f32::MIN } else { 0.0 };
        ops.constant(&(0..count * count).map(value).collect::<Vec<_>>(), &[count, count])
    }

    fn embed<O: Ops>(&self, model: &Module<O>, ids: &O::T) -> Value<O> {
        let embeddings = model.at("embeddings");
        let words = embeddings.at("token_embedding").table(self.vocabulary, self.layer.width)?;
        let places = embeddings.at("position_embedding").table(self.tokens, self.layer.width)?;
        model.ops.add(&model.ops.embedding(&words, ids)?, &places)
    }

    fn norm<O: Ops>(&self, model: &Module<O>, x: &O::T) -> Value<O> {
        model.at("final_layer_norm").layer_norm(x, self.layer.width, self.layer.epsilon)
    }

    /// The token that `end` marks with a 1, normed and projected.
    fn pool<O: Ops>(&self, root: &Module<O>, x: &O::T, end: &O::T) -> Value<O> {
        let ops = root.ops;
        let marks = ops.reshape(end, &[0, 1, self.tokens as i64])?;
        let token = ops.reshape(&ops.matmul(&marks, x)?, &[0, self.layer.width as i64])?;
        let normed = self.norm(&root.at("text_model"), &token)?;
        root.at("text_projection").linear(&normed, self.layer.width, self.projection, false)
    }
}

impl Network for ClipText {
    fn inputs(&self) -> Vec<Port> {
        let port = |name| Port::new(name, [Dim::Free("rows"), Dim::Fixed(self.tokens)]);
        match self.reading {
            Reading::Last | Reading::BeforeLast => vec![port("input_ids")],
            Reading::BeforeLastAndPooled => vec![port("input_ids"), port("end")],
        }
    }

    fn outputs(&self) -> Vec<Port> {
        let hidden = [Dim::Free("rows"), Dim::Fixed(self.tokens), Dim::Fixed(self.layer.width)];
        let pooled = [Dim::Free("rows"), Dim::Fixed(self.projection)];
        match self.reading {
            Reading::Last => vec![Port::new("last_hidden_state", hidden)],
            Reading::BeforeLast => vec![Port::new("hidden_state", hidden)],
            Reading::BeforeLastAndPooled => {
                vec![Port::new("hidden_state", hidden), Port::new("text_embeds", pooled)]
            }
        }
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let root = Module::root(ops);
        let model = root.at("text_model");
        let mask = self.causal_mask(ops)?;
        let run = |x: O::T, index: usize| {
            let layer = model.at(format_args!("encoder.layers.{index}"));
            self.layer.compute(&layer, &x, Some(&mask))
        };
        let last = self.layers - 1;
        let hidden = (0..last).try_fold(self.embed(&model, &inputs[0])?, run)?;
        Ok(match self.reading {
            Reading::Last => vec![self.norm(&model, &run(hidden, last)?)?],
            Reading::BeforeLast => vec![hidden],
            Reading::BeforeLastAndPooled => {
                let pooled = self.pool(&root, &run(hidden.clone(), last)?, &inputs[1])?;
                vec![hidden, pooled]
            }
        })
    }
}
