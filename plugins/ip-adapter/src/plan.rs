//! What an adapter needs, and what of it is grafted onto a UNet, without loading it.

use super::files::{AdapterError, Files, Names, encoder_artefact, find_adapter, find_encoder};
use super::params::Wishes;
use plugin_api::{Artefact, Error, FieldError, Graft, Plan, PlanRequest, Unsupported};
use plugins_diffusion::files::stored_bytes;
use plugins_diffusion::resolve::{ModelRoots, ResolveError};

/// Why a kind of adapter cannot be had.
pub fn refusal(kind: &str) -> Option<&'static str> {
    let reason = "adapters for faces are not available yet; the picture goes on without the style";
    (kind == "faceid").then_some(reason)
}

pub fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
    let wishes = Wishes::read(&request.params)?;
    if let Some(reason) = refusal(request.params.pipeline) {
        return Ok(unsupported(reason));
    }
    let names = Names::of(&wishes);
    let roots = ModelRoots::from_environment(request.host.environment().models_dir.clone());
    let (adapter, encoder) = (find_adapter(&names, &roots), find_encoder(&names, &roots));
    let (adapter, encoder) = match (adapter, encoder) {
        (Ok(adapter), Ok(encoder)) => (adapter, encoder),
        (adapter, encoder) => return Ok(without(&names, [adapter.err(), encoder.err()])),
    };
    let files = match Files::open(&names, adapter, encoder) {
        Ok(files) => files,
        Err(error) => return Ok(unsupported(&error.to_string())),
    };
    Ok(Plan {
        memory_bytes: stored_bytes(&files.adapter, "")
            .saturating_add(stored_bytes(&files.encoder, "")),
        graft: Some(Graft { tokens: files.projection.tokens(), weights: absolute(files.adapter)? }),
        ..Plan::default()
    })
}

fn absolute(path: std::path::PathBuf) -> Result<std::path::PathBuf, Error> {
    std::path::absolute(&path)
        .map_err(|error| Error::new(format!("no absolute path of {}: {error}", path.display())))
}

fn unsupported(reason: &str) -> Plan {
    let one = Unsupported { field: "type".into(), reason: reason.into() };
    Plan { unsupported: vec![one], ..Plan::default() }
}

/// The stream goes on without what is not here, unless it can be fetched.
fn without(names: &Names, errors: [Option<AdapterError>; 2]) -> Plan {
    let mut plan = Plan::default();
    let fields = ["/ipadapter_model_path", "/image_encoder_path"];
    for (error, field) in errors.into_iter().zip(fields) {
        let Some(error) = error else { continue };
        if let AdapterError::Resolve(ResolveError::Id { .. } | ResolveError::Outside { .. }) = error
        {
            let (pointer, message) = (field.into(), error.to_string());
            plan.errors.push(FieldError { pointer, message });
            continue;
        }
        let warning = format!("The style image is not used: {error}.");
        let artefact = match &error {
            AdapterError::NoEncoder { .. } => encoder_artefact(&names.encoder),
            AdapterError::Resolve(error) => error.artefact(),
            _ => None,
        };
        let without = warning.clone();
        plan.artefacts.extend(artefact.map(|it| Artefact { is_optional: true, without, ..it }));
        plan.warnings.push(warning);
    }
    plan
}
