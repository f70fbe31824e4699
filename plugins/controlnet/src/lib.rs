//! The plugin `controlnet`: ControlNets in diffusers folders, for every pipeline that opens residual conditioners by name.
//!
//! It contributes names to the schemas of the pipelines, and answers a UNet's inputs and a picture with what the UNet adds to
//! its own activations. How strongly, and at which steps, is for the pipeline to say.

mod network;
mod params;
mod plan;

use plugin_api::{
    Conditions, Error, Host, Params, Pipeline, Plan, PlanRequest, Plugin, Stream, Tensor,
};
use std::sync::Arc;

use network::Network;

/// Names the plugin for the export.
pub struct ControlNets;

impl Plugin for ControlNets {
    type Pipeline = Loaded;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        plan::plan(request)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Loaded, Error> {
        Ok(Loaded { network: network::load(host, params)? })
    }
}

/// A network's weights, shared by all that use it.
pub struct Loaded {
    network: Arc<Network>,
}

impl Pipeline for Loaded {
    type Stream = Steering;

    fn open_stream(&self, _host: &Host, _params: &Params<'_>) -> Result<Steering, Error> {
        Ok(Steering { network: self.network.clone() })
    }
}

/// What steers one stream: nothing stays from one call to the next.
pub struct Steering {
    network: Arc<Network>,
}

impl Stream for Steering {
    fn update(&mut self, _params: &Params<'_>) -> Result<(), Error> {
        // What it is told decides how it is loaded, and comes with a new one.
        Ok(())
    }

    fn condition(&mut self, given: &[Tensor<'_>]) -> Result<Conditions, Error> {
        Ok(network::residuals(&self.network, given)?.into())
    }
}

plugin_api::export_plugin!(
    residual_conditioners = ControlNets,
    manifest = include_str!("../manifest.json"),
);
