//! Request bodies: from JSON to what the runtime is asked. Keys nobody knows are ignored, as Daydream's clients drop them
//! too; what is inside `params` is left to the pipeline.

use crate::errors::ApiError;
use host_ports::{Claim, FieldError, ResolveError, RestreamTarget};
use host_runtime::{ChangeError, NewStream, StreamChange};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Longer than any name or URL; what is outside of params is kept and repeated as it came.
const LONGEST_TEXT: usize = 2048;

/// What Daydream's clients always name.
pub const DAYDREAM_PIPELINE: &str = "streamdiffusion";

/// A wish for a stream.
#[derive(Deserialize, ToSchema)]
#[allow(
    dead_code,
    reason = "describes the body; `new_stream` reads it field by field for better errors"
)]
pub struct CreateStream {
    /// Left out: `streamdiffusion`, if it has the `model_id`; without one, the pipeline of its kind that has a default.
    pipeline: Option<String>,
    #[schema(value_type = Object)]
    params: Value,
    /// At most 100 characters; left out: a generated one.
    name: Option<String>,
    /// `rtmp://` or `rtmps://`
    output_rtmp_url: Option<String>,
}

/// A change of a stream. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[allow(
    dead_code,
    reason = "describes the body; `change` reads it field by field for better errors"
)]
pub struct UpdateStream {
    /// The stream's own; it cannot be changed.
    pipeline: Option<String>,
    #[schema(value_type = Object)]
    params: Option<Value>,
    /// Empty text stops restreaming.
    output_rtmp_url: Option<String>,
}

/// Params that are applied between two frames.
#[derive(Deserialize, ToSchema)]
#[allow(
    dead_code,
    reason = "describes the body; any other hot field of the pipeline may be named too"
)]
pub struct HotParams {
    #[schema(value_type = Object)]
    prompt: Option<Value>,
    negative_prompt: Option<String>,
    guidance_scale: Option<f64>,
    delta: Option<f64>,
    num_inference_steps: Option<u32>,
    t_index_list: Option<Vec<u32>>,
    #[schema(value_type = Object)]
    seed: Option<Value>,
    /// Index in `controlnets`, as text, to `conditioning_scale`.
    #[schema(value_type = Object)]
    controlnet_scales: Option<Value>,
}

pub fn new_stream(body: Map<String, Value>, claims: &[Claim]) -> Result<NewStream, ApiError> {
    let mut fields = Fields::of(body);
    // The schema before `pipeline` and `params`; its ids all mean the one pipeline there was.
    let is_older_schema = fields.text("pipeline_id").is_some();
    let named = fields.text("pipeline");
    let named = named.or_else(|| is_older_schema.then(|| DAYDREAM_PIPELINE.to_owned()));
    let params = fields.object("params").or_else(|| fields.object("pipeline_params"));
    if params.is_none() && !is_older_schema {
        fields.refuse("params", "is missing; send an object, `{}` for nothing but defaults");
    }
    let mut params = params.unwrap_or_default();
    let name = fields.text("name");
    let output_rtmp_url = fields.rtmp_url().filter(|url| !url.is_empty());
    fields.finish()?;
    if is_older_schema && !params.contains_key("model_id") {
        params.extend(first_model(claims).map(|model| ("model_id".to_owned(), model.into())));
    }
    let pipeline = match named {
        Some(pipeline) => pipeline,
        None => pipeline_for(&params, claims)?,
    };
    Ok(NewStream { name, pipeline, params, output_rtmp_url })
}

/// `current` is the stream's pipeline.
pub fn change(body: Map<String, Value>, current: &str) -> Result<StreamChange, ApiError> {
    let mut fields = Fields::of(body);
    let is_older_schema = fields.text("pipeline_id").is_some();
    let pipeline = fields.text("pipeline");
    let params = fields.object("params").or_else(|| fields.object("pipeline_params"));
    let output_rtmp_url = fields.rtmp_url();
    let prompt = fields.body.remove("prompt").filter(|_| params.is_none());
    fields.finish()?;
    let mut params = params.unwrap_or_default();
    params.extend(prompt.map(|prompt| ("prompt".to_owned(), prompt)));
    let pipeline = pipeline.or_else(|| is_older_schema.then(|| DAYDREAM_PIPELINE.to_owned()));
    let pipeline = pipeline.filter(|named| !stands_for(named, current));
    Ok(StreamChange { pipeline, params, output_rtmp_url, ..StreamChange::default() })
}

