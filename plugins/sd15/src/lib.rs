//! The plugin `sd15`: StreamDiffusion image to image with Stable Diffusion 1.5 and SD-Turbo.
//!
//! Here are the claims, what can be said about models before they are loaded, and the wiring to the `diffusion` library,
//! which does the work. The host scales frames; what is asked for and not there yet is named by `plan`.

mod pipeline;
mod plan;
#[cfg(test)]
mod tests;

use plugin_api::{Error, Host, Params, Plan, PlanRequest, Plugin};

/// Names the plugin for the export.
pub struct Sd15;

impl Plugin for Sd15 {
    type Pipeline = pipeline::Loaded;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        Ok(plan::plan(request))
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<pipeline::Loaded, Error> {
        pipeline::Loaded::open(host, params.values)
    }
}

plugin_api::export_plugin!(
    Sd15,
    manifest = include_str!(concat!(env!("OUT_DIR"), "/manifest.json"))
);
