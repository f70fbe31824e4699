//! What this family adds to the plan of all.

use plugin_api::{FieldError, Plan, PlanRequest};
use plugins_diffusion::params::StreamParams;
use plugins_diffusion::pipeline;

use crate::FAMILY;

/// As in StreamDiffusion: more do not fit the memory of the GPUs it was made for.
const MOST_CONTROLNETS: usize = 3;

pub fn plan(request: &PlanRequest<'_>) -> Plan {
    let mut plan = pipeline::plan(request, FAMILY);
    // Params that cannot be read are an error of that plan already.
    let params = StreamParams::read(request.params.values).ok();
    plan.errors.extend(params.and_then(|params| check_count(&params)));
    plan
}

fn check_count(params: &StreamParams) -> Option<FieldError> {
    let enabled = params.controlnets.iter().filter(|controlnet| controlnet.enabled).count();
    (enabled > MOST_CONTROLNETS).then(|| FieldError {
        pointer: "/controlnets".into(),
        message: format!("must have at most {MOST_CONTROLNETS} enabled items, got {enabled}"),
    })
}
