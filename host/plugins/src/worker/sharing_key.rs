//! What streams that share a pipeline have in common: the claim, and the values that cannot be changed without a reload.
//!
//! The host decides by the same schema which changes need a reload, and counts the memory of shared pipelines; its core
//! depends on no other crate and this one not on it. So the schema is read here as `host/stream/src/params/shape.rs` does.

use plugin_api::Claim;
use serde_json::{Map, Value};

/// Plugins write schemas: one that refers to itself must not hang the worker.
const MOST_REFERENCES: usize = 8;

/// Names what a stream can share: the claim, and the params that are not hot. Of a hot object those fields count that say
/// that they need a reload.
pub(super) fn key(claim: &Claim, values: &Map<String, Value>) -> String {
    let shape = Shape { root: &claim.params };
    let cold = |(name, value): (&String, &Value)| Some((name.clone(), shape.cold(name, value)?));
    let mut cold = Value::Object(values.iter().filter_map(cold).collect());
    cold.sort_all_objects();
    format!("{}: {cold}", claim.pipeline)
}

/// A schema's root, at which references start.
#[derive(Clone, Copy)]
struct Shape<'s> {
    root: &'s Value,
}

impl<'s> Shape<'s> {
    /// What of a param's value needs a reload: all of it, or those fields of a hot object that say so.
    fn cold(self, name: &str, value: &Value) -> Option<Value> {
        let property = self.root.get("properties").and_then(|properties| properties.get(name));
        let Some(property) = property.filter(|property| self.apply(property) == Some("hot")) else {
            return Some(value.clone());
        };
        let fields = self.describing(property, value).get("properties")?;
        let is_cold =
            |field: &str| fields.get(field).and_then(|field| self.apply(field)) == Some("reload");
        let object = value.as_object()?.iter();
        let cold: Map<String, Value> = object
            .filter(|(field, _)| is_cold(field))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        (!cold.is_empty()).then_some(Value::Object(cold))
    }

    /// What a schema says itself, or else what it refers to.
    fn apply(self, schema: &'s Value) -> Option<&'s str> {
        self.references(schema).find_map(|schema| schema.get("x-apply"))?.as_str()
    }

    /// The part of `schema` that describes `value`: itself, or the only branch of its `anyOf` or `oneOf` that fits.
    fn describing(self, schema: &'s Value, value: &Value) -> &'s Value {
        let schema = self.target(schema);
        let mut fitting =
            branches(schema).map(|branch| self.target(branch)).filter(|branch| fits(branch, value));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) if !fits(schema, value) => only,
            _ => schema,
        }
    }

    /// What a schema refers to in the end.
    fn target(self, schema: &'s Value) -> &'s Value {
        self.references(schema).last().unwrap_or(schema)
    }

    /// A schema, what it refers to, what that refers to.
    fn references(self, schema: &'s Value) -> impl Iterator<Item = &'s Value> {
        let referred = move |schema: &&'s Value| {
            let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
            self.root.pointer(pointer)
        };
        std::iter::successors(Some(schema), referred).take(1 + MOST_REFERENCES)
    }
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|word| schema.get(word)?.as_array());
    lists.flatten()
}

/// Of the values that have fields: others have none that could need a reload.
fn fits(schema: &Value, value: &Value) -> bool {
    let is_object = |name: &Value| name == "object";
    value.is_object()
        && schema.get("type").is_some_and(|names| match names {
            Value::Array(all) => all.iter().any(is_object),
            only => is_object(only),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(params: Value, same: [Value; 2], others: &[Value]) {
        let claim =
            json!({ "pipeline": "p", "description": "d", "models": null, "params": params });
        let claim: Claim = serde_json::from_value(claim).unwrap();
        let key = |values: &Value| key(&claim, values.as_object().unwrap());
        assert_eq!(key(&same[0]), key(&same[1]));
        for other in others {
            assert_ne!(key(&same[0]), key(other));
        }
    }

    #[test]
    fn streams_share_when_only_hot_params_differ() {
        check(
            json!({ "type": "object", "properties": {
                "prompt": { "x-apply": "hot" }, "width": { "x-apply": "reload" }, "seed": {},
            } }),
            [
                json!({ "prompt": "a", "width": 512, "seed": { "a": 1, "b": 2 } }),
                json!({ "seed": { "b": 2, "a": 1 }, "width": 512, "prompt": "b" }),
            ],
            &[
                json!({ "prompt": "a", "width": 768, "seed": { "a": 1, "b": 2 } }),
                json!({ "prompt": "a", "width": 512, "seed": { "a": 1, "b": 3 } }),
            ],
        );
    }

    fn cache(on: bool, frames: u32) -> Value {
        json!({ "cache": { "on": on, "frames": frames } })
    }

    #[test]
    fn fields_of_a_hot_object_can_say_that_they_are_not_hot() {
        let fields = json!({ "on": { "x-apply": "reload" }, "frames": {} });
        let params =
            json!({ "properties": { "cache": { "x-apply": "hot", "properties": fields } } });
        check(params, [cache(true, 1), cache(true, 4)], &[cache(false, 1)]);
    }

    #[test]
    fn what_a_schema_refers_to_and_its_branches_count_as_if_they_stood_there() {
        let object = json!({ "type": "object", "properties": {
            "on": { "$ref": "#/$defs/switch" }, "frames": {}
        } });
        let defs = json!({
            "cache": object, "switch": { "type": "boolean", "x-apply": "reload" },
            "hot": { "x-apply": "hot", "oneOf": [{ "$ref": "#/$defs/cache" }, { "type": "null" }] },
        });
        for cache_schema in [
            json!({ "$ref": "#/$defs/cache", "x-apply": "hot" }),
            json!({ "x-apply": "hot", "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/cache" }] }),
            json!({ "$ref": "#/$defs/hot" }),
        ] {
            let params = json!({ "properties": { "cache": cache_schema }, "$defs": defs });
            check(params, [cache(true, 1), cache(true, 4)], &[cache(false, 1)]);
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let params = json!({ "properties": { "cache": { "$ref": "#/properties/cache" } } });
        check(params, [cache(true, 1), cache(true, 1)], &[cache(true, 4)]);
    }
}
