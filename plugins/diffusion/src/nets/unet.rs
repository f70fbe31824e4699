//! `UNet2DConditionModel` as SD1.5, SD2.1 (SD-Turbo) and SDXL use it, and with a prompt that reaches every residual block,
//! as in DeepFloyd IF.
//!
//! Latent sides need not be multiples of the downsampling: upsampling goes to the size of the skip it meets. Every row
//! has its own timestep, as the stream batch needs.

mod attentions;

use super::addition::Addition;
use super::cached_attention::{self, Cached};
use super::layers::{Attention, Conv, Module, Resnet, Timed, TimedBy};
use super::waves::{self, Waves};
use super::{Dim, Network, Port};
use crate::config::{Config, ConfigError};
use crate::ops::{Function, Groups, OpError, Ops, Value, Values};

/// One resolution of the network.
#[derive(Clone, Copy, Debug)]
struct Level {
    channels: usize,
    has_attention: bool,
    heads: usize,
    /// Residual blocks on the way down; one more on the way up.
    layers: usize,
    /// Transformer blocks in each attention layer.
    depth: usize,
}

/// The network's shape, from `unet/config.json`.
#[derive(Clone, Debug)]
pub struct Unet {
    levels: Vec<Level>,
    latent_channels: usize,
    context: usize,
    groups: usize,
    epsilon: f32,
    has_linear_projection: bool,
    down_padding: usize,
    time: Waves,
    timed_by: TimedBy,
    addition: Option<Addition>,
    has_cached_attention: bool,
}

impl Unet {
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        refuse_variants(config)?;
        let levels = levels(config)?;
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
            has_cached_attention: false,
        })
    }

    /// With self-attention that also attends to earlier frames: their keys and values are further inputs, those of the
    /// frames at hand further outputs.
    pub fn with_cached_attention(self) -> Self {
        Self { has_cached_attention: true, ..self }
    }

    pub fn has_cached_attention(&self) -> bool {
        self.has_cached_attention
    }

    pub fn latent_channels(&self) -> usize {
        self.latent_channels
    }

    /// Width of the text embeddings it attends to.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Width of the text's embedding as a whole, where it takes one.
    pub fn pooled_width(&self) -> Option<usize> {
        self.addition.and_then(|addition| addition.pooled_width())
    }

    fn time_width(&self) -> usize {
        4 * self.levels[0].channels
    }

    fn resnet(&self, inputs: usize, outputs: usize) -> Resnet {
        let time = Some(Timed { width: self.time_width(), by: self.timed_by });
        Resnet { inputs, outputs, time, groups: self.groups, epsilon: self.epsilon }
    }

    /// What the residual blocks are told of the timestep and, where the network has an addition, of the prompt.
    fn embed<O: Ops>(&self, root: &Module<O>, timestep: &O::T, rest: &[O::T]) -> Value<O> {
        let (module, waves) = (root.at("time_embedding"), self.time.of(root.ops, timestep)?);
        let time = waves::embed(&module, &waves, self.time.width, self.time_width())?;
        let Some(addition) = &self.addition else { return Ok(time) };
        let module = root.at("add_embedding");
        root.ops.add(&time, &addition.embed(&module, rest, self.time_width())?)
    }

    /// `Transformer2DModel`: every pixel attends to every pixel and to the text.
    fn transformer<O: Ops>(
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
        let x = ops.add(&x, &block.at("attn2").attention(&normed, &given.context, to_text)?)?;
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

    /// The way down: the lowest activation and, outermost first, what is kept for the way up.
    fn descend<O: Ops>(
        &self,
        root: &Module<O>,
        sample: &O::T,
        given: &Given<O>,
    ) -> Result<Skips<O>, OpError> {
        let mut channels = self.levels[0].channels;
        let mut hidden =
            root.at("conv_in").conv(sample, Conv::same(self.latent_channels, channels, 3))?;
        let mut skips = vec![(hidden.clone(), channels)];
        for (index, &level) in self.levels.iter().enumerate() {
            let block = root.at(format_args!("down_blocks.{index}"));
            for layer in 0..level.layers {
                let resnet = self.resnet(channels, level.channels);
                hidden = block.at(format_args!("resnets.{layer}")).resnet(
                    &hidden,
                    Some(&given.time),
                    resnet,
                )?;
                channels = level.channels;
                if level.has_attention {
                    let module = block.at(format_args!("attentions.{layer}"));
                    hidden = self.transformer(&module, &hidden, given, level)?;
                }
                skips.push((hidden.clone(), channels));
            }
            if index + 1 < self.levels.len() {
                let down = Conv::down(channels, [self.down_padding; 4]);
                hidden = block.at("downsamplers.0.conv").conv(&hidden, down)?;
                skips.push((hidden.clone(), channels));
            }
        }
        Ok((hidden, skips))
    }

    fn middle<O: Ops>(&self, root: &Module<O>, x: &O::T, given: &Given<O>) -> Value<O> {
        let block = root.at("mid_block");
        let level = self.lowest();
        let resnet = self.resnet(level.channels, level.channels);
        let hidden = block.at("resnets.0").resnet(x, Some(&given.time), resnet)?;
        let hidden = self.transformer(&block.at("attentions.0"), &hidden, given, level)?;
        block.at("resnets.1").resnet(&hidden, Some(&given.time), resnet)
    }

    fn ascend<O: Ops>(&self, root: &Module<O>, lowest: Skips<O>, given: &Given<O>) -> Value<O> {
        let (mut hidden, mut skips) = lowest;
        let mut channels = self.lowest().channels;
        for (index, &level) in self.levels.iter().rev().enumerate() {
            let block = root.at(format_args!("up_blocks.{index}"));
            for layer in 0..=level.layers {
                let (skip, skip_channels) =
                    skips.pop().expect("the way down left one for each layer of the way up");
                let joined = root.ops.concat(&[&hidden, &skip], 1)?;
                let resnet = self.resnet(channels + skip_channels, level.channels);
                hidden = block.at(format_args!("resnets.{layer}")).resnet(
                    &joined,
                    Some(&given.time),
                    resnet,
                )?;
                channels = level.channels;
                if level.has_attention {
                    let module = block.at(format_args!("attentions.{layer}"));
                    hidden = self.transformer(&module, &hidden, given, level)?;
                }
            }
            if let Some((skip, _)) = skips.last() {
                let larger = root.ops.upsample_to(&hidden, skip)?;
                hidden = block
                    .at("upsamplers.0.conv")
                    .conv(&larger, Conv::same(channels, channels, 3))?;
            }
        }
        Ok(hidden)
    }

    fn lowest(&self) -> Level {
        self.levels[self.levels.len() - 1]
    }
}

