//! What a change of params costs.

use super::ParamsSchema;
use super::shape::Shape;
use serde_json::{Map, Value};

/// Fields whose value differs, by what it takes to apply them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// For the host itself.
    pub host: Vec<String>,
    /// Applied by the pipeline between two frames.
    pub hot: Vec<String>,
    /// The pipeline must be loaded again.
    pub reload: Vec<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.host.is_empty() && self.hot.is_empty() && self.reload.is_empty()
    }

    /// Takes a plugin's word that these fields need a reload too.
    pub fn escalate(&mut self, fields: &[String]) {
        self.hot.retain(|field| !fields.contains(field));
        for field in fields {
            if !self.reload.contains(field) {
                self.reload.push(field.clone());
            }
        }
    }
}

pub fn between(
    schema: &ParamsSchema,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Changes {
    let mut changes = Changes::default();
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    for name in new.keys().chain(removed) {
        if is_same(old.get(name), new.get(name)) {
            continue;
        }
        let fields = match schema.host_params.contains(&name.as_str()) {
            true => &mut changes.host,
            false if is_same_when_cold(schema, name, (old.get(name), new.get(name))) => {
                &mut changes.hot
            }
            false => &mut changes.reload,
        };
        fields.push(name.clone());
    }
    changes
}

/// What of a param's value cannot be changed without a reload: all of it, or those fields of a hot object that say so.
/// Workers share pipelines by the same rule: host/plugins/src/worker/sharing_key.rs follows this and `Shape`.
pub fn cold(schema: &ParamsSchema, name: &str, value: &Value) -> Option<Value> {
    if !is_hot(schema, name) {
        return Some(value.clone());
    }
    let shape = Shape::new(&schema.root);
    let fields = shape.describing(schema.property(name)?, value).get("properties")?;
    let is_cold = |field: &str| {
        let apply = fields.get(field).and_then(|field| shape.word(field, "x-apply"));
        apply.and_then(Value::as_str) == Some("reload")
    };
    let object = value.as_object()?.iter();
    let cold: Map<String, Value> = object
        .filter(|(field, _)| is_cold(field))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    (!cold.is_empty()).then_some(Value::Object(cold))
}

fn is_same_when_cold(
    schema: &ParamsSchema,
    name: &str,
    (old, new): (Option<&Value>, Option<&Value>),
) -> bool {
    let cold = |value: Option<&Value>| value.and_then(|value| cold(schema, name, value));
    is_same(cold(old).as_ref(), cold(new).as_ref())
}

fn is_hot(schema: &ParamsSchema, name: &str) -> bool {
    let shape = Shape::new(&schema.root);
    let apply = schema.property(name).and_then(|property| shape.word(property, "x-apply"));
    apply.and_then(Value::as_str) == Some("hot")
}

fn is_same(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => is_equal(old, new),
        (old, new) => old.is_none() && new.is_none(),
    }
}

/// Equality as JSON Schema has it: 1 and 1.0 are the same number.
fn is_equal(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(old), Value::Number(new)) => {
            old == new || (old.is_f64() != new.is_f64() && old.as_f64() == new.as_f64())
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_equal(old, new))
        }
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len()
                && old.iter().all(|(name, old)| new.get(name).is_some_and(|new| is_equal(old, new)))
        }
        _ => old == new,
    }
}
