//! The answer to "what would happen with these params", without loading anything.

use std::path::Path;

use plugin_api::{Plan, PlanRequest};

use crate::config::ConfigError;
use crate::family::{Family, FamilyError};
use crate::files::{FilesError, ModelFiles, stored_bytes};
use crate::folder::{CheckpointError, check_loras};
use crate::nets::Unet;
use crate::original::Component;
use crate::params::{self, StreamParams};
use crate::pipeline::adapters::{self, About};
use crate::pipeline::missing::missing;
use crate::pipeline::{controls, processors};
use crate::resolve::{ModelRoots, ResolveError};
use crate::stream::Settings;
use crate::vae;

/// The plan of a plugin for one family of models.
pub fn plan(request: &PlanRequest<'_>, family: Family) -> Plan {
    let params = match StreamParams::read(request.params.values) {
        Ok(params) => params,
        Err(error) => return Plan { errors: vec![error], ..Plan::default() },
    };
    // The last params were read before; if they are not readable any more, nothing can be compared with them.
    let previous = request.previous.and_then(|values| StreamParams::read(values).ok());
    let environment = request.host.environment();
    let mut plan = params::plan(&params, previous.as_ref(), environment);
    if plan.errors.is_empty() {
        let old = previous.map(|previous| previous.settings().hooks);
        let settings = params.settings();
        processors::plan(&mut plan, request.host, &settings.hooks, old.as_ref());
        controls::plan(&mut plan, request.host, &settings.controls);
    }
    let roots = ModelRoots::from_environment(environment.models_dir.clone());
    if let Some(adapter) = params.settings().adapter.filter(|_| plan.errors.is_empty()) {
        let about = About { host: request.host, family, worked: plan.formats.input };
        let model = roots.resolve(&params.model_id).ok();
        adapters::plan(&mut plan, about, &adapter, model.as_deref());
    }
    match look_at_models(&params, &roots, family) {
        // Models may still be fetched before they are loaded, so an absent one is a warning.
        Err(error) => plan.warnings.push(will_fail(&error)),
        Ok(found) => {
            plan.memory_bytes = plan.memory_bytes.saturating_add(found.bytes);
            plan.warnings.extend(found.warnings.iter().map(|warning| format!("{warning}.")));
        }
    }
    plan.artefacts.splice(..0, missing(&params, &roots, family));
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
    Files(#[from] FilesError),
    #[error(transparent)]
    Family(#[from] FamilyError),
    #[error(transparent)]
    Loras(Box<CheckpointError>),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

struct Found {
    warnings: Vec<String>,
    /// Of all weights, and of what attention keeps. The text encoders count even where they are let go at times, as they come back.
    bytes: u64,
}

fn look_at_models(
    params: &StreamParams,
    roots: &ModelRoots,
    family: Family,
) -> Result<Found, ModelError> {
    let model = roots.resolve(&params.model_id)?;
    let files = ModelFiles::open(&model)?;
    family.expect(&files)?;
    let small = params.use_tiny_vae.then_some(family.tiny_autoencoder());
    let vae = roots.autoencoder(&model, params.vae_id.as_deref(), small)?;
    let own = files.bytes(family.encoders());
    let loras = params.loras(roots, &files)?.loras;
    let mut warnings =
        check_loras(&files, &loras).map_err(|error| ModelError::Loras(Box::new(error)))?;
    warnings.extend(vae.warning.into_iter().chain(files.warning()));
    // What LoRAs change lies in memory beside what is read from the file.
    let merged = if loras.is_empty() { 0 } else { own };
    let kept = cache_bytes(&params.settings(), &files, &vae.path)?;
    // A checkpoint in one file is counted whole already.
    let is_own = vae.path == model;
    let apart = if is_own { 0 } else { stored_bytes(&vae.path, Component::Autoencoder.stem()) };
    let weights = own + merged + apart;
    Ok(Found { warnings, bytes: weights.saturating_add(kept) })
}

/// Of the keys and values of as many calls as are kept, and of the one at work, for all rows of a batch.
fn cache_bytes(settings: &Settings, files: &ModelFiles, vae: &Path) -> Result<u64, ModelError> {
    let Some(cached) = settings.cached_attention else { return Ok(0) };
    let unet = Unet::from_config(&files.config(Component::Unet)?)?;
    let side = vae::downsampling(vae)?.max(1);
    let latent = [settings.shape.height / side, settings.shape.width / side];
    let values: usize = unet.self_attentions(latent).iter().map(|[a, b]| 2 * a * b).sum();
    let calls = cached.max_frames.saturating_add(1);
    let rows = settings.rows() + settings.negative_rows();
    let sizes = [values, calls, rows, size_of::<f32>()];
    Ok(sizes.into_iter().fold(1, |bytes, size| bytes.saturating_mul(size as u64)))
}
