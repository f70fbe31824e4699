//! What a manifest may say. It comes out of files that anybody may have made.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

use plugin_api::{Manifest, ManifestError};
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "id": "blur", "vendor": "example", "version": "1.2.0", "abi": ">=0.1, <0.2", "features": ["pipeline/0"],
        "license": "MIT", "description": "Blurs.",
        "claims": [{ "pipeline": "blur", "models": null, "description": "Blurs.", "params": { "type": "object" } }]
    })
}

fn parse(manifest: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(manifest.to_string().as_bytes())
}

/// Sets what is at a JSON pointer and sees the manifest refused because of it.
#[track_caller]
fn refused(pointer: &str, value: Value, expected: &str) {
    let mut manifest = good();
    *manifest.pointer_mut(pointer).unwrap() = value;
    let error = parse(&manifest).unwrap_err().to_string();
    assert!(error.contains(expected), "{pointer}: {error}");
}

#[test]
fn a_good_manifest_is_read_also_with_unknown_fields_and_zeros_at_its_end() {
    let mut manifest = good();
    manifest["later"] = json!(["something new"]);
    let mut bytes = manifest.to_string().into_bytes();
    bytes.extend([0; 7]);
    let manifest = Manifest::parse(&bytes).unwrap();
    assert_eq!((manifest.id.as_str(), manifest.version.to_string().as_str()), ("blur", "1.2.0"));
    assert!(manifest.has_feature("pipeline/0") && manifest.check_abi().is_ok());
}

#[test]
fn names_and_texts_are_bounded() {
    for id in ["", "-a", "A", "a b", "../a", "ä", &"a".repeat(65)] {
        refused("/id", json!(id), "the manifest's `id` must be 1 to 64 of");
    }
    refused("/claims/0/pipeline", json!("a/b"), "`claims/0/pipeline` must be");
    refused("/vendor", json!(""), "`vendor` must be");
    refused("/description", json!("two\nlines"), "`description` must be");
    refused("/features", json!(["pipeline"]), "`features/0` must be `name/major`");
    refused("/features", json!(["pipeline/x"]), "`features/0` must be `name/major`");
}

#[test]
fn claims_are_bounded_distinct_and_have_a_schema_of_an_object() {
    let claim = good()["claims"][0].clone();
    refused("/claims", json!([]), "`claims` must have 1 to 64 items");
    refused("/claims", json!(vec![&claim; 65]), "`claims` must have 1 to 64 items");
    refused(
        "/claims",
        json!([claim, claim]),
        "`claims/1` claims `blur` with any model a second time",
    );
    refused("/claims/0/models", json!([]), "`claims/0/models` must be null or have");
    refused("/claims/0/params", json!([]), "`claims/0/params` must be a JSON Schema");
    refused(
        "/claims/0/params",
        json!({ "type": "array" }),
        "`claims/0/params` must be a JSON Schema",
    );
}

#[test]
fn a_plugin_may_only_contribute_and_what_it_does_is_bounded_and_distinct() {
    let mut manifest = good();
    let item = json!({ "value": "tint", "params": { "type": "object" } });
    let slot = json!({ "slot": "image-processor", "items": [item] });
    manifest["contributes"] = json!([slot]);
    manifest.as_object_mut().unwrap().remove("claims");
    let read = parse(&manifest).unwrap();
    assert_eq!((read.claims.len(), read.contributes[0].items[0].value.as_str()), (0, "tint"));
    let refused = |pointer: &str, value: Value, expected: &str| {
        let mut manifest = manifest.clone();
        *manifest.pointer_mut(pointer).unwrap() = value;
        let error = parse(&manifest).unwrap_err().to_string();
        assert!(error.contains(expected), "{pointer}: {error}");
    };
    refused("/contributes", json!([]), "`claims` must have 1 to 64 items");
    refused("/contributes", json!(vec![&slot; 65]), "`contributes` must have at most 64 items");
    refused("/contributes/0/slot", json!("a b"), "`contributes/0/slot` must be");
    refused("/contributes/0/items", json!([]), "`contributes/0/items` must have 1 to 256 items");
    refused("/contributes/0/items/0/value", json!(""), "`contributes/0/items/0/value` must be");
    refused("/contributes/0/items/0/params", json!([]), "`contributes/0/items/0/params` must be");
    let twice = "`contributes/0/items/1` adds `tint` to `image-processor` a second time";
    refused("/contributes/0/items", json!([item, item]), twice);
}

