//! Where a UNet attends to itself and to the text, and how much.

use super::Unet;
use crate::nets::cached_attention::Layer;

const MIDDLE: &str = "mid_block";

/// Transformer blocks of one block of the network.
struct Group {
    block: String,
    level: usize,
    layers: usize,
}

impl Unet {
    /// Tokens and width of every self-attention, in the order in which they run, for latents of this height and width.
    pub fn self_attentions(&self, latent: [usize; 2]) -> Vec<[usize; 2]> {
        let halve = |size: &[usize; 2]| Some(size.map(|side| self.descent.halve(side)));
        let sizes = std::iter::successors(Some(latent), halve);
        let tokens: Vec<usize> =
            sizes.take(self.descent.levels.len()).map(|[height, width]| height * width).collect();
        let shape =
            |(_, level): (String, usize)| [tokens[level], self.descent.levels[level].channels];
        self.transformer_blocks().into_iter().map(shape).collect()
    }

    /// The layers whose keys and values are inputs and outputs.
    pub(super) fn cached_layers(&self) -> Vec<Layer> {
        if !self.has_cached_attention {
            return Vec::new();
        }
        let layer = |(block, level): (String, usize)| Layer {
            path: format!("{block}.attn1"),
            channels: self.descent.levels[level].channels,
        };
        self.transformer_blocks().into_iter().map(layer).collect()
    }

    /// How many attentions to the text there are, each of which an IP-Adapter adds to.
    pub fn cross_attentions(&self) -> usize {
        self.transformer_blocks().len()
    }

    /// Their paths, in the order in which an IP-Adapter numbers them: that of the state dict, where the middle is last.
    pub(super) fn adapted_layers(&self) -> Vec<String> {
        let blocks = self.transformer_blocks().into_iter().map(|(block, _)| block);
        let (middle, mut layers): (Vec<String>, Vec<String>) =
            blocks.partition(|block| block.starts_with(MIDDLE));
        layers.extend(middle);
        layers.iter().map(|block| format!("{block}.attn2.")).collect()
    }

    /// Every transformer block by its path, in the order in which they run, and its level.
    fn transformer_blocks(&self) -> Vec<(String, usize)> {
        let mut blocks = Vec::new();
        for Group { block, level, layers } in self.groups_with_attention() {
            for layer in 0..layers {
                for index in 0..self.descent.levels[level].depth {
                    let path = format!("{block}.attentions.{layer}.transformer_blocks.{index}");
                    blocks.push((path, level));
                }
            }
        }
        blocks
    }

    fn groups_with_attention(&self) -> Vec<Group> {
        let last = self.descent.levels.len() - 1;
        let levels =
            || self.descent.levels.iter().enumerate().filter(|(_, level)| level.has_attention);
        let down = levels().map(|(level, shape)| Group {
            block: format!("down_blocks.{level}"),
            level,
            layers: shape.layers,
        });
        let middle = Group { block: MIDDLE.into(), level: last, layers: 1 };
        let up = levels().rev().map(|(level, shape)| Group {
            block: format!("up_blocks.{}", last - level),
            level,
            layers: shape.layers + 1,
        });
        down.chain([middle]).chain(up).collect()
    }
}
