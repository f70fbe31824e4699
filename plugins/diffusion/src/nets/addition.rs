//! What a UNet adds to the time embedding, so that it reaches every residual block.

use super::layers::Module;
use crate::config::{Config, ConfigError};
use crate::ops::{Heads, Ops, Value};

/// `addition_embed_type` of diffusers.
#[derive(Clone, Copy, Debug)]
pub enum Addition {
    /// The prompt, pooled by attention: `TextTimeEmbedding`.
    Text { heads: usize, context: usize },
}

impl Addition {
    pub fn from_config(config: &Config) -> Result<Option<Self>, ConfigError> {
        match config.get("addition_embed_type").and_then(|value| value.as_str()) {
            None => config.require_absent("addition_embed_type").map(|()| None),
            Some("text") => Self::text(config).map(Some),
            Some(_) => Err(config.unsupported("addition_embed_type", "\"text\", null")),
        }
    }

    fn text(config: &Config) -> Result<Self, ConfigError> {
        let context = config.size("cross_attention_dim")?;
        let heads = config.size_or("addition_embed_type_num_heads", 64)?;
        if context % heads != 0 {
            let supported = format!("divisors of cross_attention_dim {context}");
            return Err(config.unsupported("addition_embed_type_num_heads", supported));
        }
        Ok(Self::Text { heads, context })
    }

    /// `[rows, width]` from the prompt's embeddings, `[rows, tokens, context]`.
    pub fn embed<O: Ops>(&self, module: &Module<O>, prompt: &O::T, width: usize) -> Value<O> {
        let Self::Text { heads, context } = *self;
        let normed = module.at("norm1").layer_norm(prompt, context, 1e-5)?;
        let pooled = pool(&module.at("pool"), &normed, context, heads)?;
        let projected = module.at("proj").linear(&pooled, context, width, true)?;
        let normed = module.at("norm2").layer_norm(&projected, width, 1e-5)?;
        module.ops.reshape(&normed, &[-1, width as i64])
    }
}

/// `AttentionPooling`: the mean of the tokens asks all of them and itself.
fn pool<O: Ops>(module: &Module<O>, tokens: &O::T, width: usize, heads: usize) -> Value<O> {
    let ops = module.ops;
    let place = module.param("positional_embedding", &[1, width])?;
    let mean = ops.add(&ops.mean(tokens, 1)?, &place)?;
    let all = ops.concat(&[&mean, tokens], 1)?;
    let project = |name: &str, x: &O::T| module.at(name).linear(x, width, width, true);
    let (query, key) = (project("q_proj", &mean)?, project("k_proj", &all)?);
    let heads = Heads { count: heads, width: width / heads };
    ops.attention([&query, &key, &project("v_proj", &all)?], heads, None)
}
