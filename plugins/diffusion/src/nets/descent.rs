//! What a UNet and its ControlNets have in common: the way down to the lowest resolution, and the middle there.

mod levels;
mod transformer;

pub(super) use levels::{Level, attention_levels};

use super::addition::Addition;
use super::cached_attention::Cached;
use super::image_prompt::ImagePrompt;
use super::layers::{Attention, Conv, Module, Resnet, Timed, TimedBy};
use super::waves::{self, Waves};
use super::{Dim, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{OpError, Ops, Value};

/// Its shape, from `config.json`.
#[derive(Clone, Debug)]
pub(super) struct Descent {
    pub levels: Vec<Level>,
    pub latent_channels: usize,
    pub context: usize,
    pub groups: usize,
    pub epsilon: f32,
    pub addition: Option<Addition>,
    has_linear_projection: bool,
    down_padding: usize,
    time: Waves,
    timed_by: TimedBy,
}

/// An activation that is kept for the way up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skip {
    pub channels: usize,
    /// How often its sides were halved.
    pub halvings: usize,
}

/// The lowest activation and, outermost first, what is kept for the way up.
pub(super) type Lowest<O> = (<O as Ops>::T, Vec<<O as Ops>::T>);

impl Descent {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        refuse_variants(config)?;
        let levels = levels::levels(config)?;
        let groups = config.size_or("norm_num_groups", 32)?;
        if let Some(level) = levels.iter().find(|level| level.channels % groups != 0) {
            return Err(config.unsupported(
                "norm_num_groups",
                format!("divisors of {} channels", level.channels),
            ));
        }
        Ok(Self {
            time: Waves::from_config(config, levels[0].channels)?,
            levels,
            groups,
            latent_channels: config.size("in_channels")?,
            context: config.size("cross_attention_dim")?,
            epsilon: config.number_or("norm_eps", 1e-5)? as f32,
            has_linear_projection: config.bool_or("use_linear_projection", false)?,
            down_padding: config.size_or("downsample_padding", 1)?,
            timed_by: config.choice(
                "resnet_time_scale_shift",
                TimedBy::Shift,
                &[("default", TimedBy::Shift), ("scale_shift", TimedBy::ScaleShift)],
            )?,
            addition: Addition::from_config(config)?,
        })
    }

    /// Latents, their timesteps, the prompt.
    pub fn inputs(&self) -> Vec<Port> {
        let rows = Dim::Free("rows");
        let context = [rows, Dim::Free("tokens"), Dim::Fixed(self.context)];
        let mut inputs = vec![
            Port::picture("sample", self.latent_channels),
            Port::new("timestep", [rows]),
            Port::new("encoder_hidden_states", context),
        ];
        inputs.extend(self.addition.iter().flat_map(Addition::inputs));
        inputs
    }

    pub fn lowest(&self) -> Level {
        self.levels[self.levels.len() - 1]
    }

    /// What is kept for the way up, outermost first.
    pub fn skips(&self) -> Vec<Skip> {
        let mut skips = vec![Skip { channels: self.levels[0].channels, halvings: 0 }];
        for (halvings, &Level { channels, layers, .. }) in self.levels.iter().enumerate() {
            skips.extend(vec![Skip { channels, halvings }; layers]);
            if halvings + 1 < self.levels.len() {
                skips.push(Skip { channels, halvings: halvings + 1 });
            }
        }
        skips
    }

    /// The middle's result, as [`skips`](Self::skips) describe the others.
    pub fn deepest(&self) -> Skip {
        Skip { channels: self.lowest().channels, halvings: self.levels.len() - 1 }
    }

    /// A port for an activation like that one.
    pub fn port(&self, name: String, skip: Skip) -> Port {
        // Only this padding halves, rounded up.
        let side = |name| match self.down_padding {
            1 => Dim::Halved(name, skip.halvings),
            _ => Dim::Any,
        };
        let dims = [Dim::Free("rows"), Dim::Fixed(skip.channels), side("height"), side("width")];
        Port::new(name, dims)
    }

    /// A side of an activation after one more downsampler.
    pub fn halve(&self, side: usize) -> usize {
        (side + 2 * self.down_padding).saturating_sub(3) / 2 + 1
    }

    fn time_width(&self) -> usize {
        4 * self.levels[0].channels
    }

    pub fn resnet(&self, inputs: usize, outputs: usize) -> Resnet {
        let time = Some(Timed { width: self.time_width(), by: self.timed_by });
        Resnet { inputs, outputs, time, groups: self.groups, epsilon: self.epsilon }
    }

    /// What every block is given, from [`inputs`](Self::inputs).
    pub fn given<'a, O: Ops>(
        &self,
        root: &Module<O>,
        inputs: &[O::T],
    ) -> Result<Given<'a, O>, OpError> {
        let time = self.embed(root, &inputs[1], &inputs[2..])?;
        Ok(Given { time, context: inputs[2].clone(), image: None, cached: None })
    }

    /// What the residual blocks are told of the timestep and, where the network has an addition, of the prompt.
    fn embed<O: Ops>(&self, root: &Module<O>, timestep: &O::T, rest: &[O::T]) -> Value<O> {
        let (module, waves) = (root.at("time_embedding"), self.time.of(root.ops, timestep)?);
        let time = waves::embed(&module, &waves, self.time.width, self.time_width())?;
        let Some(addition) = &self.addition else { return Ok(time) };
        let module = root.at("add_embedding");
        root.ops.add(&time, &addition.embed(&module, rest, self.time_width())?)
    }

    /// A residual block and, where the level has them, the transformer after it.
    pub fn layer<O: Ops>(
        &self,
        (block, layer): (&Module<O>, usize),
        x: &O::T,
        channels: usize,
        given: &Given<O>,
        level: Level,
    ) -> Value<O> {
        let module = block.at(format_args!("resnets.{layer}"));
        let hidden = module.resnet(x, Some(&given.time), self.resnet(channels, level.channels))?;
        if !level.has_attention {
            return Ok(hidden);
        }
        let module = block.at(format_args!("attentions.{layer}"));
        self.transformer(&module, &hidden, given, level)
    }

    /// From latents to the first activation.
    pub fn enter<O: Ops>(&self, root: &Module<O>, sample: &O::T) -> Value<O> {
        let conv = Conv::same(self.latent_channels, self.levels[0].channels, 3);
        root.at("conv_in").conv(sample, conv)
    }

    /// The way down, from the first activation.
    pub fn descend<O: Ops>(
        &self,
        root: &Module<O>,
        first: O::T,
        given: &Given<O>,
    ) -> Result<Lowest<O>, OpError> {
        let mut channels = self.levels[0].channels;
        let (mut hidden, mut skips) = (first.clone(), vec![first]);
        for (index, &level) in self.levels.iter().enumerate() {
            let block = root.at(format_args!("down_blocks.{index}"));
            for layer in 0..level.layers {
                hidden = self.layer((&block, layer), &hidden, channels, given, level)?;
                channels = level.channels;
                skips.push(hidden.clone());
            }
            if index + 1 < self.levels.len() {
                let down = Conv::down(channels, [self.down_padding; 4]);
                hidden = block.at("downsamplers.0.conv").conv(&hidden, down)?;
                skips.push(hidden.clone());
            }
        }
        Ok((hidden, skips))
    }

    pub fn middle<O: Ops>(&self, root: &Module<O>, x: &O::T, given: &Given<O>) -> Value<O> {
        let block = root.at("mid_block");
        let level = self.lowest();
        let resnet = self.resnet(level.channels, level.channels);
        let hidden = block.at("resnets.0").resnet(x, Some(&given.time), resnet)?;
        let hidden = self.transformer(&block.at("attentions.0"), &hidden, given, level)?;
        block.at("resnets.1").resnet(&hidden, Some(&given.time), resnet)
    }
}

