//! Puts the params schemas of the installed plugins into the OpenAPI document: the create body becomes one schema per
//! `pipeline`, and its `params` one per claim of that name, told apart by `model_id`.

use host_ports::Claim;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub fn join(document: &mut Value, claims: &[Claim]) {
    let mut by_pipeline = BTreeMap::<&str, Vec<&Claim>>::new();
    for claim in claims {
        by_pipeline.entry(&claim.pipeline).or_default().push(claim);
    }
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut)
    else {
        return;
    };
    let Some(create) = schemas.get("CreateStream").cloned() else { return };
    let mut bodies = Map::new();
    for (pipeline, claims) in by_pipeline {
        for claim in &claims {
            let name = params_name(claim);
            let mut schema = claim.params_schema.clone();
            move_references(&mut schema, &name);
            schemas.insert(name, schema);
        }
        let name = format!("CreateStream.{}", plain(pipeline));
        schemas.insert(name.clone(), body_for(&create, pipeline, &claims));
        bodies.insert(pipeline.to_owned(), reference(&name)["$ref"].clone());
    }
    if !bodies.is_empty() {
        let choices: Vec<_> = bodies.values().map(|name| json!({ "$ref": name })).collect();
        let discriminator = json!({"propertyName": "pipeline", "mapping": bodies});
        let joined = json!({"oneOf": choices, "discriminator": discriminator});
        schemas.insert("CreateStream".to_owned(), joined);
    }
}

/// The create body with this pipeline's name and params.
fn body_for(create: &Value, pipeline: &str, claims: &[&Claim]) -> Value {
    let mut body = create.clone();
    body["properties"]["pipeline"] = json!({"type": "string", "const": pipeline});
    body["properties"]["params"] = params_for(claims);
    body
}

fn params_for(claims: &[&Claim]) -> Value {
    if let [claim] = claims {
        return reference(&params_name(claim));
    }
    let choices: Vec<_> = claims.iter().map(|claim| reference(&params_name(claim))).collect();
    let mut mapping = Map::new();
    for claim in claims {
        let target = &reference(&params_name(claim))["$ref"];
        let models = claim.models.iter().flatten();
        mapping.extend(models.map(|model| (model.clone(), target.clone())));
    }
    json!({"oneOf": choices, "discriminator": {"propertyName": "model_id", "mapping": mapping}})
}

fn params_name(claim: &Claim) -> String {
    let id = &claim.id;
    format!("Params.{}.{}.{}", plain(&claim.pipeline), plain(&id.plugin), id.index)
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Component names have a narrow alphabet.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// References within the schema count from its own root, which is now deeper down.
fn move_references(value: &mut Value, name: &str) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with("#") => {
                        *target = format!("#/components/schemas/{name}{}", &target[1..]);
                    }
                    other => move_references(other, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, name)),
        _ => {}
    }
}
