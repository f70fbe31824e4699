//! The processors as a plugin: by name, with params from JSON, from frame to frame.

use crate::blur::{BlurParams, blur};
use crate::canny::{CannyParams, canny};
use crate::params::{Checked, Params as Ranged};
use crate::picture::{Picture, check_size};
use crate::sharpen::{SharpenParams, sharpen};
use crate::soft_edge::{SoftEdgeParams, soft_edge};
use crate::standard_lineart::{StandardLineartParams, standard_lineart};
use crate::upscale::{UpscaleParams, upscale, upscaled};
use plugin_api::{
    Error, Formats, Frame, FrameFormat, FrameMut, Host, Outcome, Params, Pipeline, Plan,
    PlanRequest, Plugin, Stream,
};
use serde_json::Value;

/// The contributed names that can be opened. `feedback` mixes in what a stream showed last, so pipelines do it themselves.
pub const NAMES: [&str; 8] = [
    "blur",
    "canny",
    "external",
    "passthrough",
    "sharpen",
    "soft_edge",
    "standard_lineart",
    "upscale",
];

pub struct Processors;

/// Nothing is loaded for the classical ones.
pub struct Ready;

/// What one stream does to its pictures.
pub struct Step {
    formats: Formats,
    work: Work,
}

enum Work {
    Nothing,
    Blur(Checked<BlurParams>),
    Canny(Checked<CannyParams>),
    Sharpen(Checked<SharpenParams>),
    SoftEdge(Checked<SoftEdgeParams>),
    StandardLineart(Checked<StandardLineartParams>),
    Upscale(Checked<UpscaleParams>),
}

impl Plugin for Processors {
    type Pipeline = Ready;

    fn plan(request: &PlanRequest<'_>) -> Result<Plan, Error> {
        let formats = Step::new(&request.params)?.formats;
        let mut plan = Plan { formats, ..Plan::default() };
        if let Some(values) = request.previous {
            let previous = Step::new(&Params { values, ..request.params })?;
            if previous.formats != formats {
                plan.reload = vec!["scale_factor".into()];
            }
        }
        Ok(plan)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Ready, Error> {
        Step::new(params)?;
        host.progress(1.0, "nothing to load");
        Ok(Ready)
    }
}

impl Pipeline for Ready {
    type Stream = Step;

    fn open_stream(&self, _host: &Host, params: &Params<'_>) -> Result<Step, Error> {
        Step::new(params)
    }
}

impl Stream for Step {
    fn formats(&self) -> Formats {
        self.formats
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let step = Self::new(params)?;
        if step.formats != self.formats {
            let (new, old) = (step.formats.output, self.formats.output);
            return Err(Error::invalid(format!(
                "pictures of {new} instead of {old} need a reload"
            )));
        }
        *self = step;
        Ok(())
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
        let (width, height) = (input.width as usize, input.height as usize);
        let rgb = input.rows().flatten().copied().collect();
        let picture = Picture::new(width, height, rgb).map_err(invalid)?;
        let made = self.work.apply(picture)?;
        for (row, made) in output.rows_mut().zip(made.rgb().chunks_exact(3 * made.width())) {
            row.copy_from_slice(made);
        }
        Ok(Outcome::Produced)
    }
}

impl Step {
    fn new(params: &Params<'_>) -> Result<Self, Error> {
        let input =
            params.input.ok_or_else(|| Error::invalid("the size of its input is not told"))?;
        let work = Work::read(params)?;
        Ok(Self { formats: Formats { input, output: work.output(input)? }, work })
    }
}

impl Work {
    fn read(params: &Params<'_>) -> Result<Self, Error> {
        Ok(match params.pipeline {
            "passthrough" | "external" => Self::Nothing,
            "blur" => Self::Blur(checked(params)?),
            "canny" => Self::Canny(checked(params)?),
            "sharpen" => Self::Sharpen(checked(params)?),
            "soft_edge" => Self::SoftEdge(checked(params)?),
            "standard_lineart" => Self::StandardLineart(checked(params)?),
            "upscale" => Self::Upscale(checked(params)?),
            name => {
                let names = NAMES.join("`, `");
                return Err(Error::new(format!("`{name}` is not available yet; `{names}` are")));
            }
        })
    }

    fn output(&self, input: FrameFormat) -> Result<FrameFormat, Error> {
        let (width, height) = (input.width as usize, input.height as usize);
        check_size(width, height).map_err(invalid)?;
        let Self::Upscale(params) = self else { return Ok(input) };
        let (width, height) = upscaled(width, height, params);
        check_size(width, height).map_err(invalid)?;
        Ok(FrameFormat::new(width as u32, height as u32))
    }

    fn apply(&self, picture: Picture) -> Result<Picture, Error> {
        Ok(match self {
            Self::Nothing => picture,
            Self::Blur(params) => blur(&picture, params),
            Self::Canny(params) => canny(&picture, params),
            Self::Sharpen(params) => sharpen(&picture, params),
            Self::SoftEdge(params) => soft_edge(&picture, params),
            Self::StandardLineart(params) => standard_lineart(&picture, params).map_err(invalid)?,
            Self::Upscale(params) => upscale(&picture, params).map_err(invalid)?,
        })
    }
}

fn checked<P: Ranged>(params: &Params<'_>) -> Result<Checked<P>, Error> {
    Checked::read(Value::Object(params.values.clone())).map_err(invalid)
}

/// With its causes, which say what of it is wrong.
fn invalid(error: impl std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    Error::invalid(text)
}
