//! Checkpoints in the layout of the original Stable Diffusion code, made of diffusers' names and shapes by walking through
//! the blocks in the order in which the original code builds them.

use std::collections::BTreeMap;

/// How the levels of a UNet are built.
pub struct Blocks {
    pub layers: usize,
    /// Which levels attend to the text, from the outside in.
    pub attention: Vec<bool>,
}

/// Stored tensors: shape and bytes, the latter empty where only the layout counts.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Module paths, diffusers' and the original's.
type Pair = (String, String);

const OUTSIDE: [(&str, &str); 10] = [
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
];

fn unet_modules(blocks: &Blocks) -> Vec<Pair> {
    let outside = OUTSIDE.map(|(name, original)| (name.into(), original.into()));
    [&outside[..], &down_modules(blocks), &up_modules(blocks)].concat()
}

/// A residual block and, where the level has one, the attention after it.
fn block_pairs(name: &str, layer: usize, original: &str) -> [Pair; 2] {
    [("resnets", 0), ("attentions", 1)]
        .map(|(kind, place)| (format!("{name}.{kind}.{layer}"), format!("{original}.{place}")))
}

fn down_modules(blocks: &Blocks) -> Vec<Pair> {
    let (mut pairs, mut block) = (Vec::new(), 1);
    for level in 0..blocks.attention.len() {
        let name = format!("down_blocks.{level}");
        for layer in 0..blocks.layers {
            pairs.extend(block_pairs(&name, layer, &format!("input_blocks.{block}")));
            block += 1;
        }
        if level + 1 < blocks.attention.len() {
            pairs.push((
                format!("{name}.downsamplers.0.conv"),
                format!("input_blocks.{block}.0.op"),
            ));
            block += 1;
        }
    }
    pairs
}

fn up_modules(blocks: &Blocks) -> Vec<Pair> {
    let (mut pairs, mut block) = (Vec::new(), 0);
    for (level, has_attention) in blocks.attention.iter().rev().enumerate() {
        let name = format!("up_blocks.{level}");
        for layer in 0..=blocks.layers {
            pairs.extend(block_pairs(&name, layer, &format!("output_blocks.{block}")));
            block += 1;
        }
        let place = if *has_attention { 2 } else { 1 };
        let last = block - 1;
        pairs.push((
            format!("{name}.upsamplers.0.conv"),
            format!("output_blocks.{last}.{place}.conv"),
        ));
    }
    pairs
}

const UNET_INNER: [(&str, &str); 6] = [
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".conv_shortcut.", ".skip_connection."),
];

pub fn unet(tensors: &Tensors, blocks: &Blocks) -> Tensors {
    let modules = unet_modules(blocks);
    let rename = |name: &String| {
        let (path, original) = modules
            .iter()
            .find(|(path, _)| name.starts_with(&format!("{path}.")))
            .unwrap_or_else(|| panic!("{name} has no place"));
        let mut rest = name[path.len()..].to_owned();
        if path.contains("resnets") {
            for (from, to) in UNET_INNER {
                rest = rest.replace(from, to);
            }
        }
        format!("model.diffusion_model.{original}{rest}")
    };
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

pub fn autoencoder(tensors: &Tensors, levels: usize) -> Tensors {
    let mut made = Tensors::new();
    for (name, (shape, bytes)) in tensors {
        let mut shape = shape.clone();
        let mut new = name
            .replace("conv_norm_out", "norm_out")
            .replace("conv_shortcut", "nin_shortcut")
            .replace("mid_block.resnets.0", "mid.block_1")
            .replace("mid_block.resnets.1", "mid.block_2")
            .replace(".downsamplers.0.conv", ".downsample.conv")
            .replace(".upsamplers.0.conv", ".upsample.conv")
            .replace(".resnets.", ".block.");
        for level in 0..levels {
            new = new.replace(&format!("down_blocks.{level}."), &format!("down.{level}."));
            let mirrored = levels - 1 - level;
            new = new.replace(&format!("up_blocks.{level}."), &format!("up.{mirrored}."));
        }
        if let Some((half, inner)) = new.split_once("mid_block.attentions.0.") {
            if shape.len() == 2 {
                shape.extend([1, 1]);
            }
            let inner = inner
                .replace("group_norm", "norm")
                .replace("to_q", "q")
                .replace("to_k", "k")
                .replace("to_v", "v")
                .replace("to_out.0", "proj_out");
            new = format!("{half}mid.attn_1.{inner}");
        }
        made.insert(format!("first_stage_model.{new}"), (shape, bytes.clone()));
    }
    made
}

/// OpenAI's CLIP keeps its names.
pub fn clip(tensors: &Tensors, prefix: &str) -> Tensors {
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

/// OpenCLIP has queries, keys and values in one matrix, and its projection the other way round.
pub fn open_clip(tensors: &Tensors, prefix: &str) -> Tensors {
    let mut made = Tensors::new();
    for (name, (shape, bytes)) in tensors {
        let mut put = |name: String, shape: Vec<usize>, bytes: Vec<u8>| {
            made.insert(format!("{prefix}{name}"), (shape, bytes));
        };
        if name == "text_projection.weight" {
            let turned = vec![shape[1], shape[0]];
            put("text_projection".into(), turned, transposed(bytes, shape[0], shape[1]));
            continue;
        }
        let new = name
            .replace("text_model.embeddings.position_embedding.weight", "positional_embedding")
            .replace("text_model.embeddings.token_embedding", "token_embedding")
            .replace("text_model.final_layer_norm", "ln_final")
            .replace("text_model.encoder.layers", "transformer.resblocks")
            .replace("layer_norm", "ln_")
            .replace("mlp.fc1", "mlp.c_fc")
            .replace("mlp.fc2", "mlp.c_proj")
            .replace("self_attn", "attn");
        match new.split_once(".q_proj.") {
            Some((module, leaf)) => {
                let part = |part: &str| &tensors[&name.replace("q_proj", part)].1;
                let fused = ["q_proj", "k_proj", "v_proj"].map(part).map(Vec::as_slice).concat();
                let mut tall = shape.clone();
                tall[0] *= 3;
                put(format!("{module}.in_proj_{leaf}"), tall, fused);
            }
            None if new.contains(".k_proj.") || new.contains(".v_proj.") => {}
            None => put(new, shape.clone(), bytes.clone()),
        }
    }
    made
}

/// A matrix of four-byte numbers turned over; of nothing, where only the layout counts.
fn transposed(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let value = |row: usize, column: usize| &bytes[4 * (row * columns + column)..][..4];
    (0..columns)
        .flat_map(|column| (0..rows).flat_map(move |row| value(row, column).to_vec()))
        .collect()
}
