//! What an adapter needs, and what of it is grafted onto a UNet, without loading it.

use super::files::{AdapterError, Files, Kind, Names, encoder_artefact};
use super::params::Wishes;
use plugin_api::{Artefact, Error, FieldError, Graft, Plan, PlanRequest, Unsupported};
use plugins_diffusion::files::stored_bytes;
use plugins_diffusion::resolve::ResolveError;

pub fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
    let wishes = Wishes::read(&request.params)?;
    let kind = Kind::of_name(request.params.pipeline);
    let names = Names::of(&wishes, kind);
    let files = match Files::find(&names, kind, &wishes, request.host.environment()) {
        Ok(files) => files,
        Err(errors) => return Ok(without(&names, errors)),
    };
    let is_blind = files.encoder.is_none() && wishes.image_encoder_path.is_some();
    let warning = "`image_encoder_path` has no effect: this adapter looks at whose face it is, and no further.";
    let warnings = is_blind.then(|| warning.to_owned()).into_iter().collect();
    let bytes = files.paths().iter().map(|path| stored_bytes(path, "")).sum();
    let (tokens, weights) = (files.projection.tokens(), absolute(files.adapter)?);
    let graft = Some(Graft { tokens, weights });
    Ok(Plan { memory_bytes: bytes, graft, warnings, ..Plan::default() })
}

fn absolute(path: std::path::PathBuf) -> Result<std::path::PathBuf, Error> {
    std::path::absolute(&path)
        .map_err(|error| Error::new(format!("no absolute path of {}: {error}", path.display())))
}

/// The stream goes on without what is not here, unless it can be fetched, and without what does not fit.
fn without(names: &Names, errors: Vec<AdapterError>) -> Plan {
    let mut plan = Plan::default();
    for error in errors {
        let field = match &error {
            AdapterError::Resolve(_) => "/ipadapter_model_path",
            AdapterError::NoEncoder { .. } | AdapterError::Encoder(_) => "/image_encoder_path",
            AdapterError::FaceModel(_) => "/insightface_model_name",
            other => {
                let reason = other.to_string();
                plan.unsupported.push(Unsupported { field: "type".into(), reason });
                continue;
            }
        };
        if let AdapterError::Resolve(why)
        | AdapterError::Encoder(why)
        | AdapterError::FaceModel(why) = &error
            && matches!(why, ResolveError::Id { .. } | ResolveError::Outside { .. })
        {
            plan.errors.push(FieldError { pointer: field.into(), message: why.to_string() });
            continue;
        }
        let warning = format!("The style image is not used: {error}.");
        let artefact = match &error {
            AdapterError::NoEncoder { .. } => encoder_artefact(&names.encoder),
            AdapterError::Resolve(why) | AdapterError::FaceModel(why) => why.artefact(),
            _ => None,
        };
        let without = warning.clone();
        plan.artefacts.extend(artefact.map(|it| Artefact { is_optional: true, without, ..it }));
        plan.warnings.push(warning);
    }
    plan
}