/// Daydream's clients can name no other pipeline than its own, so for them that means any of the family.
fn stands_for(named: &str, current: &str) -> bool {
    let variant = current.strip_prefix(DAYDREAM_PIPELINE);
    named == DAYDREAM_PIPELINE
        && variant.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

pub fn hot_change(mut body: Map<String, Value>) -> Result<StreamChange, ApiError> {
    let scales = body.remove("controlnet_scales").filter(|scales| !scales.is_null());
    let items = scales.map_or(Ok(Vec::new()), |scales| scale_items(&scales))?;
    Ok(StreamChange { params: body, items, is_hot_only: true, ..StreamChange::default() })
}

/// Scales name ControlNets by their place in the list.
fn scale_items(scales: &Value) -> Result<Vec<(String, Value)>, ApiError> {
    let problem = |message: &str| {
        let pointer = "/controlnet_scales".to_owned();
        ApiError::InvalidBody(vec![FieldError { pointer, message: message.to_owned() }])
    };
    let Some(scales) = scales.as_object() else {
        return Err(problem("must be an object from index to number, such as {\"0\": 0.5}"));
    };
    let items = scales.iter().map(|(index, scale)| match index.parse::<usize>() {
        Ok(index) => Ok((format!("/controlnets/{index}/conditioning_scale"), scale.clone())),
        Err(_) => Err(problem("must name ControlNets by their place in the list, counted from 0")),
    });
    items.collect()
}

/// For a request that names no pipeline.
fn pipeline_for(params: &Map<String, Value>, claims: &[Claim]) -> Result<String, ApiError> {
    let model = params.get("model_id").and_then(Value::as_str);
    let offers = |claim: &&Claim| match (&claim.models, model) {
        (None, _) => true,
        (Some(models), Some(model)) => models.iter().any(|offered| offered == model),
        (Some(_), None) => false,
    };
    if of_daydream(claims).any(|claim| offers(&claim)) {
        return Ok(DAYDREAM_PIPELINE.to_owned());
    }
    // Without a model either, what has one of its own accord is meant.
    let variant = claims.iter().find(|claim| {
        model.is_none()
            && claim.name_given.is_none()
            && stands_for(DAYDREAM_PIPELINE, &claim.pipeline)
            && claim.params_schema.pointer("/properties/model_id/default").is_some()
    });
    if let Some(claim) = variant {
        return Ok(claim.pipeline.clone());
    }
    let mut on_offer: Vec<_> = claims.iter().map(|claim| claim.pipeline.clone()).collect();
    on_offer.sort();
    on_offer.dedup();
    let pipeline = "absent".to_owned();
    Err(ChangeError::from(ResolveError::UnknownPipeline { pipeline, on_offer }).into())
}

fn first_model(claims: &[Claim]) -> Option<String> {
    of_daydream(claims).find_map(|claim| claim.models.as_ref()?.first().cloned())
}

fn of_daydream(claims: &[Claim]) -> impl Iterator<Item = &Claim> {
    claims.iter().filter(|claim| claim.pipeline == DAYDREAM_PIPELINE)
}

/// A body being taken apart; collects everything that is wrong with it.
struct Fields {
    body: Map<String, Value>,
    problems: Vec<FieldError>,
}

impl Fields {
    fn of(body: Map<String, Value>) -> Self {
        Self { body, problems: Vec::new() }
    }

    /// Null counts as left out.
    fn text(&mut self, name: &str) -> Option<String> {
        match self.body.remove(name)? {
            Value::String(text) if text.len() <= LONGEST_TEXT => Some(text),
            Value::Null => None,
            _ => {
                self.refuse(name, &format!("must be text of at most {LONGEST_TEXT} bytes"));
                None
            }
        }
    }

    fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.body.remove(name)? {
            Value::Object(object) => Some(object),
            Value::Null => None,
            _ => {
                self.refuse(name, "must be an object");
                // It was there: being missing is not what is wrong with it.
                Some(Map::new())
            }
        }
    }

    fn rtmp_url(&mut self) -> Option<String> {
        let url = self.text("output_rtmp_url")?;
        match RestreamTarget::parse(&url) {
            Err(error) if !url.is_empty() => {
                self.refuse("output_rtmp_url", &error.to_string());
                None
            }
            _ => Some(url),
        }
    }

    fn refuse(&mut self, name: &str, message: &str) {
        self.problems.push(FieldError { pointer: format!("/{name}"), message: message.to_owned() });
    }

    fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::InvalidBody(self.problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_ports::ClaimRef;
    use serde_json::json;

    #[test]
    fn a_request_without_pipeline_goes_where_its_model_or_a_default_is() {
        let claim = |pipeline: &str, models: Option<&str>, model_id: Value| Claim {
            pipeline: pipeline.into(),
            name_given: None,
            id: ClaimRef { plugin: "p".into(), pipeline: pipeline.into(), index: 0 },
            models: models.map(|model| vec![model.to_owned()]),
            description: String::new(),
            params_schema: json!({ "properties": { "model_id": model_id } }),
        };
        let claims = [
            claim("streamdiffusion", Some("small"), json!({})),
            claim("streamdiffusion-small", None, json!({})),
            claim("streamdiffusion-large", None, json!({ "default": "large" })),
        ];
        let chosen = |params: Value| {
            let body = json!({ "params": params }).as_object().cloned().unwrap();
            new_stream(body, &claims).map(|wish| wish.pipeline).ok()
        };
        assert_eq!(chosen(json!({ "model_id": "small" })).as_deref(), Some("streamdiffusion"));
        assert_eq!(chosen(json!({})).as_deref(), Some("streamdiffusion-large"));
        assert_eq!(chosen(json!({ "model_id": "unheard-of" })), None);
    }

    #[test]
    fn what_daydream_s_clients_always_name_stands_for_the_whole_family() {
        let named = |name: &str, current: &str| {
            let body = json!({ "pipeline": name }).as_object().cloned().unwrap();
            change(body, current).unwrap().pipeline
        };
        for current in ["streamdiffusion", "streamdiffusion-sdxl", "streamdiffusion-sd15"] {
            assert_eq!(named("streamdiffusion", current), None, "{current}");
        }
        let mismatches = [
            ("streamdiffusion", "passthrough"),
            ("streamdiffusion", "streamdiffusions"),
            ("streamdiffusion-sd15", "streamdiffusion-sdxl"),
            ("streamdiffusion-sd15", "streamdiffusion"),
        ];
        for (name, current) in mismatches {
            assert_eq!(named(name, current).as_deref(), Some(name), "{current}");
        }
    }
}
