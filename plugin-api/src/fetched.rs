//! `x-fetch`: the properties of a params schema whose value the host fetches before the pipeline gets it.

use crate::manifest::{ManifestError, field};
use serde_json::{Map, Value};

const WORD: &str = "x-fetch";
/// All there is to fetch so far.
const IMAGE: &str = "image";
/// Whose values are schemas by names of their own.
const BY_NAME: [&str; 4] = ["$defs", "definitions", "patternProperties", "dependentSchemas"];
/// Whose values look like schemas and are none.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];

/// Where a schema stands.
#[derive(Clone, Copy)]
enum Place {
    /// It is the whole of the params.
    Params,
    /// Plain `properties` lead to it.
    Property { is_hot: bool },
    /// What it is for depends on something else.
    Elsewhere,
}

/// Whether the word stands where the host can follow it, in the schema of a claim's params.
pub(crate) fn check_claim(path: &str, schema: &Value) -> Result<(), ManifestError> {
    check(path, schema, Place::Params)
}

/// The same for what a choice's params have to be, which the host does not follow.
pub(crate) fn check_choice(path: &str, schema: &Value) -> Result<(), ManifestError> {
    check(path, schema, Place::Elsewhere)
}

fn check(path: &str, schema: &Value, place: Place) -> Result<(), ManifestError> {
    let object = match schema {
        Value::Object(object) => object,
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            return items.try_for_each(|(index, item)| {
                check(&format!("{path}/{index}"), item, Place::Elsewhere)
            });
        }
        _ => return Ok(()),
    };
    if let Some(word) = object.get(WORD) {
        check_property(path, object, word, place)?;
    }
    let schemas = object.iter().filter(|(key, _)| !DATA.contains(&key.as_str()));
    for (key, value) in schemas {
        let path = format!("{path}/{key}");
        match value.as_object() {
            Some(named) if key == "properties" => {
                check_all(&path, named, |property| place.inside(property))?;
            }
            Some(named) if BY_NAME.contains(&key.as_str()) => {
                check_all(&path, named, |_| Place::Elsewhere)?;
            }
            _ => check(&path, value, Place::Elsewhere)?,
        }
    }
    Ok(())
}

fn check_all(
    path: &str,
    named: &Map<String, Value>,
    place: impl Fn(&Value) -> Place,
) -> Result<(), ManifestError> {
    named
        .iter()
        .try_for_each(|(name, schema)| check(&format!("{path}/{name}"), schema, place(schema)))
}

fn check_property(
    path: &str,
    property: &Map<String, Value>,
    word: &Value,
    place: Place,
) -> Result<(), ManifestError> {
    let problem = |what: &str| Err(field(&format!("{path}/{WORD}"), what.to_owned()));
    if word != IMAGE {
        return problem("must be \"image\"");
    }
    match place {
        Place::Params | Place::Elsewhere => problem(
            "may stand at a property that plain `properties` lead to from the params, not in `items`, `$defs`, alternatives or a choice's params",
        ),
        Place::Property { is_hot: false } => {
            problem("needs `\"x-apply\": \"hot\"`, as the picture may come at any time")
        }
        Place::Property { is_hot: true } => match property.get("type") {
            Some(Value::Array(types)) if is_text_or_null(types) => Ok(()),
            _ => problem("needs `\"type\": [\"string\", \"null\"]`, as there may be no picture"),
        },
    }
}

fn is_text_or_null(types: &[Value]) -> bool {
    types.len() == 2 && ["string", "null"].iter().all(|name| types.iter().any(|each| each == name))
}

impl Place {
    /// Of a property in the object that is here.
    fn inside(self, property: &Value) -> Self {
        let apply = property.get("x-apply").and_then(Value::as_str);
        match self {
            Self::Params => Self::Property { is_hot: apply == Some("hot") },
            Self::Property { is_hot } => {
                Self::Property { is_hot: is_hot && apply != Some("reload") }
            }
            Self::Elsewhere => Self::Elsewhere,
        }
    }
}
