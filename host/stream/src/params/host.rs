//! The params that the host gives every pipeline, unless its plugin uses the name for itself.

use super::video::video_params;
use crate::Fallback;
use serde_json::{Map, Value, json};

/// The schema that clients see: a plugin's params and the host's.
pub fn with_host_params(plugin_schema: &Value, default_fallback: Fallback) -> Value {
    extend(plugin_schema, default_fallback).0
}

/// The extended schema, and the names that were added.
pub(super) fn extend(
    plugin_schema: &Value,
    default_fallback: Fallback,
) -> (Value, Vec<&'static str>) {
    let mut schema = plugin_schema.clone();
    let mut added = Vec::new();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in host_params(default_fallback) {
            if !properties.contains_key(name) {
                properties.insert(name.to_owned(), property);
                added.push(name);
            }
        }
    }
    (schema, added)
}

fn host_params(default_fallback: Fallback) -> Vec<(&'static str, Value)> {
    let fallback = choice(
        "What viewers see while the pipeline loads, restarts or fails, and when the publisher leaves: the publisher's \
         picture, the last frame shown, or black.",
        &["input", "last_frame", "black"],
        default_fallback.name(),
    );
    let fit = choice(
        "How a picture of another shape is brought to the pipeline's size: cut to fill it, shown whole between bars, \
         or bent to it.",
        &["crop", "letterbox", "stretch"],
        "crop",
    );
    let mut params = vec![("fallback", fallback), ("fit", fit)];
    params.extend(video_params());
    params
}

pub(super) fn choice(description: &str, options: &[&str], default: &str) -> Value {
    let fields = [
        ("type", json!("string")),
        ("enum", json!(options)),
        ("default", json!(default)),
        ("description", json!(description)),
        ("x-apply", json!("hot")),
    ];
    Value::Object(Map::from_iter(fields.map(|(name, value)| (name.to_owned(), value))))
}
