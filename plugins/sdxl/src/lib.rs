//! The plugin `sdxl`: StreamDiffusion image to image with Stable Diffusion XL and SDXL-Turbo.
//!
//! Here are the claims, the family and its rules; the `diffusion` library does the work.

mod plan;
#[cfg(test)]
mod tests;

use plugin_api::{Error, Host, Params, Plan, PlanRequest, Plugin};
use plugins_diffusion::family::Family;
use plugins_diffusion::pipeline::Loaded;

const FAMILY: Family = Family::Sdxl;

/// Names the plugin for the export.
pub struct Sdxl;

impl Plugin for Sdxl {
    type Pipeline = Loaded;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        Ok(plan::plan(request))
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Loaded, Error> {
        Loaded::open(host, params.values, FAMILY)
    }
}

plugin_api::export_plugin!(
    Sdxl,
    manifest = include_str!(concat!(env!("OUT_DIR"), "/manifest.json"))
);
