//! Which files of a repository are pulled.
//!
//! Of a diffusers pipeline: its index, configurations, tokenizers, and one set of weights of each component. Of any other
//! repository (an autoencoder, a ControlNet, a LoRA): the configuration and the weights in its root. Never pickles, other
//! runtimes' formats or the same weights once more in one file.

use crate::names::FileName;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

pub const INDEX: &str = "model_index.json";

const CONFIGURATIONS: &[&str] = &[
    "config.json",
    "scheduler_config.json",
    "preprocessor_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// Names that weights have in a folder of their own.
const STEMS: &[&str] = &["diffusion_pytorch_model", "model"];

const WEIGHTS: &str = ".safetensors";
const HALF: &str = ".fp16";

/// Which weights are taken where there are two sets of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The set in half precision, of half the size.
    #[default]
    Half,
    /// The set in full precision.
    Full,
}

/// What is pulled.
#[derive(Clone, Debug)]
pub enum Selection {
    /// What a pipeline needs.
    Pipeline(Precision),
    /// These files and no others.
    Files(Vec<FileName>),
}

/// The components that a pipeline's index names.
pub fn components(index: &Map<String, Value>) -> BTreeSet<String> {
    // `"unet": ["diffusers", "UNet2DConditionModel"]`; a component that a pipeline does without is `[null, null]`.
    let is_component = |value: &Value| {
        value.as_array().is_some_and(|of| of.len() == 2 && of.iter().all(Value::is_string))
    };
    index.iter().filter(|(_, value)| is_component(value)).map(|(name, _)| name.clone()).collect()
}

/// Chooses among the files of a repository; `components` are those of its index, where it has one.
pub fn choose(
    names: &[FileName],
    components: Option<&BTreeSet<String>>,
    precision: Precision,
) -> Vec<FileName> {
    let mut folders = BTreeMap::<&str, Vec<(&FileName, &str)>>::new();
    for name in names {
        let (folder, file) = name.as_str().rsplit_once('/').unwrap_or(("", name.as_str()));
        folders.entry(folder).or_default().push((name, file));
    }
    let mut chosen = Vec::new();
    for (folder, files) in folders {
        let is_root = folder.is_empty();
        let is_component = components.is_some_and(|components| components.contains(folder));
        if !is_root && !is_component {
            continue;
        }
        let is_configuration =
            |file: &str| CONFIGURATIONS.contains(&file) || (is_root && file == INDEX);
        let configurations = files.iter().filter(|(_, file)| is_configuration(file));
        chosen.extend(configurations.map(|(name, _)| (*name).clone()));
        // Weights in the root of a pipeline are those of its components once more.
        if is_component || components.is_none() {
            chosen.extend(weights(&files, components.is_none(), precision));
        }
    }
    chosen
}

/// One of `X.safetensors` and `X.fp16.safetensors` for each X. Where weights have the names that loaders look for, others
/// are the same once more; elsewhere, as with a LoRA, any name may be meant.
fn weights(
    files: &[(&FileName, &str)],
    may_have_any_name: bool,
    precision: Precision,
) -> Vec<FileName> {
    let mut sets = BTreeMap::<&str, [Option<&FileName>; 2]>::new();
    for (name, file) in files {
        let Some(stem) = file.strip_suffix(WEIGHTS) else { continue };
        let (stem, place) = stem.strip_suffix(HALF).map_or((stem, 1), |stem| (stem, 0));
        sets.entry(stem).or_default()[place] = Some(name);
    }
    let has_stem = sets.keys().any(|stem| STEMS.contains(stem));
    if has_stem || !may_have_any_name {
        sets.retain(|stem, _| STEMS.contains(stem));
    }
    let pick = |[half, full]: [Option<&FileName>; 2]| match precision {
        Precision::Half => half.or(full).cloned(),
        Precision::Full => full.or(half).cloned(),
    };
    sets.into_values().filter_map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], index: Option<&str>, precision: Precision, wanted: &[&str]) {
        let names: Vec<_> =
            names.iter().map(|name| FileName::parse(name).expect("a name")).collect();
        let index = index.map(|text| components(&serde_json::from_str(text).expect("JSON")));
        let chosen = choose(&names, index.as_ref(), precision);
        let chosen: BTreeSet<_> = chosen.iter().map(FileName::as_str).collect();
        assert_eq!(chosen, wanted.iter().copied().collect());
    }

    const INDEX_TEXT: &str = r#"{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "U"],
        "vae": ["diffusers", "V"], "tokenizer": ["transformers", "T"], "scheduler": ["diffusers", "S"],
        "safety_checker": [null, null]}"#;

    #[test]
    fn a_pipeline_has_one_set_of_weights_for_each_component_and_no_pickles() {
        let names = [
            ".gitattributes",
            "README.md",
            "model_index.json",
            "v1-5.safetensors",
            "v1-5.ckpt",
            "scheduler/scheduler_config.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "tokenizer/tokenizer_config.json",
            "tokenizer/special_tokens_map.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/model.onnx",
            "unet/flax_model.msgpack",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
            "vae_1_0/diffusion_pytorch_model.safetensors",
            "vae_decoder/config.json",
            "safety_checker/model.safetensors",
        ];
        let both = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "tokenizer/tokenizer_config.json",
            "tokenizer/special_tokens_map.json",
            "unet/config.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        let half = [&both[..], &["unet/diffusion_pytorch_model.fp16.safetensors"]].concat();
        check(&names, Some(INDEX_TEXT), Precision::Half, &half);
        let full = [&both[..], &["unet/diffusion_pytorch_model.safetensors"]].concat();
        check(&names, Some(INDEX_TEXT), Precision::Full, &full);
    }

    #[test]
    fn an_autoencoder_or_a_controlnet_is_its_configuration_and_its_weights_once() {
        let names = [
            "config.json",
            "diffusion_pytorch_model.safetensors",
            "sdxl_vae.safetensors",
            "diffusion_pytorch_model.bin",
            "sub/config.json",
            "sub/model.safetensors",
            "README.md",
        ];
        let wanted = ["config.json", "diffusion_pytorch_model.safetensors"];
        check(&names, None, Precision::Half, &wanted);
    }

    #[test]
    fn a_lora_may_have_any_name() {
        let names = ["Style_v1.2.safetensors", "a.fp16.safetensors", "a.safetensors", "x.png"];
        check(&names, None, Precision::Half, &["Style_v1.2.safetensors", "a.fp16.safetensors"]);
        check(&names, None, Precision::Full, &["Style_v1.2.safetensors", "a.safetensors"]);
    }
}
