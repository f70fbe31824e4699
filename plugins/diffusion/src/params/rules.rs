//! Rules across fields, which a schema cannot say.

use super::{ControlNet, Mix, StreamParams};
use crate::lora::MAX_SCALE;
use crate::resolve::is_lora_name;
use plugin_api::FieldError;
use std::collections::{BTreeMap, HashSet};

/// Most LoRAs merged at once. Each costs time at loading and nothing later.
const MOST_LORAS: usize = 32;

/// Longest style image as a data URI holds it: 5 MB in base64, and its head.
const LONGEST_IMAGE: usize = 5_000_000 / 3 * 4 + 100;

impl StreamParams {
    /// Everything that is wrong, each with where and what would be right.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = self.check_all_but_images();
        let urls = [
            ("/ip_adapter_style_image_url", &self.ip_adapter_style_image_url),
            ("/ip_adapter/image_url", &self.ip_adapter.image_url),
        ];
        errors.extend(urls.into_iter().filter_map(|(at, url)| check_image(at, url.as_deref()?)));
        errors
    }

    /// The same of params in use, in which the host's files stand for the addresses of images.
    pub fn check_all_but_images(&self) -> Vec<FieldError> {
        let mut errors = self.check_steps();
        errors.extend(self.prompt.check("prompt", self.normalize_prompt_weights));
        errors.extend(self.seed.check("seed", self.normalize_seed_weights));
        errors.extend(check_controlnets(&self.controlnets));
        errors.extend(self.check_processing());
        errors.extend(self.lora_dict.iter().flat_map(check_loras));
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
}

impl<T> Mix<T> {
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
}

fn check_controlnets(controlnets: &[ControlNet]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut error = |index: usize, key: &str, message: String| {
        errors.push(FieldError { pointer: format!("/controlnets/{index}/{key}"), message });
    };
    let mut seen = HashSet::new();
    for (index, controlnet) in controlnets.iter().enumerate() {
        if !seen.insert(&controlnet.model_id) {
            error(index, "model_id", "must not be in the list twice".into());
        }
        let (start, end) = (controlnet.control_guidance_start, controlnet.control_guidance_end);
        if end < start {
            let message = format!("must not be below control_guidance_start, {start}, got {end}");
            error(index, "control_guidance_end", message);
        }
    }
    errors
}

fn check_loras(loras: &BTreeMap<String, f64>) -> Vec<FieldError> {
    if loras.len() > MOST_LORAS {
        let message = format!("must have at most {MOST_LORAS} entries, got {}", loras.len());
        return vec![FieldError { pointer: "/lora_dict".into(), message }];
    }
    let limit = f64::from(MAX_SCALE);
    let problem = |name: &str, scale: f64| {
        if !is_lora_name(name) {
            let wanted = "a .safetensors file or a folder with one, below the models folder or as ORG/NAME of the hub";
            return Some(format!("must have a key that names {wanted}"));
        }
        let is_usable = (-limit..=limit).contains(&scale);
        (!is_usable).then(|| format!("must be a number from -{limit} to {limit}, got {scale}"))
    };
    let error = |(name, &scale): (&String, &f64)| {
        let pointer = format!("/lora_dict/{}", escaped(name));
        Some(FieldError { pointer, message: problem(name, scale)? })
    };
    loras.iter().filter_map(error).collect()
}

/// A key as a step of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Empty stands for the built-in one, as null does.
fn check_image(pointer: &str, url: &str) -> Option<FieldError> {
    let is_data = url.starts_with("data:image/") && url.contains(";base64,");
    let problem = match url {
        "" => return None,
        _ if url.len() > LONGEST_IMAGE => "must not hold more than 5 MB",
        _ if is_data || url.starts_with("https://") => return None,
        _ => "must start with https:// or be data:image/TYPE;base64,DATA",
    };
    Some(FieldError { pointer: pointer.into(), message: problem.into() })
}
