//! Walks a schema beside a value: which part of the schema describes it, and which defaults it lacks.

use serde_json::{Map, Value};

/// Plugins write schemas: one that refers to itself must not hang or overflow the host.
const MOST_REFERENCES: usize = 8;
const MOST_LEVELS: usize = 16;

/// A schema's root, at which references start.
#[derive(Clone, Copy)]
pub struct Shape<'s> {
    root: &'s Value,
}

impl<'s> Shape<'s> {
    pub fn new(root: &'s Value) -> Self {
        Self { root }
    }

    /// Puts defaults where `object` says nothing, or says null where null is not allowed; at every level.
    pub fn complete(self, schema: &'s Value, object: &mut Map<String, Value>) {
        self.complete_object(schema, object, MOST_LEVELS);
    }

    /// Whether `schema` names null among what it allows.
    pub fn allows_null(self, schema: &'s Value) -> bool {
        let schema = self.target(schema);
        let is_listed =
            |list: &Value| list.as_array().is_some_and(|all| all.contains(&Value::Null));
        schema.get("type").is_some_and(|names| has_type(names, "null"))
            || schema.get("enum").is_some_and(is_listed)
            || schema.get("const").is_some_and(Value::is_null)
            || branches(schema).any(|branch| {
                self.target(branch).get("type").is_some_and(|names| has_type(names, "null"))
            })
    }

    /// What a schema says in one word, such as `default`: itself, or else what it refers to.
    pub fn word(self, schema: &'s Value, word: &str) -> Option<&'s Value> {
        self.references(schema).find_map(|schema| schema.get(word))
    }

    /// The part of `schema` that describes `value`: itself, or the only branch of its `anyOf` or `oneOf` that fits.
    pub fn describing(self, schema: &'s Value, value: &Value) -> &'s Value {
        let schema = self.target(schema);
        let mut fitting =
            branches(schema).map(|branch| self.target(branch)).filter(|branch| fits(branch, value));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) if !fits(schema, value) => only,
            _ => schema,
        }
    }

    fn complete_object(self, schema: &'s Value, object: &mut Map<String, Value>, levels: usize) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, property) in properties {
            let is_missing = match object.get(name) {
                None => true,
                Some(value) => value.is_null() && !self.allows_null(property),
            };
            if is_missing {
                match self.word(property, "default") {
                    Some(default) => drop(object.insert(name.clone(), default.clone())),
                    None => drop(object.shift_remove(name)),
                }
            }
            if let Some(value) = object.get_mut(name) {
                self.complete_value(property, value, levels);
            }
        }
    }

    fn complete_value(self, schema: &'s Value, value: &mut Value, levels: usize) {
        let Some(levels) = levels.checked_sub(1) else { return };
        let schema = self.describing(schema, value);
        match value {
            Value::Object(object) => self.complete_object(schema, object, levels),
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return };
                items.iter_mut().for_each(|item| self.complete_value(schema, item, levels));
            }
            _ => {}
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

fn fits(schema: &Value, value: &Value) -> bool {
    let name = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        _ => return false,
    };
    schema.get("type").is_some_and(|names| has_type(names, name))
}

fn has_type(names: &Value, name: &str) -> bool {
    match names {
        Value::String(only) => only == name,
        Value::Array(all) => all.iter().any(|each| each == name),
        _ => false,
    }
}
