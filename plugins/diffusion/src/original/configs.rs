//! Configs of the networks in a checkpoint's file, as diffusers writes them: counts and widths by the tensors' names and
//! shapes, the rest by rules that hold for Stable Diffusion 1.x, 2.x and XL alike. Heads are the one thing that no tensor
//! shows.

use serde_json::{Value, json};

use crate::weights::Weights;

/// More blocks or levels than any network has; it bounds the search in files that are none of these.
pub const MAX_COUNT: usize = 64;

/// Channels of a head in text encoders, and in UNets from Stable Diffusion 2.x on.
const HEAD: usize = 64;
/// Heads in every level of Stable Diffusion 1.x.
const HEADS: usize = 8;
/// Stable Diffusion 2.x reads what the last layer but one gives; its files have the last one all the same.
const OPEN_CLIP_LAYERS: usize = 23;

/// In configs of CLIP from before the end token was written down; it is the largest id.
const LARGEST_ID: usize = 2;

/// Size of an axis, 0 where there is no such tensor, which the networks refuse.
fn size(view: &Weights, name: &str, axis: usize) -> usize {
    view.shape(name).and_then(|shape| shape.get(axis)).copied().unwrap_or(0)
}

/// How many tensors there are, by names with a number.
fn count(view: &Weights, name: impl Fn(usize) -> String) -> usize {
    (0..MAX_COUNT).take_while(|&index| view.shape(&name(index)).is_some()).count()
}

/// What the way down through a UNet shows of its levels, from the outside in.
struct Levels {
    channels: Vec<usize>,
    /// Transformer blocks, 0 where a level has no attention.
    depths: Vec<usize>,
    is_linear: bool,
}

impl Levels {
    fn of(view: &Weights) -> Self {
        let first = |level: usize| format!("down_blocks.{level}.resnets.0.conv1.weight");
        let levels = 0..count(view, first);
        let depth = |level: usize| depth(view, &format!("down_blocks.{level}.attentions.0"));
        let projection = view.shape("mid_block.attentions.0.proj_in.weight");
        Self {
            channels: levels.clone().map(|level| size(view, &first(level), 0)).collect(),
            depths: levels.map(depth).collect(),
            is_linear: projection.is_some_and(|shape| shape.len() == 2),
        }
    }

    fn types(&self, plain: &'static str, attending: &'static str) -> Vec<&'static str> {
        let name = |&depth: &usize| if depth > 0 { attending } else { plain };
        self.depths.iter().map(name).collect()
    }

    /// As the config has them. The middle is built like the lowest level, where that has attention.
    fn depths(&self, middle: usize) -> Vec<usize> {
        let lowest = self.depths.len().saturating_sub(1);
        let filled = |(level, &depth): (usize, &usize)| match depth {
            0 if level == lowest => middle,
            depth => depth.max(1),
        };
        self.depths.iter().enumerate().map(filled).collect()
    }

    fn heads(&self) -> Vec<usize> {
        let heads = |&channels: &usize| match self.is_linear {
            true if channels.is_multiple_of(HEAD) => channels / HEAD,
            // No number of heads, which is refused by name.
            true => 0,
            false => HEADS,
        };
        self.channels.iter().map(heads).collect()
    }
}

fn depth(view: &Weights, attention: &str) -> usize {
    count(view, |index| format!("{attention}.transformer_blocks.{index}.norm1.weight"))
}

pub fn unet(view: &Weights, layers: usize, is_xl: bool) -> Value {
    let levels = Levels::of(view);
    let mut up = levels.types("UpBlock2D", "CrossAttnUpBlock2D");
    up.reverse();
    let addition = size(view, "add_embedding.linear_1.weight", 1);
    let is_added = addition > 0;
    json!({
        "in_channels": size(view, "conv_in.weight", 1),
        "out_channels": size(view, "conv_out.weight", 0),
        "block_out_channels": levels.channels,
        "down_block_types": levels.types("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": up,
        "layers_per_block": layers,
        "transformer_layers_per_block": levels.depths(depth(view, "mid_block.attentions.0")),
        "cross_attention_dim": size(view, CONTEXT, 1),
        "attention_head_dim": levels.heads(),
        "use_linear_projection": levels.is_linear,
        "addition_embed_type": (is_xl && is_added).then_some("text_time"),
        "addition_time_embed_dim": (is_xl && is_added).then_some(256),
        "projection_class_embeddings_input_dim": is_added.then_some(addition),
        // As in models that vary pictures, which no pipeline of ours does.
        "class_embed_type": (!is_xl && is_added).then_some("projection"),
    })
}

const CONTEXT: &str = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";

pub fn autoencoder(view: &Weights, is_xl: bool) -> Value {
    let first = |level: usize| format!("encoder.down_blocks.{level}.resnets.0.conv1.weight");
    let levels = count(view, first);
    let channels: Vec<usize> = (0..levels).map(|level| size(view, &first(level), 0)).collect();
    let layers = count(view, |index| format!("encoder.down_blocks.0.resnets.{index}.conv1.weight"));
    json!({
        "_class_name": "AutoencoderKL",
        "in_channels": size(view, "encoder.conv_in.weight", 1),
        "out_channels": size(view, "decoder.conv_out.weight", 0),
        "latent_channels": size(view, "decoder.conv_in.weight", 1),
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "scaling_factor": if is_xl { 0.13025 } else { 0.18215 },
        "force_upcast": is_xl,
    })
}

/// CLIP as OpenAI published it.
pub fn clip(view: &Weights) -> Value {
    text_encoder(view, "quick_gelu", MAX_COUNT)
}

/// OpenCLIP's in Stable Diffusion 2.x.
pub fn open_clip(view: &Weights) -> Value {
    text_encoder(view, "gelu", OPEN_CLIP_LAYERS)
}

/// OpenCLIP's in Stable Diffusion XL.
pub fn open_clip_xl(view: &Weights) -> Value {
    text_encoder(view, "gelu", MAX_COUNT)
}

fn text_encoder(view: &Weights, activation: &str, most_layers: usize) -> Value {
    let layer = |index: usize| format!("text_model.encoder.layers.{index}.mlp.fc1.weight");
    let width = size(view, "text_model.embeddings.token_embedding.weight", 1);
    let projection = size(view, "text_projection.weight", 0);
    json!({
        "vocab_size": size(view, "text_model.embeddings.token_embedding.weight", 0),
        "max_position_embeddings": size(view, "text_model.embeddings.position_embedding.weight", 0),
        "hidden_size": width,
        "intermediate_size": size(view, &layer(0), 0),
        "num_hidden_layers": count(view, layer).min(most_layers),
        "num_attention_heads": width / HEAD,
        "projection_dim": (projection > 0).then_some(projection),
        "hidden_act": activation,
        "eos_token_id": LARGEST_ID,
    })
}
