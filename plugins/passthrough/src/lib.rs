//! The plugin `passthrough`: every picture as it came in, or inverted.
//!
//! It stands in for a model in tests and measurements, and it is the smallest complete example of a plugin. What the
//! pictures show is none of its business: no scaling, no text.

use plugin_api::{
    Error, FieldError, Formats, Frame, FrameFormat, FrameMut, Host, Outcome, Params, Pipeline,
    Plan, PlanRequest, Plugin, Stream, Unsupported,
};
use serde_json::{Map, Value};

const DEFAULT_SIDE: u64 = 512;
const MIN_SIDE: u64 = 64;
const MAX_SIDE: u64 = 2048;
const SIDE_STEP: u64 = 8;

/// Names the plugin for the export.
pub struct Passthrough;

/// Nothing is loaded.
pub struct Empty;

/// A stream's size and whether it inverts.
pub struct Copying {
    format: FrameFormat,
    is_inverting: bool,
}

impl Plugin for Passthrough {
    type Pipeline = Empty;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        let values = request.params.values;
        let mut plan = Plan { unsupported: without_effect(values), ..Plan::default() };
        match (side(values, "width"), side(values, "height")) {
            (Ok(width), Ok(height)) => {
                plan.formats = Formats::same(FrameFormat::new(width, height))
            }
            (width, height) => {
                plan.errors.extend([width.err(), height.err()].into_iter().flatten())
            }
        }
        plan.errors.extend(inverting(values).err());
        Ok(plan)
    }

    fn open(host: &Host, _params: &Params<'_>) -> Result<Empty, Error> {
        host.progress(1.0, "nothing to load");
        Ok(Empty)
    }
}

impl Pipeline for Empty {
    type Stream = Copying;

    fn open_stream(&self, _host: &Host, params: &Params<'_>) -> Result<Copying, Error> {
        let width = side(params.values, "width").map_err(to_error)?;
        let height = side(params.values, "height").map_err(to_error)?;
        let is_inverting = inverting(params.values).map_err(to_error)?;
        Ok(Copying { format: FrameFormat::new(width, height), is_inverting })
    }
}

impl Stream for Copying {
    fn formats(&self) -> Formats {
        Formats::same(self.format)
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        self.is_inverting = inverting(params.values).map_err(to_error)?;
        Ok(())
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
        for (target, source) in output.rows_mut().zip(input.rows()) {
            target.copy_from_slice(source);
            if self.is_inverting {
                target.iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        Ok(Outcome::Produced)
    }
}

plugin_api::export_plugin!(Passthrough, manifest = include_str!("../manifest.json"));

fn without_effect(values: &Map<String, Value>) -> Vec<Unsupported> {
    let is_given = |field: &&str| values.get(*field).is_some_and(|value| value != "");
    let unsupported = |field: &str| Unsupported {
        field: field.into(),
        reason: "passthrough uses no model, so it does not change the picture".into(),
    };
    ["model_id", "prompt"]
        .iter()
        .filter(|field| is_given(field))
        .map(|field| unsupported(field))
        .collect()
}

fn side(values: &Map<String, Value>, name: &str) -> Result<u32, FieldError> {
    let side = values.get(name).map_or(Some(DEFAULT_SIDE), Value::as_u64);
    side.filter(|side| (MIN_SIDE..=MAX_SIDE).contains(side) && side.is_multiple_of(SIDE_STEP))
        .and_then(|side| u32::try_from(side).ok())
        .ok_or_else(|| FieldError {
            pointer: format!("/{name}"),
            message: format!("must be a multiple of {SIDE_STEP} from {MIN_SIDE} to {MAX_SIDE}"),
        })
}

fn inverting(values: &Map<String, Value>) -> Result<bool, FieldError> {
    values.get("invert").map_or(Some(false), Value::as_bool).ok_or_else(|| FieldError {
        pointer: "/invert".into(),
        message: "must be true or false".into(),
    })
}

fn to_error(error: FieldError) -> Error {
    Error::invalid(format!("{}: {}", error.pointer, error.message))
}
