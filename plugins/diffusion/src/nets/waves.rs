//! Numbers as waves of many lengths, which is how a UNet is told timesteps and sizes.

use super::layers::Module;
use crate::config::{Config, ConfigError};
use crate::ops::{Function, Ops, Value};

/// `Timesteps` of diffusers: a number becomes sines and cosines.
#[derive(Clone, Copy, Debug)]
pub struct Waves {
    /// Values for each number.
    pub width: usize,
    cosine_first: bool,
    frequency_shift: f64,
}

impl Waves {
    /// `width` must be even.
    pub fn from_config(config: &Config, width: usize) -> Result<Self, ConfigError> {
        Ok(Self {
            width,
            cosine_first: config.bool_or("flip_sin_to_cos", true)?,
            frequency_shift: config.number_or("freq_shift", 0.0)?,
        })
    }

    /// `[numbers, width]` of numbers in any shape.
    pub fn of<O: Ops>(&self, ops: &O, numbers: &O::T) -> Value<O> {
        let half = self.width / 2;
        let span = half as f64 - self.frequency_shift;
        let frequency = |index: usize| (-(10000f64.ln()) * index as f64 / span).exp() as f32;
        let frequencies =
            ops.constant(&(0..half).map(frequency).collect::<Vec<_>>(), &[1, half])?;
        let angles = ops.mul(&ops.reshape(numbers, &[-1, 1])?, &frequencies)?;
        let (sine, cosine) =
            (ops.apply(&angles, Function::Sin)?, ops.apply(&angles, Function::Cos)?);
        ops.concat(&if self.cosine_first { [&cosine, &sine] } else { [&sine, &cosine] }, 1)
    }
}

/// `TimestepEmbedding`: the two layers behind the waves.
pub fn embed<O: Ops>(module: &Module<O>, x: &O::T, inputs: usize, outputs: usize) -> Value<O> {
    let hidden = module.at("linear_1").linear(x, inputs, outputs, true)?;
    let hidden = module.ops.apply(&hidden, Function::Silu)?;
    module.at("linear_2").linear(&hidden, outputs, outputs, true)
}
