//! A layer of CLIP's encoders, which texts and pictures go through alike.

use super::layers::Module;
use crate::config::{Config, ConfigError};
use crate::ops::{Function, Heads, Ops, Value};

/// Widths and constants of all layers of an encoder.
#[derive(Clone, Debug)]
pub(super) struct ClipLayer {
    pub width: usize,
    pub epsilon: f32,
    inner: usize,
    heads: usize,
    activation: Function,
}

impl ClipLayer {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let width = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        if width % heads != 0 {
            return Err(config
                .unsupported("num_attention_heads", format!("divisors of hidden_size {width}")));
        }
        let activations = [("quick_gelu", Function::QuickGelu), ("gelu", Function::Gelu)];
        Ok(Self {
            width,
            heads,
            inner: config.size("intermediate_size")?,
            activation: config.choice("hidden_act", Function::QuickGelu, &activations)?,
            epsilon: config.number_or("layer_norm_eps", 1e-5)? as f32,
        })
    }

    /// `mask` says which tokens see which.
    pub fn compute<O: Ops>(&self, layer: &Module<O>, x: &O::T, mask: Option<&O::T>) -> Value<O> {
        let ops = layer.ops;
        let width = self.width;
        let attention = layer.at("self_attn");
        let normed = layer.at("layer_norm1").layer_norm(x, width, self.epsilon)?;
        let project = |name: &str, x: &O::T| attention.at(name).linear(x, width, width, true);
        let (query, key) = (project("q_proj", &normed)?, project("k_proj", &normed)?);
        let value = project("v_proj", &normed)?;
        let heads = Heads { count: self.heads, width: width / self.heads };
        let mixed = ops.attention([&query, &key, &value], heads, mask)?;
        let x = ops.add(x, &project("out_proj", &mixed)?)?;

        let normed = layer.at("layer_norm2").layer_norm(&x, width, self.epsilon)?;
        let inner = layer.at("mlp.fc1").linear(&normed, width, self.inner, true)?;
        let inner = ops.apply(&inner, self.activation)?;
        ops.add(&x, &layer.at("mlp.fc2").linear(&inner, self.inner, width, true)?)
    }
}
