//! The plugin `ip-adapter`: IP-Adapters, for every pipeline that opens token conditioners by name.
//!
//! It contributes names to the schemas of the pipelines, says what is grafted onto their UNets, and makes tokens of a style
//! picture. Attending to them is for the pipeline.

mod face;
mod files;
mod networks;
mod params;
mod picture;
mod plan;

use plugin_api::{
    Conditions, Error, Host, Params, Pipeline, Plan, PlanRequest, Plugin, Stream, Tensor as Made,
};
use plugins_diffusion::tensor::Tensor;
use std::sync::Arc;

use networks::Networks;
use params::Wishes;

/// Names the plugin for the export.
pub struct IpAdapters;

impl Plugin for IpAdapters {
    type Pipeline = Loaded;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        plan::plan(request)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Loaded, Error> {
        Ok(Loaded { networks: networks::load(host, params)? })
    }
}

/// An adapter's networks, shared by all that use it.
pub struct Loaded {
    networks: Arc<Networks>,
}

impl Pipeline for Loaded {
    type Stream = Prompt;

    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<Prompt, Error> {
        let (networks, wishes) = (self.networks.clone(), Wishes::read(params)?);
        let empty = networks.empty()?;
        let tokens = networks.tokens(&wishes, host)?;
        Ok(Prompt { networks, wishes, tokens, empty, host: host.clone() })
    }
}

/// One stream's picture, as tokens.
pub struct Prompt {
    networks: Arc<Networks>,
    wishes: Wishes,
    /// None without a picture, or a face in it where one is wanted.
    tokens: Option<Tensor>,
    empty: Tensor,
    host: Host,
}

impl Stream for Prompt {
    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let wishes = Wishes::read(params)?;
        if wishes.image != self.wishes.image {
            self.tokens = self.networks.tokens(&wishes, &self.host)?;
        }
        self.wishes = wishes;
        Ok(())
    }

    fn condition(&mut self, _given: &[Made<'_>]) -> Result<Conditions, Error> {
        // Without a picture nothing is to be added: keys and values of zeros are zeros.
        let (tokens, empty) = match &self.tokens {
            Some(tokens) => (tokens.clone(), self.empty.clone()),
            None => (Tensor::zeros(self.empty.shape()), Tensor::zeros(self.empty.shape())),
        };
        let made = [
            ("image_tokens", tokens),
            ("empty_tokens", empty),
            ("image_scales", self.wishes.scales()?),
        ];
        let lend = |(name, tensor): (&'static str, Tensor)| {
            let shape = tensor.shape().to_vec();
            Made::new(name, shape, tensor.into_data())
        };
        Ok(made.into_iter().map(lend).collect::<Result<Vec<_>, Error>>()?.into())
    }
}

plugin_api::export_plugin!(
    token_conditioners = IpAdapters,
    manifest = include_str!("../manifest.json"),
);
