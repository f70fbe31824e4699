//! What may be asked for and has no effect here, with the reasons.
//!
//! Nothing that a client wishes is dropped without a word; a feature that arrives is taken off this list.

use std::path::Path;

use super::{Acceleration, Mode, RUNTIME, StreamParams};
use crate::files::ModelFiles;
use crate::guidance::CfgType;
use crate::onnx::has_provider;
use crate::resolve::ModelRoots;
use plugin_api::{Environment, Unsupported};

/// As in `schema/params.json`.
const DEFAULT_NEGATIVE_PROMPT: &str = "blurry, low quality, flat, 2d";

/// The wishes that have no effect.
pub fn unsupported(params: &StreamParams, environment: &Environment) -> Vec<Unsupported> {
    let mut list = Vec::new();
    let mut refuse = |is_wished: bool, field: &str, reason: &str| {
        if is_wished {
            list.push(Unsupported { field: field.into(), reason: reason.into() });
        }
    };
    let reason = lcm_refusal(params, &environment.models_dir);
    refuse(reason.is_some(), "use_lcm_lora", &reason.unwrap_or_default());
    refuse_models(params, &mut refuse);
    refuse_modes(params, &mut refuse);
    refuse_guidance(params, &mut refuse);
    let reason = acceleration_refusal(params.acceleration, &environment.engines_dir.join(RUNTIME));
    refuse(reason.is_some(), "acceleration", reason.unwrap_or_default());
    list
}

type Refuse<'a> = dyn FnMut(bool, &str, &str) + 'a;

fn refuse_guidance(params: &StreamParams, refuse: &mut Refuse<'_>) {
    let settings = params.settings();
    let is_guided = settings.guidance.cfg_type != CfgType::None;
    let is_wished = params.guidance_scale > 1.0;
    let reason = "cfg_type none does not guide; choose self, full or initialize";
    refuse(!is_guided && is_wished, "guidance_scale", reason);
    let reason = "a turbo model makes pictures of noise in one step without guidance";
    refuse(is_guided && is_wished && settings.is_turbo_step(), "guidance_scale", reason);
    // The default is no wish of anybody's.
    let is_wished = !["", DEFAULT_NEGATIVE_PROMPT].contains(&params.negative_prompt.as_str());
    let has_effect = settings.negative_rows() > 0;
    let reason = "it is used only with cfg_type full or initialize and guidance_scale above 1";
    refuse(is_wished && !has_effect, "negative_prompt", reason);
}

fn refuse_models(params: &StreamParams, refuse: &mut Refuse<'_>) {
    let adapter = &params.ip_adapter;
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_style = is_given(&params.ip_adapter_style_image_url) || is_given(&adapter.image_url);
    let reason = "it has no picture to take the style from; give ip_adapter_style_image_url";
    refuse(adapter.enabled && !has_style, "ip_adapter", reason);
    let reason = "adapters for faces alone take a face model, and `type` is not faceid";
    let is_wished = is_given(&adapter.insightface_model_name) && adapter.kind != "faceid";
    refuse(adapter.enabled && is_wished, "ip_adapter.insightface_model_name", reason);
}

fn refuse_modes(params: &StreamParams, refuse: &mut Refuse<'_>) {
    let is_filtered = params.enable_similar_image_filter && params.mode == Mode::Txt2img;
    let reason = "with mode txt2img pictures do not come from frames that could be alike";
    refuse(is_filtered, "enable_similar_image_filter", reason);
}

fn lcm_refusal(params: &StreamParams, models: &Path) -> Option<String> {
    let roots = ModelRoots::from_environment(models.to_owned());
    let model = roots.resolve(&params.model_id).ok();
    let model = model.and_then(|path| ModelFiles::open(&path).ok());
    params.lcm_lora(&roots, model.as_ref()).err().map(|refusal| refusal.reason)
}

/// Whether a GPU works shows only on loading; a runtime without TensorRT's part shows here.
fn acceleration_refusal(wish: Acceleration, runtime: &Path) -> Option<&'static str> {
    match wish {
        Acceleration::None => None,
        Acceleration::Xformers => {
            Some("xformers belongs to PyTorch; ONNX Runtime's own attention is used")
        }
        Acceleration::Tensorrt if has_provider(runtime, "tensorrt") => None,
        Acceleration::Tensorrt => {
            Some("the installed ONNX Runtime has no TensorRT; CUDA or the CPU is used")
        }
    }
}