/// What every block is given beside the picture.
pub(super) struct Given<'a, O: Ops> {
    pub time: O::T,
    pub context: O::T,
    pub image: Option<ImagePrompt<'a, O::T>>,
    pub cached: Option<Cached<'a, O::T>>,
}

impl<O: Ops> Given<'_, O> {
    fn attend_to_itself(&self, module: &Module<O>, x: &O::T, attention: Attention) -> Value<O> {
        match &self.cached {
            Some(cached) => cached.attend(module, x, attention),
            None => module.attention(x, x, attention),
        }
    }

    fn attend_to_prompt(&self, module: &Module<O>, x: &O::T, attention: Attention) -> Value<O> {
        match &self.image {
            Some(image) => image.attend(module, x, &self.context, attention),
            None => module.attention(x, &self.context, attention),
        }
    }
}

/// Refuses what diffusers' networks can be configured to and no checkpoint of these families uses.
fn refuse_variants(config: &Config) -> Result<(), ConfigError> {
    config.require("mid_block_type", "UNetMidBlock2DCrossAttn")?;
    config.require("act_fn", "silu")?;
    config.require("time_embedding_type", "positional")?;
    config.require("attention_type", "default")?;
    config.require("conv_in_kernel", 3)?;
    config.require("mid_block_scale_factor", 1)?;
    for key in ["center_input_sample", "dual_cross_attention", "only_cross_attention"] {
        config.require(key, false)?;
    }
    for key in [
        "class_embed_type",
        "encoder_hid_dim_type",
        "num_class_embeds",
        "reverse_transformer_layers_per_block",
        "time_embedding_act_fn",
        "time_embedding_dim",
        "timestep_post_act",
    ] {
        config.require_absent(key)?;
    }
    Ok(())
}
