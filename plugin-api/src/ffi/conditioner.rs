//! The plugin's side of the conditioners that other plugins offer.

use super::calls::LoadedStream;
use super::processor::{open, plan, with_wanted};
use super::tensors::LentTensors;
use crate::{Error, Feature, Host, Params, Plan, Tensor};
use serde_json::{Map, Value};

/// A conditioner of any plugin, opened by its name through the host, which stands between as for a
/// [`Processor`](crate::Processor): once it fails it is switched off for the stream, the user is told by the host, and who
/// opened it goes on without it.
///
/// It has to be dropped before the pipeline or stream in whose call it was opened.
pub struct Conditioner {
    stream: LoadedStream,
    feature: Feature,
}

impl Conditioner {
    /// What the conditioner says of these params: `pipeline` names it, `input` is the size of the pictures that it is
    /// given. Pure, and the host is the one of the caller's own [`PlanRequest`](crate::PlanRequest).
    pub fn plan(
        host: &Host,
        feature: Feature,
        params: &Params<'_>,
        previous: Option<&Map<String, Value>>,
    ) -> Result<Plan, Error> {
        plan(host, feature, params, previous)
    }

    /// Opens it, which may take as long as loading a model does.
    pub fn open(host: &Host, feature: Feature, params: &Params<'_>) -> Result<Self, Error> {
        Ok(Self { stream: open(host, feature, params)?, feature })
    }

    /// Applies params; on an error the old ones stay, and those may need another one to be opened.
    pub fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        with_wanted(self.feature, params, |wanted| self.stream.update(wanted))
    }

    /// Answers tensors with tensors, as its feature says. What it made has to be dropped before it.
    pub fn condition(&mut self, given: &[Tensor<'_>]) -> Result<LentTensors, Error> {
        self.stream.condition(given)
    }
}
