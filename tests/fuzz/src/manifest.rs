//! A plugin: a library file, or the manifest out of one. What is accepted must not bring down the checks of params.

use host_plugins::fuzzing;
use host_stream::{Fallback, ParamsSchema};
use serde_json::{Map, Value, json};

pub const WORDS: &[&str] = &[
    "\"$ref\":\"#\"",
    "\"$ref\":\"#/properties/a\"",
    "\"$ref\":\"#/$defs/a\"",
    "\"$dynamicRef\":\"#a\"",
    "\"$dynamicAnchor\":\"a\"",
    "\"$id\":\"a\"",
    "\"$anchor\":\"a\"",
    "\"allOf\":[",
    "\"anyOf\":[",
    "\"oneOf\":[",
    "\"not\":{}",
    "\"if\":{}",
    "\"then\":{}",
    "\"items\":{}",
    "\"prefixItems\":[]",
    "\"properties\":{\"a\":{}}",
    "\"patternProperties\":{\"a\":{}}",
    "\"additionalProperties\":false",
    "\"unevaluatedProperties\":false",
    "\"propertyNames\":{}",
    "\"dependentSchemas\":{\"a\":{}}",
    "\"contains\":{}",
    "\"minContains\":0",
    "\"multipleOf\":1e-300",
    "\"minLength\":1e300",
    "\"pattern\":\"(a{9}){9}\"",
    "\"format\":\"regex\"",
    "\"uniqueItems\":true",
    "\"type\":[\"object\",\"null\"]",
    "\"enum\":[]",
    "\"const\":null",
    "\"default\":{}",
    "\"x-slot\":\"image-processor\"",
    "\"x-slot-params\":\"a\"",
    "\"x-slot-value\":\"a\"",
    "\"x-slot-without\":\"a\"",
    "\"x-merge\":\"keys\"",
    "\"x-null\":\"clear\"",
    "\"x-apply\":\"hot\"",
    "null",
    "true",
    "1e400",
    "-0.0",
    "18446744073709551616",
];

/// In characters. Reasons are shown and logged.
const LONGEST_REASON: usize = 1001;

pub fn manifest(data: &[u8]) -> bool {
    let bytes = match data.starts_with(b"\x7fELF") {
        true => fuzzing::section(data),
        false => Ok(data.to_vec()),
    };
    let offered = bytes.and_then(|bytes| fuzzing::manifest(&bytes));
    match offered {
        Ok(manifest) => {
            let claims = fuzzing::claims(&[manifest]);
            claims.iter().for_each(|claim| use_schema(&claim.params_schema));
            !claims.is_empty()
        }
        Err(reason) => {
            let length = reason.chars().count();
            assert!(length <= LONGEST_REASON, "a reason of {length} characters");
            false
        }
    }
}

/// Checks params of every kind against a schema that nobody looked at.
fn use_schema(schema: &Value) {
    let Ok(compiled) = ParamsSchema::compile(schema, Fallback::Input) else { return };
    let names: Vec<_> = schema["properties"].as_object().into_iter().flat_map(Map::keys).collect();
    let values =
        [json!(null), json!(1), json!("a"), json!([[]]), json!({ "a": { "a": [] } }), json!(true)];
    let wishes = values.iter().map(|value| {
        names.iter().map(|name| ((*name).clone(), value.clone())).collect::<Map<_, _>>()
    });
    for wish in wishes.chain([Map::new()]) {
        if let Ok(checked) = compiled.create(&wish) {
            // Either answer is right: a default may not be.
            let _ = compiled.patch(&checked.params, &wish);
        }
    }
}
