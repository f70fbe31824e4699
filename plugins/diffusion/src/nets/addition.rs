//! What a UNet adds to the time embedding, so that it reaches every residual block.

use super::layers::Module;
use super::waves::{self, Waves};
use super::{Dim, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Heads, Ops, Value};

/// `addition_embed_type` of diffusers.
#[derive(Clone, Copy, Debug)]
pub enum Addition {
    /// The prompt, pooled by attention: `TextTimeEmbedding`.
    Text { heads: usize, context: usize },
    /// The prompt as one vector, and the picture's sizes: SDXL.
    TextTime { pooled: usize, waves: Waves },
}

/// What SDXL is told of a picture: original size, crop and target size, two numbers each.
const SIZES: usize = 6;

impl Addition {
    pub fn from_config(config: &Config) -> Result<Option<Self>, ConfigError> {
        match config.get("addition_embed_type").and_then(|value| value.as_str()) {
            None => config.require_absent("addition_embed_type").map(|()| None),
            Some("text") => Self::text(config).map(Some),
            Some("text_time") => Self::text_time(config).map(Some),
            Some(_) => {
                Err(config.unsupported("addition_embed_type", "\"text\", \"text_time\", null"))
            }
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

    fn text_time(config: &Config) -> Result<Self, ConfigError> {
        let width = config.size("addition_time_embed_dim")?;
        if width % 2 != 0 {
            return Err(config.unsupported("addition_time_embed_dim", "an even number"));
        }
        let key = "projection_class_embeddings_input_dim";
        let pooled = config.size(key)?.checked_sub(SIZES * width).filter(|&pooled| pooled > 0);
        let supported =
            || format!("a number above {}, {SIZES} times addition_time_embed_dim", SIZES * width);
        let pooled = pooled.ok_or_else(|| config.unsupported(key, supported()))?;
        Ok(Self::TextTime { pooled, waves: Waves::from_config(config, width)? })
    }

    /// Width of the prompt as one vector, where it is asked for.
    pub fn pooled_width(&self) -> Option<usize> {
        match *self {
            Self::Text { .. } => None,
            Self::TextTime { pooled, .. } => Some(pooled),
        }
    }

    /// The inputs it takes beside the prompt's embeddings.
    pub fn inputs(&self) -> Vec<Port> {
        let port = |name, width| Port::new(name, [Dim::Free("rows"), Dim::Fixed(width)]);
        match *self {
            Self::Text { .. } => vec![],
            Self::TextTime { pooled, .. } => {
                vec![port("text_embeds", pooled), port("time_ids", SIZES)]
            }
        }
    }

    /// `[rows, width]` from the prompt's embeddings, `[rows, tokens, context]`, and the inputs of its own behind them.
    pub fn embed<O: Ops>(&self, module: &Module<O>, inputs: &[O::T], width: usize) -> Value<O> {
        match *self {
            Self::Text { heads, context } => {
                Self::embed_text(module, &inputs[0], (heads, context), width)
            }
            Self::TextTime { pooled, waves } => {
                let ops = module.ops;
                let flat = SIZES * waves.width;
                let sizes = ops.reshape(&waves.of(ops, &inputs[2])?, &[-1, flat as i64])?;
                let joined = ops.concat(&[&inputs[1], &sizes], 1)?;
                waves::embed(module, &joined, pooled + flat, width)
            }
        }
    }

    fn embed_text<O: Ops>(
        module: &Module<O>,
        prompt: &O::T,
        (heads, context): (usize, usize),
        width: usize,
    ) -> Value<O> {
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
