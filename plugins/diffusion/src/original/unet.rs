//! Module names of the original Stable Diffusion code in the words of diffusers, for UNets.
//!
//! Checkpoints in one file have them with dots, and many trainers keep them in LoRAs with underscores. The place of a
//! block says its level: with two residual blocks a level, `input_blocks.4.1` is the attention of the first block of the
//! second level.

/// How names are written.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// Residual blocks of a level on the way down; one more on the way up.
    pub layers: usize,
    pub separator: char,
}

/// As LoRAs have them. The UNets of Stable Diffusion 1.x, 2.x and XL all have two residual blocks a level.
pub const UNDERSCORED: Naming = Naming { layers: 2, separator: '_' };

/// Modules outside the blocks.
const SINGLE: [(&str, &str); 7] = [
    ("input_blocks.0.0", "conv_in"),
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
];

/// Modules of a residual block.
const RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("emb_layers.1", "time_emb_proj"),
    ("skip_connection", "conv_shortcut"),
];

impl Naming {
    /// The name in diffusers, when the module is named as in the original code.
    pub fn to_diffusers(self, module: &str) -> Option<String> {
        let find = |table: &[(&str, &str)]| {
            let found = table.iter().find(|(original, _)| self.written(original) == module);
            found.map(|(_, name)| self.written(name))
        };
        if let Some(name) = find(&SINGLE) {
            return Some(name);
        }
        let (kind, rest) = self.kind(module)?;
        let (block, rest) = self.number(rest)?;
        if kind == "middle_block" {
            return self.middle(block, rest);
        }
        let (place, inner) = self.number(rest)?;
        match kind {
            "input_blocks" => self.down(block.checked_sub(1)?, place, inner),
            _ => self.up(block, place, inner),
        }
    }

    fn kind(self, module: &str) -> Option<(&'static str, &str)> {
        let kinds = ["input_blocks", "middle_block", "output_blocks"];
        kinds
            .into_iter()
            .find_map(|kind| Some((kind, module.strip_prefix(kind)?.strip_prefix(self.separator)?)))
    }

    fn middle(self, place: usize, inner: &str) -> Option<String> {
        match place {
            0 | 2 => {
                Some(self.join(&format!("mid_block.resnets.{}", place / 2), self.resnet(inner)?))
            }
            1 => Some(self.join("mid_block.attentions.0", inner)),
            _ => None,
        }
    }

    fn down(self, block: usize, place: usize, inner: &str) -> Option<String> {
        let (level, index) = (block / (self.layers + 1), block % (self.layers + 1));
        let at = |kind: &str| format!("down_blocks.{level}.{kind}.{index}");
        match (index == self.layers, place, inner) {
            (true, 0, "op") => {
                Some(self.written(&format!("down_blocks.{level}.downsamplers.0.conv")))
            }
            (false, 0, _) => Some(self.join(&at("resnets"), self.resnet(inner)?)),
            (false, 1, _) => Some(self.join(&at("attentions"), inner)),
            _ => None,
        }
    }

    fn up(self, block: usize, place: usize, inner: &str) -> Option<String> {
        let (level, index) = (block / (self.layers + 1), block % (self.layers + 1));
        let at = |kind: &str| format!("up_blocks.{level}.{kind}.{index}");
        match (place, inner) {
            // It comes after the attention, or in its place where the level has none.
            (1 | 2, "conv") => Some(self.written(&format!("up_blocks.{level}.upsamplers.0.conv"))),
            (0, _) => Some(self.join(&at("resnets"), self.resnet(inner)?)),
            (1, _) => Some(self.join(&at("attentions"), inner)),
            _ => None,
        }
    }

    fn resnet(self, inner: &str) -> Option<&'static str> {
        RESNET.iter().find(|(original, _)| self.written(original) == inner).map(|&(_, name)| name)
    }

    /// A path of ours and a name as the file has it.
    fn join(self, path: &str, inner: &str) -> String {
        format!("{}{}{inner}", self.written(path), self.separator)
    }

    fn written(self, dotted: &str) -> String {
        dotted.replace('.', &self.separator.to_string())
    }

    /// A number and what follows the separator after it.
    fn number(self, text: &str) -> Option<(usize, &str)> {
        let (digits, rest) = text.split_once(self.separator)?;
        Some((digits.parse().ok()?, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::{Naming, UNDERSCORED};

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
            assert_eq!(
                UNDERSCORED.to_diffusers(original).as_deref(),
                Some(diffusers),
                "{original}"
            );
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
            assert_eq!(UNDERSCORED.to_diffusers(name), None, "{name}");
        }
    }

    #[test]
    fn levels_follow_from_the_number_of_blocks() {
        let dotted = Naming { layers: 1, separator: '.' };
        for (original, diffusers) in [
            ("input_blocks.1.0.in_layers.0", "down_blocks.0.resnets.0.norm1"),
            ("input_blocks.2.0.op", "down_blocks.0.downsamplers.0.conv"),
            ("input_blocks.3.1.norm", "down_blocks.1.attentions.0.norm"),
            ("output_blocks.1.1.conv", "up_blocks.0.upsamplers.0.conv"),
            ("output_blocks.4.1.proj_in", "up_blocks.2.attentions.0.proj_in"),
            ("middle_block.2.out_layers.0", "mid_block.resnets.1.norm2"),
            ("time_embed.2", "time_embedding.linear_2"),
        ] {
            assert_eq!(dotted.to_diffusers(original).as_deref(), Some(diffusers), "{original}");
        }
        assert_eq!(dotted.to_diffusers("input_blocks.1.0.op"), None);
    }
}
