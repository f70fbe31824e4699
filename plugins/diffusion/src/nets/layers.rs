//! Layers with parameters, and the place in the state dict they take them from.

use crate::ops::{Function, Groups, Heads, OpError, Ops, Value, Window};

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

/// Channels of a residual block, and the width of the time embedding if it takes one.
#[derive(Clone, Copy)]
pub struct Resnet {
    pub inputs: usize,
    pub outputs: usize,
    pub time: Option<usize>,
    pub groups: usize,
    pub epsilon: f32,
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

    fn param(&self, name: &str, shape: &[usize]) -> Value<O> {
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
        let weight = self.param("weight", &[conv.outputs, conv.inputs, conv.side, conv.side])?;
        self.ops.conv2d(x, &weight, self.bias(conv.has_bias, conv.outputs)?.as_ref(), conv.window)
    }

    pub fn group_norm(&self, x: &O::T, groups: Groups) -> Value<O> {
        let shape = [groups.channels];
        self.ops.group_norm(x, &self.param("weight", &shape)?, &self.param("bias", &shape)?, groups)
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
        let Attention { channels, heads, has_bias, .. } = attention;
        let query = self.at("to_q").linear(x, channels, channels, has_bias)?;
        let key = self.at("to_k").linear(context, attention.context, channels, has_bias)?;
        let value = self.at("to_v").linear(context, attention.context, channels, has_bias)?;
        let heads = Heads { count: heads, width: channels / heads };
        let mixed = self.ops.attention([&query, &key, &value], heads, None)?;
        self.at("to_out.0").linear(&mixed, channels, channels, true)
    }

    /// `ResnetBlock2D`; `time` is the embedding of the timestep, before its activation.
    pub fn resnet(&self, x: &O::T, time: Option<&O::T>, resnet: Resnet) -> Value<O> {
        let ops = self.ops;
        let Resnet { inputs, outputs, groups: count, epsilon, .. } = resnet;
        let normed = self.at("norm1").group_norm(x, Groups { channels: inputs, count, epsilon })?;
        let mut hidden = self
            .at("conv1")
            .conv(&ops.apply(&normed, Function::Silu)?, Conv::same(inputs, outputs, 3))?;
        if let (Some(time), Some(width)) = (time, resnet.time) {
            let shift = self.at("time_emb_proj").linear(
                &ops.apply(time, Function::Silu)?,
                width,
                outputs,
                true,
            )?;
            hidden = ops.add(&hidden, &ops.reshape(&shift, &[0, outputs as i64, 1, 1])?)?;
        }
        let normed =
            self.at("norm2").group_norm(&hidden, Groups { channels: outputs, count, epsilon })?;
        let hidden = self
            .at("conv2")
            .conv(&ops.apply(&normed, Function::Silu)?, Conv::same(outputs, outputs, 3))?;
        if inputs == outputs {
            return ops.add(x, &hidden);
        }
        ops.add(&self.at("conv_shortcut").conv(x, Conv::same(inputs, outputs, 1))?, &hidden)
    }
}
