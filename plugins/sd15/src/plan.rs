//! The answer to "what would happen with these params", without loading anything.

use std::path::Path;

use plugin_api::{Environment, FieldError, Formats, FrameFormat, Plan};
use plugins_diffusion::resolve::ModelRoots;
use serde_json::{Map, Value};

use crate::params::Sd15Params;
use crate::support::unsupported;

/// Folder of ONNX Runtime's library, inside the engines folder.
pub const RUNTIME: &str = "runtime";

pub fn plan(values: &Map<String, Value>, environment: &Environment) -> Plan {
    let params = match Sd15Params::read(values) {
        Ok(params) => params,
        Err(error) => return Plan { errors: vec![error], ..Plan::default() },
    };
    let mut errors = params.check();
    errors.extend(check_controlnets(&params));
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut plan = Plan {
        formats: Formats::same(FrameFormat::new(side(params.width), side(params.height))),
        errors,
        unsupported: unsupported(&params, &environment.engines_dir.join(RUNTIME)),
        latency_frames: side(params.t_index_list.len().saturating_sub(1)),
        ..Plan::default()
    };
    look_at_models(&params, environment, &mut plan);
    plan
}

/// Models may still be fetched before they are loaded, so an absent one is a warning.
fn look_at_models(params: &Sd15Params, environment: &Environment, plan: &mut Plan) {
    let roots = ModelRoots::from_environment(environment.models_dir.clone());
    match roots.resolve(&params.model_id) {
        Err(error) => plan.warnings.push(format!("Loading will fail: {error}.")),
        Ok(model) => match roots.autoencoder(&model, params.vae_id.as_deref(), params.use_tiny_vae)
        {
            Err(error) => plan.warnings.push(format!("Loading will fail: {error}.")),
            Ok(vae) => {
                let own = ["text_encoder", "unet"].map(|part| model.join(part));
                plan.memory_bytes =
                    own.iter().chain([&vae.folder]).map(|folder| weights_bytes(folder)).sum();
                plan.warnings.extend(vae.warning.map(|warning| format!("{warning}.")));
            }
        },
    }
}

fn weights_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let weights =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    // Links into the hub's cache are followed.
    weights
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|file| file.len())
        .max()
        .unwrap_or(0)
}

fn check_controlnets(params: &Sd15Params) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, controlnet) in params.controlnets.iter().enumerate() {
        let before = &params.controlnets[..index];
        let pointer = format!("/controlnets/{index}/model_id");
        if before.iter().any(|other| other.model_id == controlnet.model_id) {
            errors.push(FieldError { pointer, message: "must not be in the list twice".into() });
        } else if let Some(message) = family_mismatch(&params.model_id, &controlnet.model_id) {
            errors.push(FieldError { pointer, message });
        }
    }
    errors
}

/// Among Daydream's models, each family has ControlNets of its own.
fn family_mismatch(model: &str, controlnet: &str) -> Option<String> {
    let wants_sd21 = match model {
        "stabilityai/sd-turbo" => true,
        "Lykon/dreamshaper-8" | "prompthero/openjourney-v4" => false,
        _ => return None,
    };
    let is_sd21 = controlnet.contains("sd21") || controlnet.ends_with("-2-1");
    let wanted = if wants_sd21 { "Stable Diffusion 2.1" } else { "Stable Diffusion 1.5" };
    (wants_sd21 != is_sd21)
        .then(|| format!("must be a ControlNet for {wanted}, the family of {model}"))
}
