//! The plugin `sd15`: StreamDiffusion image to image with Stable Diffusion 1.5 and SD-Turbo.
//!
//! Here are the claims and the family; the `diffusion` library does the work. The host scales frames; what is asked for
//! and not there yet is named by `plan`.

#[cfg(test)]
mod tests;

use plugin_api::{Error, Host, Params, Plan, PlanRequest, Plugin};
use plugins_diffusion::family::Family;
use plugins_diffusion::pipeline::{self, Loaded};

const FAMILY: Family = Family::Sd;

/// Names the plugin for the export.
pub struct Sd15;

impl Plugin for Sd15 {
    type Pipeline = Loaded;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        Ok(pipeline::plan(request, FAMILY))
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Loaded, Error> {
        Loaded::open(host, params.values, FAMILY)
    }
}

plugin_api::export_plugin!(
    Sd15,
    manifest = include_str!(concat!(env!("OUT_DIR"), "/manifest.json"))
);
