//! What the name of a tensor in a LoRA file says: which network, which module of it, and which part of the change.
//!
//! Kohya's trainers write `lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight`, diffusers and PEFT
//! `unet.down_blocks.0.attentions.0.proj_in.lora_A.weight`. Both are told here as the module's path in the diffusers
//! state dict with its dots turned to underscores, which is compared with the paths of the network at hand.

use crate::original::unet::UNDERSCORED;

/// The network of a checkpoint that a module belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    TextEncoder,
    /// The second text encoder of Stable Diffusion XL.
    TextEncoder2,
    Unet,
}

impl Part {
    /// What names of this part begin with, kohya's way and PEFT's.
    pub(super) const fn prefixes(self) -> [&'static str; 2] {
        match self {
            Self::TextEncoder => ["lora_te_", "text_encoder."],
            Self::TextEncoder2 => ["lora_te2_", "text_encoder_2."],
            Self::Unet => ["lora_unet_", "unet."],
        }
    }
}

/// What a tensor does in `scale * (alpha / rank) * up @ down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Down,
    Up,
    Alpha,
}

/// A module of a network, named as in the diffusers state dict but with underscores for dots.
pub(super) type Module = (Part, String);

const PREFIXES: [(&str, Part); 7] = [
    ("lora_unet_", Part::Unet),
    ("lora_te_", Part::TextEncoder),
    ("lora_te1_", Part::TextEncoder),
    ("lora_te2_", Part::TextEncoder2),
    ("unet.", Part::Unet),
    ("text_encoder.", Part::TextEncoder),
    ("text_encoder_2.", Part::TextEncoder2),
];

/// Diffusers has written several names over time.
const SUFFIXES: [(&str, Role); 11] = [
    (".alpha", Role::Alpha),
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
];

/// Parts of changes that are no plain product of two matrices; without them the rest would be merged wrongly.
const OTHER_KINDS: [(&str, &str); 4] = [
    (".dora_scale", "DoRA"),
    (".lora_magnitude_vector", "DoRA"),
    (".lora_magnitude_vector.weight", "DoRA"),
    (".lora_mid.weight", "LoCon with a core tensor"),
];

/// The module and role that a tensor's name tells, if it is one of a LoRA.
pub(super) fn parse(name: &str) -> Option<(Module, Role)> {
    let (rest, part) =
        PREFIXES.iter().find_map(|&(prefix, part)| Some((name.strip_prefix(prefix)?, part)))?;
    let (path, role) =
        SUFFIXES.iter().find_map(|&(suffix, role)| Some((rest.strip_suffix(suffix)?, role)))?;
    // Diffusers once kept the changes in the attention's processor: `attn1.processor.to_out_lora.down.weight`.
    let mut path = path.replace(".processor.", ".");
    if path.ends_with(".to_out") {
        path.push_str(".0");
    }
    let module = underscored(&path);
    let module = match part {
        Part::Unet => UNDERSCORED.to_diffusers(&module).unwrap_or(module),
        _ => module,
    };
    Some(((part, module), role))
}

/// The name of a kind of change that cannot be merged, when the tensor is part of one.
pub(super) fn other_kind(name: &str) -> Option<&'static str> {
    OTHER_KINDS.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|&(_, kind)| kind)
}

/// A module's path as kohya writes it.
pub(super) fn underscored(path: &str) -> String {
    path.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_naming_leads_to_the_same_module() {
        let query = |part| Some(((part, "a_0_attn1_to_q".to_owned()), Role::Down));
        for (name, part) in [
            ("lora_unet_a_0_attn1_to_q.lora_down.weight", Part::Unet),
            ("unet.a.0.attn1.to_q.lora_A.weight", Part::Unet),
            ("unet.a.0.attn1.to_q.lora.down.weight", Part::Unet),
            ("unet.a.0.attn1.processor.to_q_lora.down.weight", Part::Unet),
            ("lora_te_a_0_attn1_to_q.lora_down.weight", Part::TextEncoder),
            ("lora_te1_a_0_attn1_to_q.lora_down.weight", Part::TextEncoder),
            ("text_encoder.a.0.attn1.to_q.lora_A.weight", Part::TextEncoder),
            ("text_encoder.a.0.attn1.to_q.lora_linear_layer.down.weight", Part::TextEncoder),
            ("lora_te2_a_0_attn1_to_q.lora_down.weight", Part::TextEncoder2),
            ("text_encoder_2.a.0.attn1.to_q.lora_A.weight", Part::TextEncoder2),
        ] {
            assert_eq!(parse(name), query(part), "{name}");
        }
        let module = (Part::Unet, "a_to_out_0".to_owned());
        for name in ["unet.a.to_out.0.lora_B.weight", "unet.a.processor.to_out_lora.up.weight"] {
            assert_eq!(parse(name), Some((module.clone(), Role::Up)), "{name}");
        }
        assert_eq!(parse("lora_unet_a_to_out_0.alpha"), Some((module, Role::Alpha)));
    }

    #[test]
    fn what_is_no_lora_has_no_role() {
        for name in [
            "conv_in.weight",
            "unet.conv_in.weight",
            "lora_unet_a.hada_w1_a",
            "",
            "unet.",
            ".alpha",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(other_kind("lora_unet_a.dora_scale"), Some("DoRA"));
        assert_eq!(other_kind("lora_unet_a.lora_up.weight"), None);
    }
}
