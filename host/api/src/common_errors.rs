//! Puts into the OpenAPI document what no handler declares, since it is refused before a handler sees it: calls without the
//! right token, and bodies that are too large or of another type.

use serde_json::{Map, Value, json};

type Refusal = (&'static str, &'static str);

const OF_CALLERS: &[Refusal] =
    &[("401", "No token, or a wrong one"), ("403", "A token without the scope")];
const OF_BODIES: &[Refusal] = &[
    ("400", "The body cannot be read"),
    ("413", "The body is too large"),
    ("415", "The body is of another type"),
];

pub fn join(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "Not needed where the server has no token." },
    });
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (path, calls) in paths.into_iter().flatten() {
        let is_guarded = path.starts_with("/v1/") || path == "/metrics";
        let calls = calls.as_object_mut().into_iter().flat_map(Map::values_mut);
        for call in calls.filter(|call| call.get("responses").is_some()) {
            if is_guarded {
                call["security"] = json!([{ "token": [] }, {}]);
                add(call, OF_CALLERS);
            }
            if call.get("requestBody").is_some() {
                add(call, OF_BODIES);
            }
        }
    }
}

/// Beside what the handler itself declares.
fn add(call: &mut Value, refusals: &[Refusal]) {
    let Some(answers) = call.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for (status, description) in refusals {
        answers.entry(*status).or_insert_with(|| {
            let schema = json!({ "$ref": "#/components/schemas/ErrorBody" });
            json!({ "description": description, "content": { "application/json": { "schema": schema } } })
        });
    }
}
