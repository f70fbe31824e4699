//! The params as types, and what they mean to the stream engine.

use plugin_api::{Error, FieldError};
use plugins_diffusion::blend::{Blend, Interpolation};
use plugins_diffusion::guidance::{CfgType, Guidance};
use plugins_diffusion::stream::Settings;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The params of a stream, whole: the host fills in the schema's defaults.
#[derive(Clone, Debug, Deserialize)]
pub struct Sd15Params {
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
    pub lora_dict: Option<Map<String, Value>>,
    pub use_lcm_lora: bool,
    pub use_safety_checker: bool,
    pub enable_similar_image_filter: bool,
    pub skip_diffusion: bool,
    pub image_preprocessing: Option<Processing>,
    pub image_postprocessing: Option<Processing>,
    pub latent_preprocessing: Option<Processing>,
    pub latent_postprocessing: Option<Processing>,
    pub controlnets: Vec<ControlNet>,
    pub ip_adapter: Switch,
    pub cached_attention: Switch,
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

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Acceleration {
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

#[derive(Clone, Debug, Deserialize)]
pub struct Processing {
    #[serde(default = "yes")]
    pub enabled: bool,
    pub processors: Vec<Switch>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ControlNet {
    pub model_id: String,
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// Something of which only matters here whether it is on.
#[derive(Clone, Debug, Deserialize)]
pub struct Switch {
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

impl Sd15Params {
    /// Reads params that the host has checked against the schema.
    pub fn read(values: &Map<String, Value>) -> Result<Self, FieldError> {
        Self::deserialize(with_whole_numbers(Value::Object(values.clone())))
            .map_err(|error| FieldError { pointer: String::new(), message: error.to_string() })
    }

    /// Checks the rules across fields, which a schema cannot say.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = self.check_steps();
        errors.extend(self.prompt.check("prompt", self.normalize_prompt_weights));
        errors.extend(self.seed.check("seed", self.normalize_seed_weights));
        errors
    }

    fn check_steps(&self) -> Vec<FieldError> {
        let error = |index: usize, message| FieldError {
            pointer: format!("/t_index_list/{index}"),
            message,
        };
        let mut errors = Vec::new();
        for (index, &step) in self.t_index_list.iter().enumerate() {
            if step > self.num_inference_steps {
                let limit = self.num_inference_steps;
                errors.push(error(
                    index,
                    format!("must be at most num_inference_steps, {limit}, got {step}"),
                ));
            }
            let before = index.checked_sub(1).map(|before| self.t_index_list[before]);
            if let Some(before) = before.filter(|&before| before > step) {
                errors.push(error(
                    index,
                    format!("must not be below the index before it, {before}, got {step}"),
                ));
            }
        }
        errors
    }

    /// What the stream engine is told.
    pub fn settings(&self) -> Settings {
        Settings {
            width: self.width,
            height: self.height,
            prompt: self
                .prompt
                .blend(self.prompt_interpolation_method, self.normalize_prompt_weights),
            negative_prompt: self.negative_prompt.clone(),
            guidance: self.guidance(),
            seed: self.seed.blend(self.seed_interpolation_method, self.normalize_seed_weights),
            t_index_list: self.t_index_list.clone(),
            num_inference_steps: self.num_inference_steps,
            do_add_noise: self.do_add_noise,
        }
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

impl<T: Clone> Mix<T> {
    fn check(&self, name: &str, normalize: bool) -> Option<FieldError> {
        let Self::Several(entries) = self else { return None };
        let is_empty = entries.is_empty();
        let has_no_weight = normalize && entries.iter().all(|(_, weight)| *weight == 0.0);
        let message = match (is_empty, has_no_weight) {
            (true, _) => "must have at least one entry",
            (_, true) => "must have a weight above 0, or weights cannot be scaled to the sum of 1",
            _ => return None,
        };
        Some(FieldError { pointer: format!("/{name}"), message: message.into() })
    }

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
