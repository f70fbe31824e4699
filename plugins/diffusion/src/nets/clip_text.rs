//! `CLIPTextModel`: token ids to the embeddings the UNet attends to.

use super::layers::Module;
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Function, Heads, Ops, Value};

/// Most tokens taken; CLIP has 77, and the mask grows with the square.
const MAX_TOKENS: usize = 1024;

/// The text encoder's shape, from `text_encoder/config.json`.
#[derive(Clone, Debug)]
pub struct ClipText {
    vocabulary: usize,
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    tokens: usize,
    activation: Function,
    epsilon: f32,
}

impl ClipText {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
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
            vocabulary: config.size("vocab_size")?,
            width,
            heads,
            inner: config.size("intermediate_size")?,
            layers: config.size("num_hidden_layers")?,
            tokens,
            activation: config.choice("hidden_act", Function::QuickGelu, &activations)?,
            epsilon: config.number_or("layer_norm_eps", 1e-5)? as f32,
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

    /// No token sees a later one; padding is not masked.
    fn causal_mask<O: Ops>(&self, ops: &O) -> Value<O> {
        let count = self.tokens;
        let value = |index: usize| if index % count > index / count { f32::MIN } else { 0.0 };
        ops.constant(&(0..count * count).map(value).collect::<Vec<_>>(), &[count, count])
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
}

impl Network for ClipText {
    fn inputs(&self) -> Vec<Port> {
        vec![Port::new("input_ids", [Dim::Free("rows"), Dim::Fixed(self.tokens)])]
    }

    fn output(&self) -> Port {
        Port::new(
            "last_hidden_state",
            [Dim::Free("rows"), Dim::Fixed(self.tokens), Dim::Fixed(self.width)],
        )
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Value<O> {
        let model = Module::root(ops).at("text_model");
        let embeddings = model.at("embeddings");
        let words = embeddings.at("token_embedding").table(self.vocabulary, self.width)?;
        let places = embeddings.at("position_embedding").table(self.tokens, self.width)?;
        let mut x = ops.add(&ops.embedding(&words, &inputs[0])?, &places)?;
        let mask = self.causal_mask(ops)?;
        for index in 0..self.layers {
            x = self.layer(&model.at(format_args!("encoder.layers.{index}")), &x, &mask)?;
        }
        model.at("final_layer_norm").layer_norm(&x, self.width, self.epsilon)
    }
}
