//! Schemas before and after their slots are filled.

use super::*;

fn manifest(contributes: Value) -> Manifest {
    let manifest = json!({
        "id": "a", "vendor": "v", "version": "1.0.0", "abi": "*", "features": ["image-processor/0"], "license": "MIT",
        "description": "d", "contributes": contributes,
    });
    Manifest::parse(manifest.to_string().as_bytes()).unwrap()
}

fn filled(contributes: Value, mut schema: Value) -> Value {
    let manifest = manifest(contributes);
    Slots::of([&manifest].into_iter()).fill(&mut schema);
    schema
}

fn image_schema() -> Value {
    json!({ "type": "object", "properties": { "image": { "anyOf": [{ "type": "null" }, { "type": "array", "items": {
        "properties": {
            "type": { "type": "string", "enum": ["none"], "x-slot": "image", "x-slot-params": "params" },
            "params": { "type": "object" },
        },
    } }] } } })
}

#[test]
fn contributed_values_follow_a_propertys_own_wherever_it_stands() {
    let items = json!([{ "value": "blur" }, { "value": "none" }, { "value": "edges" }]);
    let filled = filled(json!([{ "slot": "image", "items": items }]), image_schema());
    let item = &filled["properties"]["image"]["anyOf"][1]["items"];
    assert_eq!(item["properties"]["type"]["enum"], json!(["none", "blur", "edges"]));
    assert_eq!(item.get("allOf"), None, "nothing is said of their params");
}

#[test]
fn a_slot_that_nobody_fills_has_no_choices() {
    let schema = json!({ "properties": { "id": { "type": "string", "x-slot": "unheard-of" } } });
    let filled = filled(json!([{ "slot": "image", "items": [{ "value": "blur" }] }]), schema);
    assert_eq!(filled["properties"]["id"]["enum"], json!([]));
}

#[test]
fn what_only_looks_like_a_slot_is_left_alone() {
    let schema = json!({ "properties": {
        "x-slot": { "type": "string" },
        "a": { "default": { "x-slot": "image" }, "const": { "x-slot": "image" } },
    } });
    let contributed = json!([{ "slot": "image", "items": [{ "value": "blur" }] }]);
    assert_eq!(filled(contributed, schema.clone()), schema);
}

#[test]
fn params_are_checked_by_the_choice_they_belong_to() {
    let radius = json!({ "type": "object", "properties": { "radius": { "type": "number" } } });
    let items = json!([{ "value": "blur", "params": radius }, { "value": "edges" }]);
    let filled = filled(json!([{ "slot": "image", "items": items }]), image_schema());
    let validator = jsonschema::draft202012::new(&filled).unwrap();
    let is_valid = |item: Value| validator.is_valid(&json!({ "image": [item] }));
    assert!(is_valid(json!({ "type": "blur", "params": { "radius": 3 } })));
    assert!(!is_valid(json!({ "type": "blur", "params": { "radius": "wide" } })));
    assert!(is_valid(json!({ "type": "edges", "params": { "radius": "wide" } })));
    assert!(is_valid(json!({ "type": "none" })));
    assert!(!is_valid(json!({ "type": "sharpen" })));
}

#[test]
fn a_contribution_that_would_spoil_the_schema_is_refused() {
    let check = |params: Value| {
        check(&manifest(json!([{ "slot": "s", "items": [{ "value": "v", "params": params }] }])))
    };
    assert_eq!(check(json!({ "type": "object" })), Ok(()));
    let wrong = json!({ "type": "object", "properties": { "a": { "type": "colour" } } });
    let error = check(wrong).unwrap_err();
    assert!(error.contains("`v` in the slot `s` is no valid schema"), "{error}");
    let pattern = json!({ "type": "object", "properties": { "a": { "pattern": "(" } } });
    assert!(check(pattern).is_err());
    let reference = json!({ "type": "object", "properties": { "a": { "$ref": "#" } } });
    assert!(check(reference).unwrap_err().ends_with("must be a schema without references"));
}

#[test]
fn what_params_choose_is_known_and_which_of_it_is_the_pipeline_s_own() {
    let schema = json!({ "type": "object", "properties": {
        "before": { "type": "object", "properties": { "list": { "type": "array", "items": {
            "type": "object", "properties": { "type": { "enum": ["own"], "x-slot": "image-processor" } },
        } } } },
        "one": { "anyOf": [{ "type": "null" }, { "x-slot": "nets", "x-slot-feature": "residual-conditioner/0" }] },
        "check": { "type": "boolean", "x-slot": "image-processor", "x-slot-value": "checker", "x-slot-without": "it is not checked" },
        "odd": { "x-slot": "nets", "x-slot-feature": "pipeline/0" },
        "other": { "x-slot": "shapes" },
        "text": { "type": "string" },
    } });
    let params = |values: Value| values.as_object().unwrap().clone();
    let some = params(json!({
        "before": { "list": [{ "type": "own" }, { "type": "red" }, { "type": 7 }, "blue"] },
        "one": "green", "check": true, "odd": "grey", "other": "round", "text": "red",
    }));
    let choosing = |feature, slot, value| {
        let without = (value == "checker").then_some("it is not checked");
        Choosing { feature, slot, value, is_own: value == "own", without }
    };
    let wanted = [
        choosing(Feature::ImageProcessor, "image-processor", "checker"),
        choosing(Feature::ImageProcessor, "image-processor", "own"),
        choosing(Feature::ImageProcessor, "image-processor", "red"),
        choosing(Feature::ResidualConditioner, "nets", "green"),
    ];
    assert_eq!(chosen(&schema, &some).into_iter().collect::<Vec<_>>(), wanted);
    let others = params(
        json!({ "before": { "list": [] }, "one": "green", "check": true, "other": "square" }),
    );
    assert_eq!(changed(&schema, [&some, &others]), ["before"]);
    let unchecked = params(json!({ "before": { "list": [] }, "one": "green", "check": false }));
    assert_eq!(changed(&schema, [&others, &unchecked]), ["check"]);
    let plain = json!({ "properties": { "check": schema["properties"]["check"] } });
    let contributed = json!([{ "slot": "image-processor", "items": [{ "value": "checker" }] }]);
    assert_eq!(filled(contributed, plain.clone()), plain, "a boolean is no text among others");
}
