//! Rules across fields, which a schema cannot say.

use super::{ControlNet, Mix, StreamParams};
use plugin_api::FieldError;
use std::collections::HashSet;

/// Longest style image as a data URI holds it: 5 MB in base64, and its head.
const LONGEST_IMAGE: usize = 5_000_000 / 3 * 4 + 100;

impl StreamParams {
    /// Everything that is wrong, each with where and what would be right.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = self.check_steps();
        errors.extend(self.prompt.check("prompt", self.normalize_prompt_weights));
        errors.extend(self.seed.check("seed", self.normalize_seed_weights));
        errors.extend(check_controlnets(&self.controlnets));
        errors.extend(self.check_processing());
        let urls = [
            ("/ip_adapter_style_image_url", &self.ip_adapter_style_image_url),
            ("/ip_adapter/image_url", &self.ip_adapter.image_url),
        ];
        errors.extend(urls.into_iter().filter_map(|(at, url)| check_image(at, url.as_deref()?)));
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
