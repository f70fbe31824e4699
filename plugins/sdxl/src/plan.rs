//! The answer to "what would happen with these params", without loading anything.

use crate::NOT_YET;
use plugin_api::{FieldError, Plan, PlanRequest, Unsupported};
use plugins_diffusion::params::{self, StreamParams};

/// As in StreamDiffusion: more do not fit the memory of the GPUs it was made for.
const MOST_CONTROLNETS: usize = 3;

pub fn plan(request: &PlanRequest<'_>) -> Plan {
    let params = match StreamParams::read(request.params.values) {
        Ok(params) => params,
        Err(error) => return Plan { errors: vec![error], ..Plan::default() },
    };
    let mut plan = params::plan(&params, request.previous, request.environment);
    plan.errors.extend(check_count(&params));
    let unsupported = Unsupported { field: "model_id".into(), reason: NOT_YET.into() };
    plan.unsupported.insert(0, unsupported);
    plan
}

fn check_count(params: &StreamParams) -> Option<FieldError> {
    let enabled = params.controlnets.iter().filter(|controlnet| controlnet.enabled).count();
    (enabled > MOST_CONTROLNETS).then(|| FieldError {
        pointer: "/controlnets".into(),
        message: format!("must have at most {MOST_CONTROLNETS} enabled items, got {enabled}"),
    })
}
