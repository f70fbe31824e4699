//! Module names of the original Stable Diffusion code, which many trainers keep, in the words of diffusers.
//!
//! The UNets of Stable Diffusion 1.x, 2.x and XL all have two residual blocks a level, so the place of a block says its
//! level: `input_blocks_4_1` is the attention of the first block of the second level.

/// Blocks of a level: on the way down with the downsampler, on the way up the blocks alone.
const BLOCKS: usize = 3;

/// Modules outside the blocks.
const SINGLE: [(&str, &str); 7] = [
    ("input_blocks_0_0", "conv_in"),
    ("time_embed_0", "time_embedding_linear_1"),
    ("time_embed_2", "time_embedding_linear_2"),
    ("label_emb_0_0", "add_embedding_linear_1"),
    ("label_emb_0_2", "add_embedding_linear_2"),
    ("out_0", "conv_norm_out"),
    ("out_2", "conv_out"),
];

/// Modules of a residual block.
const RESNET: [(&str, &str); 4] = [
    ("in_layers_2", "conv1"),
    ("out_layers_3", "conv2"),
    ("emb_layers_1", "time_emb_proj"),
    ("skip_connection", "conv_shortcut"),
];

/// The name in diffusers, when the module is named as in the original code.
pub(super) fn to_diffusers(module: &str) -> Option<String> {
    if let Some((_, name)) = SINGLE.iter().find(|(original, _)| *original == module) {
        return Some((*name).to_owned());
    }
    if let Some(rest) = module.strip_prefix("middle_block_") {
        let (place, inner) = number(rest)?;
        return match place {
            0 | 2 => Some(format!("mid_block_resnets_{}_{}", place / 2, resnet(inner)?)),
            1 => Some(format!("mid_block_attentions_0_{inner}")),
            _ => None,
        };
    }
    if let Some(rest) = module.strip_prefix("input_blocks_") {
        let (block, rest) = number(rest)?;
        return down(block.checked_sub(1)?, number(rest)?);
    }
    let (block, rest) = number(module.strip_prefix("output_blocks_")?)?;
    up(block, number(rest)?)
}

fn down(block: usize, (place, inner): (usize, &str)) -> Option<String> {
    let (level, index) = (block / BLOCKS, block % BLOCKS);
    match (index, place, inner) {
        (2, 0, "op") => Some(format!("down_blocks_{level}_downsamplers_0_conv")),
        (0 | 1, 0, _) => Some(format!("down_blocks_{level}_resnets_{index}_{}", resnet(inner)?)),
        (0 | 1, 1, _) => Some(format!("down_blocks_{level}_attentions_{index}_{inner}")),
        _ => None,
    }
}

fn up(block: usize, (place, inner): (usize, &str)) -> Option<String> {
    let (level, index) = (block / BLOCKS, block % BLOCKS);
    match (place, inner) {
        // It comes after the attention, or in its place where the level has none.
        (1 | 2, "conv") => Some(format!("up_blocks_{level}_upsamplers_0_conv")),
        (0, _) => Some(format!("up_blocks_{level}_resnets_{index}_{}", resnet(inner)?)),
        (1, _) => Some(format!("up_blocks_{level}_attentions_{index}_{inner}")),
        _ => None,
    }
}

fn resnet(inner: &str) -> Option<&'static str> {
    RESNET.iter().find(|(original, _)| *original == inner).map(|&(_, name)| name)
}

/// A number and what follows the underscore after it.
fn number(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.split_once('_')?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::to_diffusers;

    #[test]
    fn places_of_blocks_are_levels_and_indices() {
        for (original, diffusers) in [
            (
                "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
                "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
            ),
            ("input_blocks_1_0_in_layers_2", "down_blocks_0_resnets_0_conv1"),
            ("input_blocks_3_0_op", "down_blocks_0_downsamplers_0_conv"),
            ("input_blocks_8_0_skip_connection", "down_blocks_2_resnets_1_conv_shortcut"),
            ("middle_block_0_emb_layers_1", "mid_block_resnets_0_time_emb_proj"),
            ("middle_block_1_proj_in", "mid_block_attentions_0_proj_in"),
            ("middle_block_2_out_layers_3", "mid_block_resnets_1_conv2"),
            (
                "output_blocks_5_1_transformer_blocks_1_ff_net_0_proj",
                "up_blocks_1_attentions_2_transformer_blocks_1_ff_net_0_proj",
            ),
            ("output_blocks_2_1_conv", "up_blocks_0_upsamplers_0_conv"),
            ("output_blocks_5_2_conv", "up_blocks_1_upsamplers_0_conv"),
            ("input_blocks_0_0", "conv_in"),
            ("label_emb_0_2", "add_embedding_linear_2"),
            ("out_2", "conv_out"),
        ] {
            assert_eq!(to_diffusers(original).as_deref(), Some(diffusers), "{original}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "down_blocks_0_resnets_0_conv1",
            "input_blocks_0_1_x",
            "input_blocks_3_1_proj_in",
            "input_blocks_99999999999999999999999_0_op",
            "middle_block_3_x",
            "output_blocks_",
            "",
        ] {
            assert_eq!(to_diffusers(name), None, "{name}");
        }
    }
}
