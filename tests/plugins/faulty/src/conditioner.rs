//! A residual conditioner that fails when it is asked, in the way its name says.

use crate::fault::{Phase, Wishes};
use plugin_api::{
    Conditions, Error, Host, Params, Pipeline, Plan, PlanRequest, Plugin, Stream, Tensor,
};
use serde_json::{Map, Value};

/// What names begin with; the fault follows.
const PREFIX: &str = "faulty-";

/// Names them for the export.
pub struct Conditioners;

pub struct Opened;

pub struct Asked {
    wishes: Wishes,
}

impl Plugin for Conditioners {
    type Pipeline = Opened;

    fn plan(_request: &PlanRequest<'_>) -> Result<Plan, Error> {
        Ok(Plan::default())
    }

    fn open(_host: &Host, _params: &Params<'_>) -> Result<Opened, Error> {
        Ok(Opened)
    }
}

impl Pipeline for Opened {
    type Stream = Asked;

    fn open_stream(&self, _host: &Host, params: &Params<'_>) -> Result<Asked, Error> {
        let fault = params.pipeline.strip_prefix(PREFIX).unwrap_or(params.pipeline);
        let values: Map<String, Value> = Map::from_iter([("fault".into(), fault.into())]);
        Ok(Asked { wishes: Wishes::read(&values)? })
    }
}

impl Stream for Asked {
    fn update(&mut self, _params: &Params<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn condition(&mut self, _given: &[Tensor<'_>]) -> Result<Conditions, Error> {
        self.wishes.fail_in(Phase::Process)?;
        Ok(Vec::new().into())
    }
}
