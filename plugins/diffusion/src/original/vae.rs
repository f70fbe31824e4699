//! Names of the original autoencoder in the words of diffusers.

use crate::weights::{Piece, Renamed};

const RESNET: [(&str, &str); 1] = [("nin_shortcut", "conv_shortcut")];

/// The original's attention is made of 1x1 convolutions, that of diffusers of linear layers.
const ATTENTION: [(&str, &str); 5] =
    [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];

/// The tensor in diffusers, by a name in an autoencoder of `levels` levels, without what names of the autoencoder begin
/// with.
pub fn to_diffusers(name: &str, levels: usize) -> Option<Renamed> {
    if name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.") {
        return Some((name.into(), Piece::Whole));
    }
    let (half, rest) =
        name.split_once('.').filter(|(half, _)| ["encoder", "decoder"].contains(half))?;
    let (module, leaf) = rest.rsplit_once('.')?;
    let (module, piece) = module_of(module, levels)?;
    Some((format!("{half}.{module}.{leaf}"), piece))
}

fn module_of(module: &str, levels: usize) -> Option<(String, Piece)> {
    let whole = |name: String| Some((name, Piece::Whole));
    let parts: Vec<&str> = module.split('.').collect();
    match parts[..] {
        ["conv_in" | "conv_out"] => whole(module.into()),
        ["norm_out"] => whole("conv_norm_out".into()),
        ["mid", "attn_1", inner] => {
            let (_, name) = ATTENTION.iter().find(|(original, _)| *original == inner)?;
            Some((format!("mid_block.attentions.0.{name}"), Piece::Linear))
        }
        ["mid", block, inner] => {
            let index = ["block_1", "block_2"].iter().position(|name| *name == block)?;
            whole(format!("mid_block.resnets.{index}.{}", resnet(inner)))
        }
        ["down", level, "block", index, inner] => {
            whole(format!("down_blocks.{level}.resnets.{index}.{}", resnet(inner)))
        }
        ["down", level, "downsample", "conv"] => {
            whole(format!("down_blocks.{level}.downsamplers.0.conv"))
        }
        // The original counts from the outside on the way up, too.
        ["up", level, "block", index, inner] => {
            let level = mirrored(level, levels)?;
            whole(format!("up_blocks.{level}.resnets.{index}.{}", resnet(inner)))
        }
        ["up", level, "upsample", "conv"] => {
            whole(format!("up_blocks.{}.upsamplers.0.conv", mirrored(level, levels)?))
        }
        _ => None,
    }
}

fn resnet(inner: &str) -> &str {
    RESNET.iter().find(|(original, _)| *original == inner).map_or(inner, |(_, name)| name)
}

fn mirrored(level: &str, levels: usize) -> Option<usize> {
    levels.checked_sub(1)?.checked_sub(level.parse().ok()?)
}
