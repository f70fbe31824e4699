//! Layers with parameters, and the place in the state dict they take them from.

use crate::ops::{Convolution, Function, Groups, Heads, OpError, Ops, Value, Window};

/// A module of the state dict: names looked up through it are prefixed with its path.
pub struct Module<'a, O> {
    pub ops: &'a O,
    path: String,
}

/// Channels and kernel of a convolution.
#[derive(Clone, Copy)]
pub struct Conv {
    pub inputs: usize,
    pub outputs: usize,
    pub side: usize,
    pub window: Window,
    pub has_bias: bool,
}

impl Conv {
    /// A convolution that keeps the picture's size.
    pub fn same(inputs: usize, outputs: usize, side: usize) -> Self {
        Self { inputs, outputs, side, window: Window::symmetric(1, side / 2), has_bias: true }
    }

    /// A 3x3 convolution with stride 2.
    pub fn down(channels: usize, padding: [usize; 4]) -> Self {
        let window = Window { stride: 2, padding };
        Self { inputs: channels, outputs: channels, side: 3, window, has_bias: true }
    }

    pub fn without_bias(self) -> Self {
        Self { has_bias: false, ..self }
    }
}

/// Widths of an attention layer.
#[derive(Clone, Copy)]
pub struct Attention {
    pub channels: usize,
    /// Width of what keys and values are made from.
    pub context: usize,
    pub heads: usize,
    pub has_bias: bool,
}

/// Channels of a residual block, and what it makes of the time embedding if it takes one.
#[derive(Clone, Copy)]
pub struct Resnet {
    pub inputs: usize,
    pub outputs: usize,
    pub time: Option<Timed>,
    pub groups: usize,
    pub epsilon: f32,
}

/// Width of the time embedding, and how a residual block takes it.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    pub width: usize,
    pub by: TimedBy,
}

/// `resnet_time_scale_shift` of diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedBy {
    /// Added before the second norm.
    Shift,
    /// Scales and shifts what leaves the second norm.
    ScaleShift,
}

impl<'a, O: Ops> Module<'a, O> {
    pub fn root(ops: &'a O) -> Self {
        Self { ops, path: String::new() }
    }

    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { ops: self.ops, path: format!("{}{name}.", self.path) }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn param(&self, name: &str, shape: &[usize]) -> Value<O> {
        self.ops.param(&format!("{}{name}", self.path), shape)
    }

    fn bias(&self, wanted: bool, width: usize) -> Result<Option<O::T>, OpError> {
        wanted.then(|| self.param("bias", &[width])).transpose()
    }

    pub fn table(&self, count: usize, width: usize) -> Value<O> {
        self.param("weight", &[count, width])
    }

    pub fn linear(&self, x: &O::T, inputs: usize, outputs: usize, has_bias: bool) -> Value<O> {
        let weight = self.param("weight", &[outputs, inputs])?;
        self.ops.linear(x, &weight, self.bias(has_bias, outputs)?.as_ref())
    }

    pub fn conv(&self, x: &O::T, conv: Conv) -> Value<O> {
        self.conv_then(x, conv, None, false)
    }

    /// A convolution, to whose result something is added and that is then without what is negative.
    pub fn conv_then(
        &self,
        x: &O::T,
        conv: Conv,
        summand: Option<&O::T>,
        has_relu: bool,
    ) -> Value<O> {
        let Conv { inputs, outputs, side, window, has_bias } = conv;
        let weight = &self.param("weight", &[outputs, inputs, side, side])?;
        let bias = self.bias(has_bias, outputs)?;
        let bias = bias.as_ref();
        let convolution =
            Convolution { weight, bias, inputs, outputs, side, window, summand, has_relu };
        self.ops.convolve(x, convolution)
    }

    pub fn group_norm(&self, x: &O::T, groups: Groups) -> Value<O> {
        let [weight, bias] = ["weight", "bias"].map(|name| self.param(name, &[groups.channels]));
        self.ops.group_norm(x, [&weight?, &bias?], groups)
    }

    pub fn group_norm_silu(&self, x: &O::T, groups: Groups) -> Value<O> {
        let [weight, bias] = ["weight", "bias"].map(|name| self.param(name, &[groups.channels]));
        self.ops.group_norm_silu(x, [&weight?, &bias?], groups)
    }

