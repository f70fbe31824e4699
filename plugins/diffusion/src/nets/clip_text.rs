//! `CLIPTextModel` and `CLIPTextModelWithProjection`: token ids to the embeddings the UNet attends to.

use super::layers::Module;
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Function, Heads, Ops, Value, Values};

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
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    tokens: usize,
    activation: Function,
    epsilon: f32,
    projection: usize,
    end: usize,
}

impl ClipText {
    pub fn from_config(config: &Config, reading: Reading) -> Result<Self, ConfigError> {
        let width = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        if width % heads != 0 {
            return Err(config
                .unsupported("num_attention_heads", format!("divisors of hidden_size {width}")));
        }
        let tokens = config.size_or("max_position_embeddings", 77)?;
        if !(2..=MAX_TOKENS).contains(&tokens) {
            let supported = format!("a whole number from 2 to {MAX_TOKENS}");
            return Err(config.unsupported("max_position_embeddings", supported));
        }
        let activations = [("quick_gelu", Function::QuickGelu), ("gelu", Function::Gelu)];
        Ok(Self {
            reading,
            vocabulary: config.size("vocab_size")?,
            width,
            heads,
            inner: config.size("intermediate_size")?,
            layers: config.size("num_hidden_layers")?,
            tokens,
            activation: config.choice("hidden_act", Function::QuickGelu, &activations)?,
            epsilon: config.number_or("layer_norm_eps", 1e-5)? as f32,
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
        self.width
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
        let words = embeddings.at("token_embedding").table(self.vocabulary, self.width)?;
        let places = embeddings.at("position_embedding").table(self.tokens, self.width)?;
        model.ops.add(&model.ops.embedding(&words, ids)?, &places)
    }

    fn layer<O: Ops>(&self, layer: &Module<O>, x: &O::T, mask: &O::T) -> Value<O> {
        let ops = layer.ops;
        let width = self.width;
        let attention = layer.at("self_attn");
        let normed = layer.at("layer_norm1").layer_norm(x, width, self.epsilon)?;
        let project = |name: &str, x: &O::T| attention.at(name).linear(x, width, width, true);
        let (query, key) = (project("q_proj", &normed)?, project("k_proj", &normed)?);
        let value = project("v_proj", &normed)?;
        let heads = Heads { count: self.heads, width: width / self.heads };
        let mixed = ops.attention([&query, &key, &value], heads, Some(mask))?;
        let x = ops.add(x, &project("out_proj", &mixed)?)?;

        let normed = layer.at("layer_norm2").layer_norm(&x, width, self.epsilon)?;
        let inner = layer.at("mlp.fc1").linear(&normed, width, self.inner, true)?;
        let inner = ops.apply(&inner, self.activation)?;
        ops.add(&x, &layer.at("mlp.fc2").linear(&inner, self.inner, width, true)?)
    }

    fn norm<O: Ops>(&self, model: &Module<O>, x: &O::T) -> Value<O> {
        model.at("final_layer_norm").layer_norm(x, self.width, self.epsilon)
    }

    /// The token that `end` marks with a 1, normed and projected.
    fn pool<O: Ops>(&self, root: &Module<O>, x: &O::T, end: &O::T) -> Value<O> {
        let ops = root.ops;
        let marks = ops.reshape(end, &[0, 1, self.tokens as i64])?;
        let token = ops.reshape(&ops.matmul(&marks, x)?, &[0, self.width as i64])?;
        let normed = self.norm(&root.at("text_model"), &token)?;
        root.at("text_projection").linear(&normed, self.width, self.projection, false)
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
        let hidden = [Dim::Free("rows"), Dim::Fixed(self.tokens), Dim::Fixed(self.width)];
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
            self.layer(&model.at(format_args!("encoder.layers.{index}")), &x, &mask)
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
