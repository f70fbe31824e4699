//! The processors as a plugin: by name, with params from JSON, from frame to frame.

use crate::blur::{BlurParams, blur};
use crate::canny::{CannyParams, canny};
use crate::neural::named::{ALL, Named, Running};
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
use std::sync::{Mutex, PoisonError};

/// The classical ones that can be opened. `feedback` mixes in what a stream showed last, so pipelines do it themselves.
pub const CLASSICAL: [&str; 8] = [
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

/// Nothing is loaded for the classical ones. What is loaded for a network depends on the size of pictures, so streams load
/// it themselves; those that are open share it.
pub struct Ready {
    /// Keeps what was loaded until a stream has the same.
    first: Mutex<Option<Step>>,
}

/// What one stream does to its pictures.
pub enum Step {
    Classical { formats: Formats, work: Work },
    Neural(Box<dyn Running>),
}

pub enum Work {
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
        if let Some(named) = Named::find(request.params.pipeline) {
            return (named.plan)(request);
        }
        let formats = classical(&request.params)?.0;
        let mut plan = Plan { formats, ..Plan::default() };
        if let Some(values) = request.previous
            && classical(&Params { values, ..request.params })?.0 != formats
        {
            plan.reload = vec!["scale_factor".into()];
        }
        Ok(plan)
    }

    fn open(host: &Host, params: &Params<'_>) -> Result<Ready, Error> {
        let step = Step::open(host, params)?;
        host.progress(1.0, "ready");
        Ok(Ready { first: Mutex::new(Some(step)) })
    }
}

impl Pipeline for Ready {
    type Stream = Step;

    fn open_stream(&self, host: &Host, params: &Params<'_>) -> Result<Step, Error> {
        let step = Step::open(host, params)?;
        // The stream has its own now.
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(step)
    }
}

impl Stream for Step {
    fn formats(&self) -> Formats {
        match self {
            Self::Classical { formats, .. } => *formats,
            Self::Neural(running) => running.formats(),
        }
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let old = match self {
            Self::Classical { formats, .. } => *formats,
            Self::Neural(running) => return running.update(params),
        };
        let (formats, work) = classical(params)?;
        if formats != old {
            let (new, old) = (formats.output, old.output);
            return Err(Error::invalid(format!(
                "pictures of {new} instead of {old} need a reload"
            )));
        }
        *self = Self::Classical { formats, work };
        Ok(())
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>) -> Result<Outcome, Error> {
        let (width, height) = (input.width as usize, input.height as usize);
        let rgb = input.rows().flatten().copied().collect();
        let picture = Picture::new(width, height, rgb).map_err(invalid)?;
        let made = match self {
            Self::Classical { work, .. } => work.apply(picture)?,
            Self::Neural(running) => running.apply(&picture)?,
        };
        for (row, made) in output.rows_mut().zip(made.rgb().chunks_exact(3 * made.width())) {
            row.copy_from_slice(made);
        }
        Ok(Outcome::Produced)
    }
}

impl Step {
    fn open(host: &Host, params: &Params<'_>) -> Result<Self, Error> {
        if let Some(named) = Named::find(params.pipeline) {
            return Ok(Self::Neural(named.open(host, params)?));
        }
        let (formats, work) = classical(params)?;
        Ok(Self::Classical { formats, work })
    }
}

fn classical(params: &Params<'_>) -> Result<(Formats, Work), Error> {
    let input = params.input.ok_or_else(|| Error::invalid("the size of its input is not told"))?;
    let work = Work::read(params)?;
    Ok((Formats { input, output: work.output(input)? }, work))
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
                let neural = ALL.iter().map(|one| one.name);
                let names = CLASSICAL.into_iter().chain(neural).collect::<Vec<_>>().join("`, `");
                return Err(Error::new(format!("`{name}` is not offered here; `{names}` are")));
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

pub(crate) fn checked<P: Ranged>(params: &Params<'_>) -> Result<Checked<P>, Error> {
    Checked::read(Value::Object(params.values.clone())).map_err(invalid)
}

/// With its causes, which say what of it is wrong.
pub(crate) fn invalid(error: impl std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    Error::invalid(text)
}
