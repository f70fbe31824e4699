//! `streamdiffusion-host params`: what a pipeline takes, for people at a terminal, out of the schema that requests are
//! checked against.

use crate::Config;
use clap::Args;
use host_plugins::PluginCatalog;
use host_ports::{PipelineCatalog, ResolveError};
use host_runtime::with_host_params;
use serde_json::Value;
use std::fmt::Write;

/// Schemas may refer to themselves; nobody reads further than this.
const MOST_LEVELS: usize = 4;

/// Which pipeline is asked for.
#[derive(Args)]
pub struct ParamsHelp {
    /// Name of the pipeline, as in a stream's `pipeline`
    pipeline: String,
    /// The `model_id`, where the params depend on it
    #[arg(long, value_name = "ID")]
    model: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ParamsHelpError {
    #[error("cannot look for plugins; `plugins.folders` says where they are")]
    Plugins(#[source] std::io::Error),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

impl ParamsHelp {
    /// Looks for plugins as the server does, and describes the params of the pipeline.
    pub fn text(&self, config: Config) -> Result<String, ParamsHelpError> {
        let fallback = config.runtime.default_fallback;
        let catalog = PluginCatalog::new(config.plugins).map_err(ParamsHelpError::Plugins)?;
        let claim = catalog.resolve(&self.pipeline, self.model.as_deref())?;
        let schema = with_host_params(&claim.params_schema, fallback);
        let mut text =
            format!("{} of plugin {}: {}\n", self.pipeline, claim.id.plugin, claim.description);
        describe_properties(&mut text, &schema, 0);
        Ok(text)
    }
}

fn describe_properties(text: &mut String, schema: &Value, level: usize) {
    let properties = schema.get("properties").or_else(|| schema.pointer("/items/properties"));
    let properties = properties.and_then(Value::as_object).filter(|_| level < MOST_LEVELS);
    for (name, property) in properties.into_iter().flatten() {
        let indent = "  ".repeat(level);
        // Writing to a text does not fail.
        let _ = writeln!(text, "\n{indent}{name}: {}", facts(property, level).join("; "));
        if let Some(description) = property.get("description").and_then(Value::as_str) {
            let _ = writeln!(text, "{indent}    {description}");
        }
        describe_properties(text, property, level + 1);
    }
}

fn facts(property: &Value, level: usize) -> Vec<String> {
    let mut facts = vec![kind(property)];
    facts.extend(property.get("default").map(|default| format!("default {default}")));
    facts.extend(property.get("x-unit").and_then(Value::as_str).map(|unit| format!("in {unit}")));
    // What stands inside of a param is applied with it.
    let apply = property.get("x-apply").and_then(Value::as_str).unwrap_or("reload");
    facts.extend((level == 0).then(|| apply.to_owned()));
    facts
}

/// Type and range in a few words.
fn kind(schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values.iter().map(plain).collect();
        return match values.is_empty() {
            true => "nothing, since no installed plugin offers a choice".to_owned(),
            false => format!("one of {}", values.join(", ")),
        };
    }
    if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
        return branches.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().map(plain).collect::<Vec<_>>().join(" or "),
        Some(only) => plain(only),
        None => "any value".to_owned(),
    };
    let bounds = [
        range(schema, "minimum", "maximum", ""),
        range(schema, "minItems", "maxItems", " items"),
        range(schema, "minLength", "maxLength", " characters"),
        schema.get("multipleOf").map(|step| format!("a multiple of {step}")),
    ];
    [Some(types)].into_iter().chain(bounds).flatten().collect::<Vec<_>>().join(", ")
}

fn range(schema: &Value, low: &str, high: &str, of: &str) -> Option<String> {
    match (schema.get(low), schema.get(high)) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}{of}")),
        (Some(low), None) => Some(format!("at least {low}{of}")),
        (None, Some(high)) => Some(format!("at most {high}{of}")),
        (None, None) => None,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn every_param_is_told_with_type_range_default_and_what_a_change_costs() {
        let schema = json!({ "properties": {
            "width": {
                "type": "integer", "minimum": 64, "maximum": 2048, "multipleOf": 8, "default": 512, "x-unit": "px",
                "description": "Width of the pictures."
            },
            "seed": {
                "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "array", "maxItems": 16 }],
                "default": 789, "x-apply": "hot"
            },
            "filters": {
                "type": ["array", "null"], "default": null, "x-apply": "hot",
                "items": { "properties": {
                    "type": { "type": "string", "enum": ["blur", "canny"], "description": "Which." },
                    "other": { "enum": [] }
                } }
            }
        } });
        let mut text = String::new();
        describe_properties(&mut text, &schema, 0);
        expect![[r#"

            width: integer, 64 to 2048, a multiple of 8; default 512; in px; reload
                Width of the pictures.

            seed: integer, at least 0 or array, at most 16 items; default 789; hot

            filters: array or null; default null; hot

              type: one of blur, canny
                  Which.

              other: nothing, since no installed plugin offers a choice
        "#]]
        .assert_eq(&text);
    }
}
