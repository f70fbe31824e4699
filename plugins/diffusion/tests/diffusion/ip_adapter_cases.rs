//! IP-Adapters: from a picture's pixels to what a UNet makes of it.

use std::path::PathBuf;

use plugins_diffusion::config::Config;
use plugins_diffusion::engine::{Engine, Model};
use plugins_diffusion::files::{Stored, weights_file};
use plugins_diffusion::ip_weights::WeightType;
use plugins_diffusion::nets::{ADAPTER, ClipVision, ImageProjection, Seen, Unet};
use plugins_diffusion::tensor::Tensor;
use plugins_diffusion::weights::Weights;
use serde_json::Value;

use crate::cases::unet_inputs;
use crate::support::{Case, Golden, Outcome};

pub fn ip_adapter(golden: &Golden, name: &str, engine: &Engine) -> Outcome {
    let mut case = golden.case(name);
    let (adapter, base) = match name {
        "ipadapter_sdxl" => ("ip-adapter-sdxl-tiny", "sdxl-tiny"),
        "ipadapter_plus_sd15" => ("ip-adapter-plus-sd15-tiny", "sd15-tiny"),
        _ => ("ip-adapter-sd15-tiny", "sd15-tiny"),
    };
    let [hidden, pooled] = see(golden, &case, engine);
    case.compare("vision_penult", hidden.data());
    case.compare("image_embeds", pooled.data());
    let projection = load_projection(golden, adapter, engine);
    let seen = match projection.network().seen() {
        Seen::Patches => hidden,
        Seen::Whole => pooled,
        Seen::Face | Seen::FaceAndPatches => panic!("no case has faces"),
    };
    let tokens = projection.run(&[&seen]).unwrap();
    assert_eq!(tokens.shape(), case.float("image_tokens").shape());
    case.compare("image_tokens", tokens.data());
    let nothing = projection.run(&[&Tensor::zeros(seen.shape())]).unwrap();
    case.compare("image_tokens_zero", nothing.data());

    let unet = load_unet(golden, base, adapter, tokens.shape()[1], engine);
    let mut inputs = unet_inputs(&case);
    let rows = inputs[0].shape()[0];
    inputs.push(tokens.repeat_rows(rows));
    inputs.push(scales(&unet, case.about["scale"].as_f64().unwrap() as f32));
    case.compare("out", unet.run(&inputs.iter().collect::<Vec<_>>()).unwrap().data());
    Ok(case.report())
}

/// Scales over layers and steps.
pub fn weight_types(golden: &Golden) -> Outcome {
    let path = golden.folder.join("ip_weight_types.json");
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let kind = |name: &str| WeightType::of_name(name).unwrap_or_else(|| panic!("no type {name}"));
    let mut compared = 0;
    for (key, wanted) in recorded["layer_weights"].as_object().unwrap() {
        let [name, layers, "base0.8"] = key.split('|').collect::<Vec<_>>()[..] else {
            panic!("{key} is not of a base of 0.8")
        };
        let layers = layers[1..].parse().unwrap();
        let wanted: Vec<f64> = match wanted.as_array() {
            // Nothing is recorded where all layers have the scale as it is.
            None => vec![0.8; layers],
            Some(list) => list.iter().map(|value| value.as_f64().unwrap()).collect(),
        };
        // There StreamDiffusion knows no layers to pick, and adapters do nothing at all.
        if wanted.iter().all(|&scale| scale == 0.0) {
            continue;
        }
        let ours = kind(name).scales(0.8, layers);
        let is_near = |(&ours, wanted): (&f32, f64)| (f64::from(ours) - wanted).abs() < 1e-6;
        assert!(ours.len() == wanted.len() && ours.iter().zip(wanted).all(is_near), "{key}");
        compared += 1;
    }
    assert_eq!(compared, 41, "of 48 with 7 that are nothing but zeros");
    for (key, wanted) in recorded["time_factor"].as_object().unwrap() {
        let (name, step) = key.split_once("|step").unwrap();
        let (step, steps) = step.split_once("of").unwrap();
        let ours = kind(name).at_step(step.parse().unwrap(), steps.parse().unwrap());
        assert!((f64::from(ours) - wanted.as_f64().unwrap()).abs() < 1e-6, "{key}: {ours}");
    }
    Ok(vec![format!("{compared} types by numbers of layers equal, and all steps")])
}

/// The tokens that an adapter makes of a case's picture.
pub fn tokens(golden: &Golden, case: &Case, adapter: &str, engine: &Engine) -> Tensor {
    let [hidden, pooled] = see(golden, case, engine);
    let projection = load_projection(golden, adapter, engine);
    let is_plus = projection.network().seen() == Seen::Patches;
    projection.run(&[if is_plus { &hidden } else { &pooled }]).unwrap()
}

/// The UNet of a checkpoint with an adapter, whose weights stay in its own file.
pub fn load_unet(
    golden: &Golden,
    base: &str,
    adapter: &str,
    tokens: usize,
    engine: &Engine,
) -> Model<Unet> {
    let folder = golden.checkpoints.join(base).join("unet");
    let network = Unet::from_config(&Config::read(&folder.join("config.json")).unwrap()).unwrap();
    let weights = weights_file(&folder, "diffusion_pytorch_model").unwrap();
    let stored = Stored::file(weights).with(ADAPTER, file(golden, adapter));
    engine.load(network.with_image_tokens(tokens), &stored, &mut || true).unwrap()
}

/// One scale for all layers.
pub fn scales(unet: &Model<Unet>, scale: f32) -> Tensor {
    let layers = unet.network().cross_attentions();
    Tensor::new([layers], vec![scale; layers])
}

pub fn file(golden: &Golden, adapter: &str) -> PathBuf {
    golden.checkpoints.join(adapter).join("ip-adapter.safetensors")
}

fn see(golden: &Golden, case: &Case, engine: &Engine) -> [Tensor; 2] {
    let folder = golden.checkpoints.join("image-encoder-tiny");
    let config = Config::read(&folder.join("config.json")).unwrap();
    let network = ClipVision::from_config(&config).unwrap();
    let weights = weights_file(&folder, "model").unwrap();
    let encoder = engine.load(network, &weights, &mut || true).unwrap();
    encoder.run_all(&[case.float("pixels")]).unwrap().try_into().unwrap()
}

fn load_projection(golden: &Golden, adapter: &str, engine: &Engine) -> Model<ImageProjection> {
    let path = file(golden, adapter);
    let network = ImageProjection::of(&Weights::open(&path).unwrap()).unwrap();
    engine.load(network, &path, &mut || true).unwrap()
}
