//! `Transformer2DModel`, which stands between residual blocks.

use super::{Descent, Given, Level};
use crate::nets::layers::{Attention, Conv, Module};
use crate::ops::{Function, Groups, Ops, Value};

impl Descent {
    /// `Transformer2DModel`: every pixel attends to every pixel and to the text.
    pub(in crate::nets) fn transformer<O: Ops>(
        &self,
        module: &Module<O>,
        x: &O::T,
        given: &Given<O>,
        level: Level,
    ) -> Value<O> {
        let ops = module.ops;
        let channels = level.channels;
        let to_tokens =
            |x: &O::T| ops.permute(&ops.reshape(x, &[0, channels as i64, -1])?, &[0, 2, 1]);
        let to_pixels = |tokens: &O::T| ops.reshape_like(&ops.permute(tokens, &[0, 2, 1])?, x);
        let point = Conv::same(channels, channels, 1);

        let norm = Groups { channels, count: self.groups, epsilon: 1e-6 };
        let normed = module.at("norm").group_norm(x, norm)?;
        let mut hidden = if self.has_linear_projection {
            module.at("proj_in").linear(&to_tokens(&normed)?, channels, channels, true)?
        } else {
            to_tokens(&module.at("proj_in").conv(&normed, point)?)?
        };
        for index in 0..level.depth {
            let block = module.at(format_args!("transformer_blocks.{index}"));
            hidden = self.transformer_block(&block, &hidden, given, level)?;
        }
        let hidden = if self.has_linear_projection {
            to_pixels(&module.at("proj_out").linear(&hidden, channels, channels, true)?)?
        } else {
            module.at("proj_out").conv(&to_pixels(&hidden)?, point)?
        };
        ops.add(&hidden, x)
    }

    fn transformer_block<O: Ops>(
        &self,
        block: &Module<O>,
        x: &O::T,
        given: &Given<O>,
        level: Level,
    ) -> Value<O> {
        let ops = block.ops;
        let Level { channels, heads, .. } = level;
        let to_itself = Attention { channels, context: channels, heads, has_bias: false };
        let to_text = Attention { context: self.context, ..to_itself };

        let normed = block.at("norm1").layer_norm(x, channels, 1e-5)?;
        let x = ops.add(x, &given.attend_to_itself(&block.at("attn1"), &normed, to_itself)?)?;
        let normed = block.at("norm2").layer_norm(&x, channels, 1e-5)?;
        let x = ops.add(&x, &given.attend_to_prompt(&block.at("attn2"), &normed, to_text)?)?;
        let normed = block.at("norm3").layer_norm(&x, channels, 1e-5)?;
        let (value, gate) = ops.halves(&block.at("ff.net.0.proj").linear(
            &normed,
            channels,
            8 * channels,
            true,
        )?)?;
        let gated = ops.mul(&value, &ops.apply(&gate, Function::Gelu)?)?;
        ops.add(&x, &block.at("ff.net.2").linear(&gated, 4 * channels, channels, true)?)
    }
}
