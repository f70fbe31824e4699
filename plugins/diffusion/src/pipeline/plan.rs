//! The answer to "what would happen with these params", without loading anything.

use std::path::Path;

use plugin_api::{Plan, PlanRequest};

use crate::config::{Config, ConfigError};
use crate::family::{Family, FamilyError};
use crate::folder::{CheckpointError, check_loras};
use crate::nets::Unet;
use crate::params::{self, StreamParams};
use crate::resolve::{ModelRoots, ResolveError};
use crate::stream::Settings;
use crate::vae;

/// The plan of a plugin for one family of models.
pub fn plan(request: &PlanRequest<'_>, family: Family) -> Plan {
    let params = match StreamParams::read(request.params.values) {
        Ok(params) => params,
        Err(error) => return Plan { errors: vec![error], ..Plan::default() },
    };
    let mut plan = params::plan(&params, request.previous, request.environment);
    let models = request.environment.models_dir.clone();
    match look_at_models(&params, &ModelRoots::from_environment(models), family) {
        // Models may still be fetched before they are loaded, so an absent one is a warning.
        Err(error) => plan.warnings.push(format!("Loading will fail: {error}.")),
        Ok(found) => {
            plan.memory_bytes = found.bytes;
            plan.warnings.extend(found.warnings.iter().map(|warning| format!("{warning}.")));
        }
    }
    plan
}

#[derive(Debug, thiserror::Error)]
enum ModelError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
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
    let weights = own + merged + weights_bytes(&vae.folder);
    let kept = cache_bytes(&params.settings(), &model.join("unet"), &vae.folder)?;
    Ok(Found { warnings, bytes: weights.saturating_add(kept) })
}

/// Of the keys and values of as many calls as are kept, and of the one at work, for all rows of a batch.
fn cache_bytes(settings: &Settings, unet: &Path, vae: &Path) -> Result<u64, ConfigError> {
    let Some(cached) = settings.cached_attention else { return Ok(0) };
    let unet = Unet::from_config(&Config::read(&unet.join("config.json"))?)?;
    let side = vae::downsampling(vae)?.max(1);
    let latent = [settings.shape.height / side, settings.shape.width / side];
    let values: usize = unet.self_attentions(latent).iter().map(|[a, b]| 2 * a * b).sum();
    let calls = cached.max_frames.saturating_add(1);
    let rows = settings.rows() + settings.negative_rows();
    let sizes = [values, calls, rows, size_of::<f32>()];
    Ok(sizes.into_iter().fold(1, |bytes, size| bytes.saturating_mul(size as u64)))
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
