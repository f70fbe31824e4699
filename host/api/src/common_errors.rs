//! Puts into the OpenAPI document what no handler declares, since it is refused before a handler sees it: tokens, bodies that
//! are too large or of another type.

use serde_json::{Map, Value, json};

pub fn join(document: &mut Value) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (path, calls) in paths {
        for call in calls.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let has_body = call.get("requestBody").is_some();
            let mut statuses = if has_body { vec!["400", "413", "415"] } else { vec![] };
            statuses.extend(path.starts_with("/v1/").then_some("401"));
            if let Some(answers) = call.get_mut("responses").and_then(Value::as_object_mut) {
                for status in statuses {
                    answers.entry(status).or_insert_with(error);
                }
            }
        }
    }
}

fn error() -> Value {
    let schema = json!({ "$ref": "#/components/schemas/ErrorBody" });
    json!({ "description": "", "content": { "application/json": { "schema": schema } } })
}
