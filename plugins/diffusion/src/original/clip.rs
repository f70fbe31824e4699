//! Names of OpenCLIP's text encoder, which Stable Diffusion 2.x and XL have, in the words of transformers.

use crate::weights::{Piece, Renamed};

const SINGLE: [(&str, &str, Piece); 5] = [
    ("positional_embedding", "text_model.embeddings.position_embedding.weight", Piece::Whole),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight", Piece::Whole),
    ("ln_final.weight", "text_model.final_layer_norm.weight", Piece::Whole),
    ("ln_final.bias", "text_model.final_layer_norm.bias", Piece::Whole),
    // OpenCLIP multiplies from the left, transformers has a linear layer.
    ("text_projection", "text_projection.weight", Piece::Transposed),
];

const LAYER: [(&str, &str); 5] = [
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
    ("attn.out_proj", "self_attn.out_proj"),
];

/// The tensors in transformers that one of OpenCLIP's is made of: queries, keys and values are three there.
pub fn to_transformers(name: &str) -> Vec<Renamed> {
    if let Some(&(_, name, piece)) = SINGLE.iter().find(|(original, ..)| *original == name) {
        return vec![(name.into(), piece)];
    }
    let layer = name.strip_prefix("transformer.resblocks.");
    let Some((index, inner)) = layer.and_then(|layer| layer.split_once('.')) else {
        return Vec::new();
    };
    let at = |name: String| format!("text_model.encoder.layers.{index}.{name}");
    if let Some(leaf) = inner.strip_prefix("attn.in_proj_") {
        let third = |(number, part): (usize, &str)| {
            (at(format!("self_attn.{part}_proj.{leaf}")), Piece::Third(number))
        };
        return ["q", "k", "v"].into_iter().enumerate().map(third).collect();
    }
    let Some((module, leaf)) = inner.rsplit_once('.') else { return Vec::new() };
    let found = LAYER.iter().find(|(original, _)| *original == module);
    found.map(|(_, name)| (at(format!("{name}.{leaf}")), Piece::Whole)).into_iter().collect()
}
