//! The params of all StreamDiffusion plugins as types (`schema/params.json` is what clients see), what they mean to the
//! stream engine, and the part of a plan that no model family changes: [`plan`].

mod adapters;
mod changes;
mod controls;
mod loras;
mod processing;
mod rules;
mod support;
#[cfg(test)]
mod tests;

pub use loras::{ChosenLoras, LcmRefusal};

use crate::blend::{Blend, Interpolation};
use crate::guidance::{CfgType, Guidance};
use crate::stream::{self, Settings, Shape, Similarity, Start};
use plugin_api::{Environment, Error, FieldError, Formats, FrameFormat, Plan};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The params of a stream, whole: the host fills in the schema's defaults.
#[derive(Clone, Debug, Deserialize)]
pub struct StreamParams {
    pub model_id: String,
    pub prompt: Mix<String>,
    pub prompt_interpolation_method: Method,
    pub normalize_prompt_weights: bool,
    pub negative_prompt: String,
    pub guidance_scale: f32,
    pub delta: f32,
    pub cfg_type: Cfg,
    pub num_inference_steps: usize,
    pub t_index_list: Vec<usize>,
    pub seed: Mix<u64>,
    pub seed_interpolation_method: Method,
    pub normalize_seed_weights: bool,
    pub width: usize,
    pub height: usize,
    pub use_tiny_vae: bool,
    pub vae_id: Option<String>,
    pub acceleration: Acceleration,
    pub use_denoising_batch: bool,
    pub do_add_noise: bool,
    pub frame_buffer_size: usize,
    pub mode: Mode,
    pub lora_dict: Option<BTreeMap<String, f64>>,
    pub use_lcm_lora: bool,
    pub lcm_lora_id: String,
    pub use_safety_checker: bool,
    pub safety_checker_threshold: f64,
    pub enable_similar_image_filter: bool,
    pub similar_image_filter_threshold: f32,
    pub similar_image_filter_max_skip_frame: u64,
    pub skip_diffusion: bool,
    pub image_preprocessing: Option<Processing>,
    pub image_postprocessing: Option<Processing>,
    pub latent_preprocessing: Option<Processing>,
    pub latent_postprocessing: Option<Processing>,
    pub controlnets: Vec<ControlNet>,
    #[serde(default)]
    pub ip_adapter: IpAdapter,
    /// What the client wrote in a plan; else the path of the PNG that the host made of it, once that is there.
    #[serde(default)]
    pub ip_adapter_style_image_url: Option<String>,
    #[serde(default)]
    pub cached_attention: CachedAttention,
}

/// Folder of ONNX Runtime's library, inside the engines folder.
pub const RUNTIME: &str = "runtime";

/// What can be said of params before anything is loaded, but for what depends on the model's family.
pub fn plan(
    params: &StreamParams,
    previous: Option<&StreamParams>,
    environment: &Environment,
) -> Plan {
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    Plan {
        formats: Formats::same(FrameFormat::new(side(params.width), side(params.height))),
        errors: params.check(),
        unsupported: support::unsupported(params, environment),
        reload: previous.map_or(Vec::new(), |previous| changes::reload(previous, params)),
        latency_frames: side(params.settings().latency()),
        ..Plan::default()
    }
}

/// One thing, or several with weights.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Mix<T> {
    One(T),
    Several(Vec<(T, f32)>),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    Linear,
    Slerp,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Cfg {
    None,
    Full,
    #[serde(rename = "self")]
    Own,
    Initialize,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
    #[default]
    None,
    Xformers,
    Tensorrt,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Img2img,
    Txt2img,
}

/// Image or latent processors.
#[derive(Clone, Debug, Deserialize)]
pub struct Processing {
    #[serde(default = "yes")]
    pub enabled: bool,
    pub processors: Vec<Processor>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Processor {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub params: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct ControlNet {
    pub model_id: String,
    #[serde(default = "one")]
    pub conditioning_scale: f64,
    #[serde(default)]
    pub preprocessor: String,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub preprocessor_params: Map<String, Value>,
    #[serde(default)]
    pub conditioning_channels: Option<u32>,
    #[serde(default)]
    pub control_guidance_start: f64,
    #[serde(default = "one")]
    pub control_guidance_end: f64,
    #[serde(default)]
    pub per_frame_control: bool,
}

/// Absent where the family has none.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct IpAdapter {
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default)]
    pub weight_type: Option<String>,
    /// The style image, where `ip_adapter_style_image_url` is null.
    #[serde(default)]
    pub image_url: Option<String>,
    #[serde(default)]
    pub insightface_model_name: Option<String>,
    #[serde(default)]
    pub ipadapter_model_path: Option<String>,
    #[serde(default)]
    pub image_encoder_path: Option<String>,
}