#[test]
fn an_alias_names_a_pipeline_and_says_what_is_valid_alone() {
    let mut manifest = good();
    let alias = json!({
        "pipeline": "blur-tint", "of": "blur", "description": "Tints.", "requires": { "type": "object" },
        "defaults": { "tint": true },
    });
    manifest["contributes"] = json!([{ "slot": "filter", "items": [{ "value": "tint" }] }]);
    manifest["aliases"] = json!([alias]);
    let read = parse(&manifest).unwrap();
    assert_eq!(
        (read.aliases[0].of.as_str(), &read.aliases[0].defaults["tint"]),
        ("blur", &json!(true))
    );
    let refused = |pointer: &str, value: Value, expected: &str| {
        let mut manifest = manifest.clone();
        *manifest.pointer_mut(pointer).unwrap() = value;
        let error = parse(&manifest).unwrap_err().to_string();
        assert!(error.contains(expected), "{pointer}: {error}");
    };
    refused("/aliases", json!(vec![&alias; 17]), "`aliases` must have at most 16 items");
    refused("/contributes", json!([]), "`aliases` needs something in `contributes`");
    refused("/aliases/0/pipeline", json!("a b"), "`aliases/0/pipeline` must be");
    refused("/aliases/0/pipeline", json!("blur"), "`aliases/0` names `blur` a second time");
    refused("/aliases", json!([alias, alias]), "`aliases/1` names `blur-tint` a second time");
    refused("/aliases/0/of", json!(""), "`aliases/0/of` must be");
    refused("/aliases/0/description", json!(""), "`aliases/0/description` must be");
    refused("/aliases/0/requires", json!({}), "`aliases/0/requires` must be a JSON Schema");
    let word =
        json!({ "type": "object", "allOf": [{ "properties": { "a": { "x-apply": "hot" } } }] });
    refused(
        "/aliases/0/requires",
        word,
        "`aliases/0/requires` must only say what is valid, and has `x-apply`",
    );
}

#[test]
fn what_the_host_fetches_is_a_hot_text_that_may_be_null_where_the_host_finds_it() {
    let hot = json!({ "type": ["string", "null"], "x-apply": "hot", "x-fetch": "image" });
    let nested = json!({ "type": ["null", "string"], "x-fetch": "image" });
    let object = |apply: &str, property: &Value| json!({ "type": "object", "x-apply": apply, "properties": { "a": property } });
    let params = |property: Value| {
        let mut manifest = good();
        manifest["claims"][0]["params"]["properties"] = json!({ "p": property });
        manifest
    };
    // As data, or as a name, it is not the word.
    let data = json!({ "default": { "x-fetch": 1 }, "properties": { "x-fetch": { "enum": [{ "x-fetch": 2 }] } } });
    for property in [hot.clone(), object("hot", &nested), object("hot", &object("hot", &hot)), data]
    {
        assert_eq!(parse(&params(property.clone())).err(), None, "{property}");
    }
    let with = |key: &str, value: Value| {
        let mut property = hot.clone();
        property[key] = value;
        property
    };
    let (kind, place, apply) =
        ("needs `\"type\": [", "may stand at a property", "needs `\"x-apply\": \"hot\"`");
    for (property, expected) in [
        (
            with("x-fetch", json!("video")),
            "`claims/0/params/properties/p/x-fetch` must be \"image\"",
        ),
        (with("x-fetch", json!(true)), "must be \"image\""),
        (with("type", json!("string")), kind),
        (with("type", json!(["string", "null", "object"])), kind),
        (with("type", json!(["string", "string"])), kind),
        (with("x-apply", json!("reload")), apply),
        (nested.clone(), apply),
        (object("reload", &hot), apply),
        (object("hot", &with("x-apply", json!("reload"))), apply),
        (json!({ "type": "array", "x-apply": "hot", "items": hot }), place),
        (json!({ "x-apply": "hot", "anyOf": [hot, { "type": "null" }] }), place),
        (json!({ "x-apply": "hot", "$defs": { "p": hot } }), place),
        (json!({ "x-apply": "hot", "additionalProperties": hot }), place),
        (json!({ "x-apply": "hot", "items": { "properties": { "a": hot } } }), place),
    ] {
        let error = parse(&params(property.clone())).unwrap_err().to_string();
        assert!(error.contains(expected), "{property}: {error}");
    }
    let mut manifest = good();
    let item = json!({ "value": "tint", "params": object("hot", &hot) });
    manifest["contributes"] = json!([{ "slot": "image-processor", "items": [item] }]);
    let error = parse(&manifest).unwrap_err().to_string();
    assert!(
        error.contains("`contributes/0/items/0/params/properties/a/x-fetch` may stand"),
        "{error}"
    );
}

#[test]
fn what_is_no_manifest_is_refused_without_a_panic() {
    let deep = "[".repeat(100_000);
    for bytes in [b"".as_slice(), b"\0\0\0", b"null", b"{}", b"\xff\xfe", deep.as_bytes()] {
        assert!(matches!(Manifest::parse(bytes), Err(ManifestError::Json { .. })));
    }
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(Manifest::parse(&large), Err(ManifestError::TooLarge { size: large.len() }));
    refused("/version", json!("one"), "cannot be read");
    refused("/abi", json!("whatever"), "cannot be read");
}

#[test]
fn the_abi_range_decides() {
    for (range, fits) in
        [(">=0.1, <0.2", true), ("^0.1", true), ("0.1.0", true), (">=0.2", false), ("*", true)]
    {
        let mut manifest = good();
        manifest["abi"] = json!(range);
        assert_eq!(parse(&manifest).unwrap().check_abi().is_ok(), fits, "{range}");
    }
    let mut manifest = good();
    manifest["abi"] = json!(">=0.2");
    let error = parse(&manifest).unwrap().check_abi().unwrap_err().to_string();
    assert_eq!(
        error,
        "plugin blur 1.2.0 works with plugin ABI >=0.2, this host speaks 0.1.0; rebuild it for 0.1.0"
    );
}
