//! A stream's params: completed from the schema of its pipeline, checked, merged with changes, compared.
//!
//! The schema is JSON Schema 2020-12 with four words of our own on properties: `x-apply` (`hot`, or `reload`, the
//! default) says what a change costs; `x-merge: keys` makes a change of an object touch only the keys it names;
//! `x-null: clear` lets a change set a property that may be null to null, where null otherwise means "unchanged"; and
//! `x-fetch: image` says that the value names a picture, of which a pipeline gets the path.

mod changes;
mod fetched;
mod host;
mod merge;
mod message;
mod shape;
mod video;

pub use changes::Changes;
pub use host::with_host_params;

use crate::Fallback;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};
use shape::Shape;

/// A refused value: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// JSON pointer into params.
    pub pointer: String,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the params schema is no JSON object with `properties`")]
    NoProperties,
    #[error("the params schema is not valid: {reason}")]
    Invalid { reason: String },
}

/// Params that were found right.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Complete: defaults stand where nothing was said.
    pub params: Map<String, Value>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// The params of one pipeline, those of the host among them.
pub struct ParamsSchema {
    root: Value,
    validator: Validator,
    /// Properties that the host added and the plugin never sees.
    host_params: Vec<&'static str>,
    /// JSON pointers into params.
    pictures: Vec<String>,
}

/// A request with more mistakes than this is told the first ones.
const MOST_ERRORS: usize = 16;

impl ParamsSchema {
    /// Reads a plugin's schema and adds the host's own params to it.
    pub fn compile(plugin_schema: &Value, default_fallback: Fallback) -> Result<Self, SchemaError> {
        if !plugin_schema.get("properties").is_some_and(Value::is_object) {
            return Err(SchemaError::NoProperties);
        }
        let (root, host_params) = host::extend(plugin_schema, default_fallback);
        let validator = jsonschema::draft202012::options()
            // Runs in linear time whatever the plugin's patterns and the client's texts are.
            .with_pattern_options(PatternOptions::regex())
            .offline()
            .build(&root)
            .map_err(|error| SchemaError::Invalid { reason: error.to_string() })?;
        let pictures = fetched::pictures(&root);
        Ok(Self { root, validator, host_params, pictures })
    }

    /// Takes any value for what `params` has, and nothing else: for a stream whose plugin is not there to say more.
    pub fn unchecked(
        params: &Map<String, Value>,
        default_fallback: Fallback,
    ) -> Result<Self, SchemaError> {
        let of_host = with_host_params(&json!({ "properties": {} }), default_fallback);
        let names = params.keys().filter(|name| of_host["properties"].get(name).is_none());
        // Null is a value like others: it is not known to stand for a default.
        let types = ["null", "boolean", "number", "string", "array", "object"];
        let any = json!({ "type": types, "x-apply": "hot" });
        let properties: Map<_, _> = names.map(|name| (name.clone(), any.clone())).collect();
        Self::compile(&json!({ "type": "object", "properties": properties }), default_fallback)
    }

    /// Params for a new stream: `wish` over the defaults.
    pub fn create(&self, wish: &Map<String, Value>) -> Result<Checked, Vec<ParamError>> {
        let mut warnings = Vec::new();
        let mut params = self.known(wish, &mut warnings);
        Shape::new(&self.root).complete(&self.root, &mut params);
        self.check(params, warnings)
    }

    /// Params for a stream that has `effective` ones, perhaps of another schema, after `patch`.
    pub fn patch(
        &self,
        effective: &Map<String, Value>,
        patch: &Map<String, Value>,
    ) -> Result<Checked, Vec<ParamError>> {
        let mut warnings = Vec::new();
        let mut params = self.known(effective, &mut Vec::new());
        let patch = self.known(patch, &mut warnings);
        let shape = Shape::new(&self.root);
        merge::merge(shape, &self.root, &mut params, patch);
        shape.complete(&self.root, &mut params);
        self.check(params, warnings)
    }

    /// Whether there is a param of this name.
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// What differs between two complete sets of params, by value.
    pub fn changes(&self, old: &Map<String, Value>, new: &Map<String, Value>) -> Changes {
        changes::between(self, old, new)
    }

    /// Without the host's own params.
    pub fn for_plugin(&self, params: &Map<String, Value>) -> Map<String, Value> {
        let kept = params.iter().filter(|(key, _)| !self.host_params.contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The params that name pictures, by their JSON pointers.
    pub fn pictures(&self) -> &[String] {
        &self.pictures
    }

    /// Where a picture is to be had, by one of these pointers; none where there is to be none.
    pub fn picture_source<'p>(
        &self,
        params: &'p Map<String, Value>,
        pointer: &str,
    ) -> Option<&'p str> {
        fetched::at(params, pointer)?.as_str().filter(|source| !source.is_empty())
    }

    /// What a pipeline is loaded or changed with: the same as plans are made of, but of pictures the path that `path` gives
    /// for a pointer, or null.
    pub fn for_pipeline(
        &self,
        params: &Map<String, Value>,
        path: impl Fn(&str) -> Option<String>,
    ) -> Map<String, Value> {
        let mut for_pipeline = self.for_plugin(params);
        for pointer in &self.pictures {
            let is_wanted = self.picture_source(params, pointer).is_some();
            if let Some(value) = fetched::at_mut(&mut for_pipeline, pointer) {
                *value = path(pointer).filter(|_| is_wanted).into();
            }
        }
        for_pipeline
    }

    /// The plugin's params that cannot be changed without a reload.
    pub fn cold(&self, params: &Map<String, Value>) -> Map<String, Value> {
        let cold = |(name, value): (String, Value)| {
            let cold = changes::cold(self, &name, &value)?;
            Some((name, cold))
        };
        self.for_plugin(params).into_iter().filter_map(cold).collect()
    }

    /// The value of a host's param that is a text; none where the plugin declares that name for itself.
    pub fn host_param<'p>(&self, params: &'p Map<String, Value>, name: &str) -> Option<&'p Value> {
        self.host_params.iter().find(|each| **each == name)?;
        params.get(name)
    }

    fn check(
        &self,
        params: Map<String, Value>,
        warnings: Vec<String>,
    ) -> Result<Checked, Vec<ParamError>> {
        let params = Value::Object(params);
        let errors: Vec<_> = self
            .validator
            .iter_errors(&params)
            .take(MOST_ERRORS)
            .map(|error| message::explain(&error, &self.root))
            .collect();
        match params {
            Value::Object(params) if errors.is_empty() => Ok(Checked { params, warnings }),
            _ => Err(errors),
        }
    }

    fn known(&self, params: &Map<String, Value>, warnings: &mut Vec<String>) -> Map<String, Value> {
        let mut known = Map::new();
        let mut unknown = Vec::new();
        for (key, value) in params {
            match self.property(key) {
                Some(_) => drop(known.insert(key.clone(), value.clone())),
                None => unknown.push(key),
            }
        }
        warnings.extend(unknown.into_iter().take(MOST_ERRORS).map(|key| {
            format!("`{}` is not a parameter of this pipeline and was ignored", message::brief(key))
        }));
        known
    }

    fn property(&self, name: &str) -> Option<&Value> {
        self.root.get("properties")?.get(name)
    }
}

#[cfg(test)]
mod tests;
