//! The resolutions of a network, from its config.

use crate::config::{Config, ConfigError};

/// One resolution of the network.
#[derive(Clone, Copy, Debug)]
pub(in crate::nets) struct Level {
    pub channels: usize,
    pub has_attention: bool,
    pub heads: usize,
    /// Residual blocks on the way down; one more on the way up.
    pub layers: usize,
    /// Transformer blocks in each attention layer.
    pub depth: usize,
}

/// Of a level's layers, and of a layer's transformer blocks: far more than any model has, and little enough to be counted
/// without its weights.
const MOST_LAYERS: usize = 64;

/// Of the way down.
pub(super) fn levels(config: &Config) -> Result<Vec<Level>, ConfigError> {
    let channels = config.sizes("block_out_channels")?;
    if channels[0] % 2 != 0 {
        return Err(config.unsupported("block_out_channels", "an even first number"));
    }
    let count = channels.len();
    let attention = attention_levels(
        config,
        "down_block_types",
        ["DownBlock2D", "CrossAttnDownBlock2D"],
        count,
    )?;
    // A misnomer kept for compatibility: `attention_head_dim` holds the number of heads.
    let heads_key = if config.get("num_attention_heads").is_some() {
        "num_attention_heads"
    } else {
        "attention_head_dim"
    };
    let heads = config.sizes_per_level(heads_key, count)?;
    let layers = config.sizes_per_level("layers_per_block", count)?;
    let depths = match config.get("transformer_layers_per_block") {
        Some(_) => config.sizes_per_level("transformer_layers_per_block", count)?,
        None => vec![1; count],
    };
    for (key, counts) in [("layers_per_block", &layers), ("transformer_layers_per_block", &depths)]
    {
        if counts.iter().any(|&count| count > MOST_LAYERS) {
            return Err(config.unsupported(key, format!("at most {MOST_LAYERS}")));
        }
    }
    if let Some(index) = (0..count).find(|&index| channels[index] % heads[index] != 0) {
        return Err(
            config.unsupported(heads_key, format!("divisors of {} channels", channels[index]))
        );
    }
    let level = |index: usize| Level {
        channels: channels[index],
        has_attention: attention[index],
        heads: heads[index],
        layers: layers[index],
        depth: depths[index],
    };
    Ok((0..count).map(level).collect())
}

/// Which levels have attention, by their block types.
pub(in crate::nets) fn attention_levels(
    config: &Config,
    key: &str,
    types: [&str; 2],
    count: usize,
) -> Result<Vec<bool>, ConfigError> {
    let unsupported = || config.unsupported(key, format!("{count} of {}, {}", types[0], types[1]));
    let blocks = config.texts(key)?;
    if blocks.len() != count {
        return Err(unsupported());
    }
    blocks
        .iter()
        .map(|block| {
            types.iter().position(|name| name == block).map(|at| at == 1).ok_or_else(unsupported)
        })
        .collect()
}