/// What every block is given beside the picture.
struct Given<'a, O: Ops> {
    time: O::T,
    context: O::T,
    cached: Option<Cached<'a, O::T>>,
}

impl<O: Ops> Given<'_, O> {
    fn attend_to_itself(&self, module: &Module<O>, x: &O::T, attention: Attention) -> Value<O> {
        match &self.cached {
            Some(cached) => cached.attend(module, x, attention),
            None => module.attention(x, x, attention),
        }
    }
}

type Skips<O> = (<O as Ops>::T, Vec<(<O as Ops>::T, usize)>);

impl Network for Unet {
    fn inputs(&self) -> Vec<Port> {
        let mut inputs = self.own_inputs();
        inputs.extend(cached_attention::inputs(&self.cached_layers()));
        inputs
    }

    fn outputs(&self) -> Vec<Port> {
        let mut outputs = vec![Port::picture("noise", self.latent_channels)];
        outputs.extend(cached_attention::outputs(&self.cached_layers()));
        outputs
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let root = Module::root(ops);
        let (own, earlier) = inputs.split_at(self.own_inputs().len());
        let time = self.embed(&root, &own[1], &own[2..])?;
        let cached = self.has_cached_attention.then(|| Cached::new(earlier));
        let given = Given::<O> { time, context: own[2].clone(), cached };
        let (lowest, skips) = self.descend(&root, &own[0], &given)?;
        let lowest = self.middle(&root, &lowest, &given)?;
        let hidden = self.ascend(&root, (lowest, skips), &given)?;
        let mut outputs = vec![self.leave(&root, &hidden)?];
        outputs.extend(given.cached.into_iter().flat_map(Cached::into_latest));
        Ok(outputs)
    }
}

impl Unet {
    /// The inputs it has with and without cached attention.
    fn own_inputs(&self) -> Vec<Port> {
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

    /// From the last activation to the noise.
    fn leave<O: Ops>(&self, root: &Module<O>, hidden: &O::T) -> Value<O> {
        let channels = self.levels[0].channels;
        let norm = Groups { channels, count: self.groups, epsilon: self.epsilon };
        let active = root.at("conv_norm_out").group_norm_silu(hidden, norm)?;
        let last = Conv::same(channels, self.latent_channels, 3);
        root.at("conv_out").conv(&active, last)
    }
}

/// Of a level's layers, and of a layer's transformer blocks: far more than any model has, and little enough to be counted
/// without its weights.
const MOST_LAYERS: usize = 64;

fn levels(config: &Config) -> Result<Vec<Level>, ConfigError> {
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
    let mut mirrored =
        attention_levels(config, "up_block_types", ["UpBlock2D", "CrossAttnUpBlock2D"], count)?;
    mirrored.reverse();
    if mirrored != attention {
        return Err(config.unsupported("up_block_types", "the mirror of down_block_types"));
    }
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
fn attention_levels(
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

/// Refuses what diffusers' UNet can be configured to and no checkpoint of these families uses.
fn refuse_variants(config: &Config) -> Result<(), ConfigError> {
    config.require("mid_block_type", "UNetMidBlock2DCrossAttn")?;
    config.require("act_fn", "silu")?;
    config.require("time_embedding_type", "positional")?;
    config.require("attention_type", "default")?;
    config.require("conv_in_kernel", 3)?;
    config.require("conv_out_kernel", 3)?;
    config.require("out_channels", config.size("in_channels")?)?;
    config.require("mid_block_scale_factor", 1)?;
    config.require("resnet_out_scale_factor", 1)?;
    for key in [
        "center_input_sample",
        "dual_cross_attention",
        "only_cross_attention",
        "resnet_skip_time_act",
    ] {
        config.require(key, false)?;
    }
    for key in [
        "class_embed_type",
        "cross_attention_norm",
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