    /// A group norm whose result is then multiplied by `1 + scale` and moved by `shift`, both `[rows, channels]`, and
    /// goes through SiLU: in one step, since a pass over the picture costs more than this arithmetic on its channels.
    fn scaled_group_norm_silu(&self, x: &O::T, groups: Groups, by: (&O::T, &O::T)) -> Value<O> {
        let (ops, shape) = (self.ops, [groups.channels]);
        let factor = ops.shift(by.0, 1.0)?;
        let weight = ops.mul(&factor, &self.param("weight", &shape)?)?;
        let bias = ops.add(&ops.mul(&factor, &self.param("bias", &shape)?)?, by.1)?;
        ops.group_norm_silu(x, [&weight, &bias], groups)
    }

    pub fn layer_norm(&self, x: &O::T, width: usize, epsilon: f32) -> Value<O> {
        self.ops.layer_norm(
            x,
            &self.param("weight", &[width])?,
            &self.param("bias", &[width])?,
            epsilon,
        )
    }

    /// Attention of `x` to `context`, with the names of diffusers' `Attention`.
    pub fn attention(&self, x: &O::T, context: &O::T, attention: Attention) -> Value<O> {
        let [query, keys, values] = self.project(x, context, attention)?;
        self.attend([&query, &keys, &values], attention)
    }

    /// Queries of `x`, keys and values of `context`, not yet split into heads.
    pub fn project(
        &self,
        x: &O::T,
        context: &O::T,
        attention: Attention,
    ) -> Result<[O::T; 3], OpError> {
        let Attention { channels, has_bias, .. } = attention;
        let query = self.at("to_q").linear(x, channels, channels, has_bias)?;
        let keys = self.at("to_k").linear(context, attention.context, channels, has_bias)?;
        let values = self.at("to_v").linear(context, attention.context, channels, has_bias)?;
        Ok([query, keys, values])
    }

    /// What attention makes of queries, keys and values.
    pub fn attend(&self, qkv: [&O::T; 3], attention: Attention) -> Value<O> {
        self.leave(&self.mix(qkv, attention)?, attention)
    }

    /// The values as queries and keys mix them.
    pub fn mix(&self, qkv: [&O::T; 3], attention: Attention) -> Value<O> {
        let Attention { channels, heads, .. } = attention;
        self.ops.attention(qkv, Heads { count: heads, width: channels / heads }, None)
    }

    /// The layer behind the mixed values.
    pub fn leave(&self, mixed: &O::T, Attention { channels, .. }: Attention) -> Value<O> {
        self.at("to_out.0").linear(mixed, channels, channels, true)
    }

    /// `ResnetBlock2D`; `time` is the embedding of the timestep, before its activation.
    pub fn resnet(&self, x: &O::T, time: Option<&O::T>, resnet: Resnet) -> Value<O> {
        let Resnet { inputs, outputs, groups: count, epsilon, .. } = resnet;
        let groups = Groups { channels: inputs, count, epsilon };
        let active = self.at("norm1").group_norm_silu(x, groups)?;
        let hidden = self.at("conv1").conv(&active, Conv::same(inputs, outputs, 3))?;
        let active = self.timed_norm_silu(&hidden, time, resnet)?;
        let (last, conv) = (self.at("conv2"), Conv::same(outputs, outputs, 3));
        if inputs == outputs {
            return last.conv_then(&active, conv, Some(x), false);
        }
        let around = self.at("conv_shortcut").conv(x, Conv::same(inputs, outputs, 1))?;
        last.conv_then(&active, conv, Some(&around), false)
    }

    /// The second norm of a residual block, where the time embedding comes in, and SiLU of it.
    fn timed_norm_silu(&self, x: &O::T, time: Option<&O::T>, resnet: Resnet) -> Value<O> {
        let ops = self.ops;
        let Resnet { outputs, groups: count, epsilon, .. } = resnet;
        let (norm, groups) = (self.at("norm2"), Groups { channels: outputs, count, epsilon });
        let (Some(time), Some(Timed { width, by })) = (time, resnet.time) else {
            return norm.group_norm_silu(x, groups);
        };
        let project = |outputs| {
            let active = ops.apply(time, Function::Silu)?;
            self.at("time_emb_proj").linear(&active, width, outputs, true)
        };
        match by {
            TimedBy::Shift => {
                let shift = ops.reshape(&project(outputs)?, &[0, outputs as i64, 1, 1])?;
                norm.group_norm_silu(&ops.add(x, &shift)?, groups)
            }
            TimedBy::ScaleShift => {
                let (scale, shift) = ops.halves(&project(2 * outputs)?)?;
                norm.scaled_group_norm_silu(x, groups, (&scale, &shift))
            }
        }
    }
}
