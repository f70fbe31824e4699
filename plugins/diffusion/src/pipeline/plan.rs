//! The answer to "what would happen with these params", without loading anything.

use std::path::Path;

use plugin_api::{Plan, PlanRequest};

use crate::family::{Family, FamilyError};
use crate::folder::{CheckpointError, check_loras};
use crate::params::{self, StreamParams};
use crate::pipeline::missing::missing;
use crate::resolve::{ModelRoots, ResolveError};

/// The plan of a plugin for one family of models.
pub fn plan(request: &PlanRequest<'_>, family: Family) -> Plan {
    let params = match StreamParams::read(request.params.values) {
        Ok(params) => params,
        Err(error) => return Plan { errors: vec![error], ..Plan::default() },
    };
    let mut plan = params::plan(&params, request.previous, request.environment);
    let roots = ModelRoots::from_environment(request.environment.models_dir.clone());
    match look_at_models(&params, &roots, family) {
        // Models may still be fetched before they are loaded, so an absent one is a warning.
        Err(error) => plan.warnings.push(will_fail(&error)),
        Ok(found) => {
            plan.memory_bytes = found.bytes;
            plan.warnings.extend(found.warnings.iter().map(|warning| format!("{warning}.")));
        }
    }
    plan.artefacts = missing(&params, &roots, family);
    leave_out_untold(&mut plan);
    plan
}

pub(super) fn will_fail(error: &dyn std::error::Error) -> String {
    format!("Loading will fail: {error}.")
}

/// What an artefact would cure is told of the first that is missing alone, so that a plan with many stays short.
fn leave_out_untold(plan: &mut Plan) {
    let Plan { warnings, unsupported, artefacts, .. } = plan;
    let is_told = |text: &String| {
        warnings.contains(text) || unsupported.iter().any(|each| each.reason == *text)
    };
    for artefact in artefacts.iter_mut().filter(|artefact| !is_told(&artefact.without)) {
        artefact.without.clear();
    }
}

#[derive(Debug, thiserror::Error)]
enum ModelError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Family(#[from] FamilyError),
    #[error(transparent)]
    Loras(Box<CheckpointError>),
}

struct Found {
    warnings: Vec<String>,
    /// Of all weights. The text encoders count even where they are let go at times, as they come back.
    bytes: u64,
}

fn look_at_models(
    params: &StreamParams,
    roots: &ModelRoots,
    family: Family,
) -> Result<Found, ModelError> {
    let model = roots.resolve(&params.model_id)?;
    family.expect(&model)?;
    let small = params.use_tiny_vae.then_some(family.tiny_autoencoder());
    let vae = roots.autoencoder(&model, params.vae_id.as_deref(), small)?;
    let encoders = family.encoders().iter().map(|folders| model.join(folders.encoder));
    let own = encoders.chain([model.join("unet")]);
    let own: u64 = own.map(|folder| weights_bytes(&folder)).sum();
    let loras = params.loras(roots, &model)?.loras;
    let mut warnings =
        check_loras(&model, &loras).map_err(|error| ModelError::Loras(Box::new(error)))?;
    warnings.extend(vae.warning);
    // What LoRAs change lies in memory beside what is read from the file.
    let merged = if loras.is_empty() { 0 } else { own };
    Ok(Found { warnings, bytes: own + merged + weights_bytes(&vae.folder) })
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
