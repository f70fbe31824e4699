//! The processors of this kind by name, as the plugin offers them.

use super::Neural;
use super::depth::{DepthAnything, Midas};
use super::error::{NeuralError, told};
use super::flow::TemporalNet;
use super::hed::HedEdges;
use super::lineart::Lineart;
use super::loading::{COMPILED, Loader, PLAIN, find};
use super::pose::{Mediapipe, Openpose, YoloNas};
use super::safety::SafetyChecker;
use super::segmentation::Segmentation;
use super::upscaler::RealEsrgan;
use crate::params::Checked;
use crate::picture::{Picture, check_size};
use crate::plugin::{checked, invalid};
use plugin_api::{
    Artefact, Error, Formats, FrameFormat, Host, Params, Plan, PlanRequest, Unsupported,
};
use plugins_diffusion::onnx::Provider;

/// One by name.
pub struct Named {
    pub name: &'static str,
    pub plan: fn(&PlanRequest<'_>) -> Result<Plan, Error>,
    open: Open,
    providers: &'static [Provider],
}

type Open = fn(&Host, &Params<'_>, &'static [Provider]) -> Result<Box<dyn Running>, Error>;

pub static ALL: [Named; 11] = [
    named::<Midas>("depth", PLAIN),
    named::<DepthAnything>("depth_tensorrt", COMPILED),
    named::<HedEdges>("hed", PLAIN),
    named::<Lineart>("lineart", PLAIN),
    named::<Mediapipe>("mediapipe_pose", PLAIN),
    named::<Segmentation>("mediapipe_segmentation", PLAIN),
    named::<Openpose>("openpose", PLAIN),
    named::<YoloNas>("pose_tensorrt", COMPILED),
    named::<RealEsrgan>("realesrgan_trt", COMPILED),
    named::<SafetyChecker>("safety_checker", PLAIN),
    named::<TemporalNet>("temporal_net_tensorrt", COMPILED),
];

const fn named<N: Neural>(name: &'static str, providers: &'static [Provider]) -> Named {
    Named { name, plan: plan::<N>, open: open::<N>, providers }
}

impl Named {
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|one| one.name == name)
    }

    pub fn open(&self, host: &Host, params: &Params<'_>) -> Result<Box<dyn Running>, Error> {
        (self.open)(host, params, self.providers)
    }
}

/// One of a stream.
pub trait Running: Send {
    fn formats(&self) -> Formats;

    /// On an error the old params stay.
    fn update(&mut self, params: &Params<'_>) -> Result<(), Error>;

    fn apply(&mut self, picture: &Picture) -> Result<Picture, Error>;
}

struct Loaded<N: Neural> {
    network: N,
    params: Checked<N::Params>,
    formats: Formats,
}

impl<N: Neural> Running for Loaded<N> {
    fn formats(&self) -> Formats {
        self.formats
    }

    fn update(&mut self, params: &Params<'_>) -> Result<(), Error> {
        let wanted: Checked<N::Params> = checked(params)?;
        let reloads = N::reloads(&self.params, &wanted);
        if !reloads.is_empty() || params.input != Some(self.formats.input) {
            let names = reloads.join("`, `");
            return Err(Error::invalid(format!("another size, or `{names}`, needs a reload")));
        }
        self.params = wanted;
        Ok(())
    }

    fn apply(&mut self, picture: &Picture) -> Result<Picture, Error> {
        let made = self.network.apply(picture, &self.params).map_err(told)?;
        let size = FrameFormat::new(made.width() as u32, made.height() as u32);
        if size != self.formats.output {
            let wanted = self.formats.output;
            return Err(Error::new(format!("a picture of {size} was made instead of {wanted}")));
        }
        Ok(made)
    }
}

fn formats<N: Neural>(params: &Params<'_>, own: &N::Params) -> Result<Formats, Error> {
    let input = params.input.ok_or_else(|| Error::invalid("the size of its input is not told"))?;
    let output = N::output(own, input);
    for format in [input, output] {
        check_size(format.width as usize, format.height as usize).map_err(invalid)?;
    }
    Ok(Formats { input, output })
}

fn open<N: Neural>(
    host: &Host,
    params: &Params<'_>,
    providers: &'static [Provider],
) -> Result<Box<dyn Running>, Error> {
    let own: Checked<N::Params> = checked(params)?;
    let formats = formats::<N>(params, &own)?;
    let loader = Loader { host, input: formats.input, providers };
    let network = N::load(&loader, &own).map_err(told)?;
    host.progress(1.0, "loaded");
    Ok(Box::new(Loaded { network, params: own, formats }))
}

/// Where a file is missing, nothing becomes of the picture, and the user is told what to fetch.
fn plan<N: Neural>(request: &PlanRequest<'_>) -> Result<Plan, Error> {
    let own: Checked<N::Params> = checked(&request.params)?;
    let mut plan = Plan { formats: formats::<N>(&request.params, &own)?, ..Plan::default() };
    if let Some(values) = request.previous {
        let previous: Checked<N::Params> = checked(&Params { values, ..request.params })?;
        plan.reload = N::reloads(&previous, &own).into_iter().map(String::from).collect();
    }
    for source in N::sources(&own) {
        match find(request.host, source) {
            Ok(path) => {
                let bytes = path.metadata().map_or(0, |file| file.len());
                plan.memory_bytes = plan.memory_bytes.saturating_add(bytes);
            }
            Err(error) => {
                let reason = error.to_string();
                plan.artefacts.extend(missing(&error, &reason));
                plan.unsupported.push(Unsupported { field: "model".into(), reason });
                plan.formats = Formats::same(plan.formats.input);
            }
        }
    }
    Ok(plan)
}

fn missing(error: &NeuralError, without: &str) -> Option<Artefact> {
    let NeuralError::Resolve(error) = error else { return None };
    Some(Artefact { is_optional: true, without: without.into(), ..error.artefact()? })
}
