//! The answer to "what would happen with these params", without loading anything.

use std::path::Path;

use plugin_api::{Plan, PlanRequest};
use plugins_diffusion::folder::check_loras;
use plugins_diffusion::params::{self, StreamParams};
use plugins_diffusion::resolve::ModelRoots;

pub fn plan(request: &PlanRequest<'_>) -> Plan {
    let params = match StreamParams::read(request.params.values) {
        Ok(params) => params,
        Err(error) => return Plan { errors: vec![error], ..Plan::default() },
    };
    let mut plan = params::plan(&params, request.previous, request.environment);
    look_at_models(&params, &request.environment.models_dir, &mut plan);
    plan
}

/// Models may still be fetched before they are loaded, so an absent one is a warning.
fn look_at_models(params: &StreamParams, models: &Path, plan: &mut Plan) {
    let roots = ModelRoots::from_environment(models.to_owned());
    match roots.resolve(&params.model_id) {
        Err(error) => plan.warnings.push(format!("Loading will fail: {error}.")),
        Ok(model) => {
            let own = ["text_encoder", "unet"].map(|part| weights_bytes(&model.join(part)));
            let own: u64 = own.iter().sum();
            look_at_autoencoder(params, &roots, &model, plan);
            plan.memory_bytes += own;
            if has_loras(params, &roots, &model, plan) {
                // What they change lies in memory beside what is read from the file.
                plan.memory_bytes += own;
            }
        }
    }
}

fn look_at_autoencoder(params: &StreamParams, roots: &ModelRoots, model: &Path, plan: &mut Plan) {
    match roots.autoencoder(model, params.vae_id.as_deref(), params.use_tiny_vae) {
        Err(error) => plan.warnings.push(format!("Loading will fail: {error}.")),
        Ok(vae) => {
            plan.memory_bytes += weights_bytes(&vae.folder);
            plan.warnings.extend(vae.warning.map(|warning| format!("{warning}.")));
        }
    }
}

/// Whether LoRAs will be merged; what is wrong with them is a warning.
fn has_loras(params: &StreamParams, roots: &ModelRoots, model: &Path, plan: &mut Plan) -> bool {
    let loras = match params.loras(roots, model) {
        Ok(chosen) => chosen.loras,
        Err(error) => {
            plan.warnings.push(format!("Loading will fail: {error}."));
            return false;
        }
    };
    if loras.is_empty() {
        return false;
    }
    match check_loras(model, &loras) {
        Ok(misfits) => plan.warnings.extend(misfits.iter().map(|misfit| format!("{misfit}."))),
        Err(error) => plan.warnings.push(format!("Loading will fail: {error}.")),
    }
    true
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
