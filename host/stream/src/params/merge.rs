//! Lays a change over the params in effect.
//!
//! What is absent stays. Null stays too, except for a property with `x-null: clear` that may be null. A list replaces
//! the list; an object with `x-merge: keys` is merged key by key, any other replaces the object over its defaults.

use super::shape::Shape;
use serde_json::{Map, Value};

/// Merges `patch` into `object`, which `schema` describes.
pub fn merge<'s>(
    shape: Shape<'s>,
    schema: &'s Value,
    object: &mut Map<String, Value>,
    patch: Map<String, Value>,
) {
    for (name, new) in patch {
        let property = schema.get("properties").and_then(|all| all.get(&name));
        if new.is_null() && !property.is_some_and(|property| is_cleared(shape, property)) {
            continue;
        }
        match (property, object.get_mut(&name), new) {
            (Some(property), Some(Value::Object(old)), Value::Object(new))
                if says(shape, property, "x-merge", "keys") =>
            {
                let schema = shape.describing(property, &Value::Object(Map::new()));
                merge(shape, schema, old, new);
            }
            (_, _, new) => drop(object.insert(name, new)),
        }
    }
}

fn is_cleared<'s>(shape: Shape<'s>, property: &'s Value) -> bool {
    says(shape, property, "x-null", "clear") && shape.allows_null(property)
}

fn says<'s>(shape: Shape<'s>, schema: &'s Value, word: &str, value: &str) -> bool {
    shape.word(schema, word).is_some_and(|found| found == value)
}
