//! The plugin `sdxl`: StreamDiffusion image to image with Stable Diffusion XL.
//!
//! Its params are complete and its plan is real; the networks of this family are not in this version, which the plan
//! says beforehand and loading says again.

mod plan;
#[cfg(test)]
mod tests;

use plugin_api::{
    Error, Formats, Frame, FrameMut, Host, Outcome, Params, Pipeline, Plan, PlanRequest, Plugin,
    Stream,
};

/// What a user is told who asks for a stream.
const NOT_YET: &str = "the networks of Stable Diffusion XL are not in this version of the plugin sdxl, so nothing can be loaded; a \
     stream of stabilityai/sd-turbo or of a Stable Diffusion 1.5 model runs";

/// Names the plugin for the export.
pub struct Sdxl;

impl Plugin for Sdxl {
    type Pipeline = Never;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        Ok(plan::plan(request))
    }

    fn open(_host: &Host, _params: &Params<'_>) -> Result<Never, Error> {
        Err(Error::invalid(NOT_YET))
    }
}

/// A pipeline that is never made.
pub enum Never {}

impl Pipeline for Never {
    type Stream = Never;

    fn open_stream(&self, _host: &Host, _params: &Params<'_>) -> Result<Never, Error> {
        match *self {}
    }
}

impl Stream for Never {
    fn formats(&self) -> Formats {
        match *self {}
    }

    fn update(&mut self, _params: &Params<'_>) -> Result<(), Error> {
        match *self {}
    }

    fn process(
        &mut self,
        _input: &Frame<'_>,
        _output: &mut FrameMut<'_>,
    ) -> Result<Outcome, Error> {
        match *self {}
    }
}

plugin_api::export_plugin!(
    Sdxl,
    manifest = include_str!(concat!(env!("OUT_DIR"), "/manifest.json"))
);
