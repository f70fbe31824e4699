//! What a load needs of the hub and does not find on this machine.

use std::path::Path;

use plugin_api::Artefact;

use super::plan::will_fail;
use crate::family::Family;
use crate::files::ModelFiles;
use crate::params::StreamParams;
use crate::resolve::{ModelRoots, ResolveError};

/// In the order in which they are to be fetched: what is needed, then what the load can do without. Of a model that is
/// not here nobody knows whether it has a small autoencoder of its own and which LoRAs fit it; that shows in the plan
/// after it was fetched.
pub fn missing(params: &StreamParams, roots: &ModelRoots, family: Family) -> Vec<Artefact> {
    let model = roots.resolve(&params.model_id);
    let vae = params.vae_id.as_deref().map(|id| roots.find(id));
    let mut artefacts: Vec<_> =
        [model.as_ref().err(), vae.as_ref().and_then(|vae| vae.as_ref().err())]
            .into_iter()
            .flatten()
            .filter_map(needed)
            .collect();
    let loras = params.lora_dict.iter().flatten();
    let loras = loras.filter_map(|(name, _)| roots.resolve_lora(name).err());
    artefacts.extend(loras.filter_map(|error| needed(&error)));
    let model = model.ok();
    if vae.is_none() && params.use_tiny_vae {
        artefacts.extend(small_autoencoder(roots, model.as_deref(), family));
    }
    artefacts.extend(lcm_lora(params, roots, model.as_deref()));
    artefacts
}

fn needed(error: &ResolveError) -> Option<Artefact> {
    Some(Artefact { without: will_fail(error), ..error.artefact()? })
}

fn small_autoencoder(roots: &ModelRoots, model: Option<&Path>, family: Family) -> Option<Artefact> {
    let small = family.tiny_autoencoder();
    let Some(model) = model else {
        let artefact = roots.find(small).err()?.artefact()?;
        return Some(Artefact { is_optional: true, ..artefact });
    };
    let chosen = roots.autoencoder(model, None, Some(small)).ok()?;
    let without = chosen.warning.map(|warning| format!("{warning}."));
    Some(Artefact { is_optional: true, without: without.unwrap_or_default(), ..chosen.missing? })
}

fn lcm_lora(params: &StreamParams, roots: &ModelRoots, model: Option<&Path>) -> Option<Artefact> {
    let files = model.and_then(|model| ModelFiles::open(model).ok());
    let refusal = params.lcm_lora(roots, files.as_ref()).err()?;
    Some(Artefact { is_optional: true, without: refusal.reason, ..*refusal.missing? })
}