/// Absent where the family has none.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CachedAttention {
    pub enabled: bool,
    pub max_frames: usize,
    pub interval: u64,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

impl StreamParams {
    /// Reads params that the host has checked against the schema.
    pub fn read(values: &Map<String, Value>) -> Result<Self, FieldError> {
        Self::deserialize(with_whole_numbers(Value::Object(values.clone())))
            .map_err(|error| FieldError { pointer: String::new(), message: error.to_string() })
    }

    /// What the stream engine is told.
    pub fn settings(&self) -> Settings {
        Settings {
            shape: self.shape(),
            prompt: self
                .prompt
                .blend(self.prompt_interpolation_method, self.normalize_prompt_weights),
            negative_prompt: self.negative_prompt.clone(),
            guidance: self.guidance(),
            seed: self.seed.blend(self.seed_interpolation_method, self.normalize_seed_weights),
            t_index_list: self.t_index_list.clone(),
            num_inference_steps: self.num_inference_steps,
            hooks: self.hooks(),
            controls: self.controls(),
            adapter: self.adapter(),
            cached_attention: self.cached_attention.settings(),
        }
    }

    fn shape(&self) -> Shape {
        let filter = Similarity {
            threshold: self.similar_image_filter_threshold,
            max_skip_frame: self.similar_image_filter_max_skip_frame,
        };
        Shape {
            width: self.width,
            height: self.height,
            start: match self.mode {
                Mode::Img2img => Start::Frames,
                Mode::Txt2img => Start::Noise { is_turbo: self.is_turbo() },
            },
            is_batched: self.use_denoising_batch,
            frames: self.frame_buffer_size,
            do_add_noise: self.do_add_noise,
            filter: self.enable_similar_image_filter.then_some(filter),
            skips_diffusion: self.skip_diffusion,
        }
    }

    /// As in StreamDiffusion: models that are distilled to few steps are known by their name.
    pub fn is_turbo(&self) -> bool {
        self.model_id.contains("turbo")
    }

    pub fn guidance(&self) -> Guidance {
        let cfg_type = match self.cfg_type {
            Cfg::None => CfgType::None,
            Cfg::Full => CfgType::Full,
            Cfg::Own => CfgType::Own,
            Cfg::Initialize => CfgType::Initialize,
        };
        Guidance { cfg_type, scale: self.guidance_scale, delta: self.delta }
    }
}

impl CachedAttention {
    fn settings(&self) -> Option<stream::CachedAttention> {
        let Self { enabled, max_frames, interval } = *self;
        enabled.then_some(stream::CachedAttention { max_frames, interval })
    }
}

impl<T: Clone> Mix<T> {
    fn blend(&self, method: Method, normalize: bool) -> Blend<T> {
        let interpolation = match method {
            Method::Linear => Interpolation::Linear,
            Method::Slerp => Interpolation::Slerp,
        };
        match self {
            Self::One(entry) => Blend::one(entry.clone()),
            Self::Several(entries) => Blend { entries: entries.clone(), interpolation, normalize },
        }
    }
}

/// The values with 5.0 as 5: to a schema both are integers, and some clients write the former.
fn with_whole_numbers(value: Value) -> Value {
    /// Up to here every whole number has an `f64` of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < EXACT);
            whole.map_or(Value::Number(number), |whole| Value::from(whole as i64))
        }
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, with_whole_numbers(value))).collect()
        }
        other => other,
    }
}

/// The first of several errors, for calls that can give only one.
pub fn to_error(errors: Vec<FieldError>) -> Result<(), Error> {
    let first = errors.into_iter().next();
    first.map_or(Ok(()), |error| {
        Err(Error::invalid(format!("{}: {}", error.pointer, error.message)))
    })
}
