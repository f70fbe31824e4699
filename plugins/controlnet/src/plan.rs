//! What a ControlNet needs, without loading it.

use super::params::{Files, Wishes, find};
use plugin_api::{Artefact, Error, FieldError, Plan, PlanRequest};
use plugins_diffusion::files::stored_bytes;
use plugins_diffusion::resolve::ResolveError;

pub fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
    let (name, wishes) = (request.params.pipeline, Wishes::read(&request.params)?);
    let folder = match find(name, request.host.environment()) {
        Ok(folder) => folder,
        Err(error @ (ResolveError::Id { .. } | ResolveError::Outside { .. })) => {
            let error = FieldError { pointer: "/model_id".into(), message: error.to_string() };
            return Ok(Plan { errors: vec![error], ..Plan::default() });
        }
        Err(error) => return Ok(without(&error)),
    };
    let files = match Files::open(&folder) {
        Ok(files) => files,
        Err(error) => {
            return Ok(Plan { warnings: vec![left_out(name, &error)], ..Plan::default() });
        }
    };
    let wrong = files
        .check(name, &wishes)
        .err()
        .map(|message| FieldError { pointer: "/conditioning_channels".into(), message });
    Ok(Plan {
        errors: wrong.into_iter().collect(),
        memory_bytes: stored_bytes(&folder, "diffusion_pytorch_model"),
        ..Plan::default()
    })
}

/// The stream goes on without one that is not here, unless it can be fetched.
fn without(error: &ResolveError) -> Plan {
    let warning = format!("The picture is not steered: {error}.");
    let artefact = error.artefact().map(|artefact| Artefact {
        is_optional: true,
        without: warning.clone(),
        ..artefact
    });
    Plan { warnings: vec![warning], artefacts: artefact.into_iter().collect(), ..Plan::default() }
}

fn left_out(name: &str, error: &Error) -> String {
    format!("The picture is not steered by {name}: {error}.")
}
