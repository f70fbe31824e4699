//! The schema here has every form that a pipeline's schema has.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

fn plugin_schema() -> Value {
    json!({
        "type": "object",
        "required": ["model_id"],
        "additionalProperties": false,
        "$defs": {
            "control": {
                "type": "object",
                "required": ["model_id"],
                "additionalProperties": false,
                "properties": {
                    "model_id": { "type": "string" },
                    "conditioning_scale": { "type": "number", "default": 1.0, "minimum": 0 },
                    "preprocessor_params": { "type": "object", "default": {} },
                },
            },
            "block": {
                "type": "object",
                "required": ["processors"],
                "properties": {
                    "enabled": { "type": "boolean", "default": true },
                    "processors": { "type": "array" },
                },
            },
        },
        "properties": {
            "model_id": { "enum": ["small", "large"] },
            "prompt": {
                "anyOf": [
                    { "type": "string" },
                    {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "array",
                            "prefixItems": [{ "type": "string" }, { "type": "number" }],
                            "minItems": 2,
                            "maxItems": 2,
                        },
                    },
                ],
                "default": "flowers",
                "x-apply": "hot",
            },
            "width": {
                "type": "integer", "minimum": 384, "maximum": 1024, "multipleOf": 64, "default": 512,
            },
            "steps": {
                "type": "array",
                "items": { "type": "integer" },
                "minItems": 1,
                "maxItems": 4,
                "default": [12, 20],
                "x-apply": "hot",
            },
            "lora_dict": {
                "type": ["object", "null"],
                "additionalProperties": { "type": "number" },
                "default": null,
                "x-null": "clear",
            },
            "before": {
                "anyOf": [{ "$ref": "#/$defs/block" }, { "type": "null" }],
                "default": null,
                "x-apply": "hot",
            },
            "controlnets": { "type": "array", "items": { "$ref": "#/$defs/control" }, "default": [] },
            "ip_adapter": {
                "type": "object",
                "properties": {
                    "type": { "enum": ["regular", "faceid"], "default": "regular" },
                    "enabled": { "type": "boolean", "default": false },
                    "scale": { "type": "number", "default": 1.0 },
                },
                "default": {},
                "x-merge": "keys",
                "x-apply": "hot",
            },
        },
    })
}

fn schema() -> ParamsSchema {
    ParamsSchema::compile(&plugin_schema(), Fallback::Input).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn created(wish: Value) -> Map<String, Value> {
    schema().create(&object(wish)).unwrap().params
}

/// Creates with the first value, changes by the second, tells what came of it.
fn check(wish: Value, patch: Value, expected: Expect) {
    let schema = schema();
    let old = created(wish);
    let told = match schema.patch(&old, &object(patch)) {
        Ok(Checked { params, warnings }) => {
            let changes = schema.changes(&old, &params);
            let fields = changes.hot.iter().chain(&changes.reload).chain(&changes.host);
            let values: Vec<_> =
                fields.map(|name| format!("{name} = {}\n", params[name])).collect();
            format!(
                "hot {:?}, reload {:?}, host {:?}\n{}{}",
                changes.hot,
                changes.reload,
                changes.host,
                values.concat(),
                warnings.join("\n")
            )
        }
        Err(errors) => told(&errors),
    };
    expected.assert_eq(&told);
}

fn told(errors: &[ParamError]) -> String {
    let lines = errors.iter().map(|error| format!("{}: {}\n", error.pointer, error.message));
    lines.collect()
}

fn refuse(wish: Value, expected: Expect) {
    expected.assert_eq(&told(&schema().create(&object(wish)).unwrap_err()));
}

#[test]
fn defaults_stand_where_nothing_was_said_at_every_level() {
    let params = created(json!({
        "model_id": "small",
        "controlnets": [{ "model_id": "canny" }],
        "before": { "processors": [] },
    }));
    expect![[r#"{"model_id":"small","controlnets":[{"model_id":"canny","conditioning_scale":1.0,"preprocessor_params":{}}],"before":{"processors":[],"enabled":true},"prompt":"flowers","width":512,"steps":[12,20],"lora_dict":null,"ip_adapter":{"type":"regular","enabled":false,"scale":1.0},"fallback":"input","fit":"crop","video_codec":"h264","video_profile":"baseline","video_preset":"ultrafast","video_tune":"zerolatency","gop_size":60,"video_bframes":0}"#]]
    .assert_eq(&Value::Object(params).to_string());
}

#[test]
fn what_a_change_leaves_out_stays() {
    check(
        json!({ "model_id": "small", "prompt": "a cat", "width": 1024 }),
        json!({ "prompt": "a dog" }),
        expect![[r#"
            hot ["prompt"], reload [], host []
            prompt = "a dog"
        "#]],
    );
}

#[test]
fn the_same_values_sent_again_change_nothing() {
    check(
        json!({ "model_id": "small", "lora_dict": { "a": 1 } }),
        json!({ "model_id": "small", "width": 512, "steps": [12, 20], "lora_dict": { "a": 1.0 } }),
        expect![[r#"
            hot [], reload [], host []
        "#]],
    );
}

#[test]
fn null_changes_nothing_but_what_may_be_cleared() {
    check(
        json!({ "model_id": "small", "lora_dict": { "a": 0.5 }, "before": { "processors": [] } }),
        json!({ "prompt": null, "width": null, "before": null, "lora_dict": null }),
        expect![[r#"
            hot [], reload ["lora_dict"], host []
            lora_dict = null
        "#]],
    );
}

#[test]
fn lists_replace_and_their_items_get_defaults() {
    check(
        json!({ "model_id": "small", "controlnets": [{ "model_id": "canny", "conditioning_scale": 0.2 }] }),
        json!({ "controlnets": [{ "model_id": "canny" }, { "model_id": "pose", "conditioning_scale": null }] }),
        expect![[r#"
            hot [], reload ["controlnets"], host []
            controlnets = [{"model_id":"canny","conditioning_scale":1.0,"preprocessor_params":{}},{"model_id":"pose","conditioning_scale":1.0,"preprocessor_params":{}}]
        "#]],
    );
}

#[test]
fn an_object_is_merged_by_key_where_the_schema_says_so() {
    check(
        json!({ "model_id": "small", "ip_adapter": { "type": "faceid", "scale": 0.25 } }),
        json!({ "ip_adapter": { "enabled": true, "scale": null } }),
        expect![[r#"
            hot ["ip_adapter"], reload [], host []
            ip_adapter = {"type":"faceid","scale":0.25,"enabled":true}
        "#]],
    );
}

#[test]
fn any_other_object_replaces_the_old_one_over_its_defaults() {
    check(
        json!({ "model_id": "small", "before": { "enabled": false, "processors": [1] } }),
        json!({ "before": { "processors": [2] } }),
        expect![[r#"
            hot ["before"], reload [], host []
            before = {"processors":[2],"enabled":true}
        "#]],
    );
}

#[test]
fn unknown_keys_are_kept_out_and_named() {
    check(
        json!({ "model_id": "small" }),
        json!({ "video_fps": 2, "width": 768 }),
        expect![[r#"
            hot [], reload ["width"], host []
            width = 768
            `video_fps` is not a parameter of this pipeline and was ignored"#]],
    );
}

#[test]
fn the_hosts_own_params_are_hot_and_stay_from_the_plugin() {
    check(
        json!({ "model_id": "small" }),
        json!({ "fallback": "black", "fit": "stretch" }),
        expect![[r#"
            hot [], reload [], host ["fallback", "fit"]
            fallback = "black"
            fit = "stretch"
        "#]],
    );
    let schema = schema();
    let params = created(json!({ "model_id": "small", "fallback": "last_frame" }));
    assert_eq!(schema.host_param(&params, "fallback"), Some(&json!("last_frame")));
    assert!(!schema.for_plugin(&params).contains_key("fallback"));
    assert!(schema.for_plugin(&params).contains_key("prompt"));
}

#[test]
fn a_plugin_that_declares_a_host_param_keeps_it_for_itself() {
    let plugin = json!({ "properties": { "fit": { "type": "number", "default": 2 } } });
    let schema = ParamsSchema::compile(&plugin, Fallback::Black).unwrap();
    let params = schema.create(&Map::new()).unwrap().params;
    assert_eq!((&params["fit"], &params["fallback"]), (&json!(2), &json!("black")));
    assert_eq!(schema.host_param(&params, "fit"), None);
    assert_eq!(Value::Object(schema.for_plugin(&params)), json!({ "fit": 2 }));
}

#[test]
fn a_plugins_word_makes_a_hot_field_cold() {
    let mut changes = Changes { hot: vec!["a".into(), "b".into()], ..Changes::default() };
    changes.escalate(&["b".into()]);
    assert_eq!(changes, Changes { hot: vec!["a".into()], reload: vec!["b".into()], host: vec![] });
}

#[test]
fn a_hot_object_can_have_fields_that_need_a_reload() {
    let field = json!({
        "type": "object", "x-apply": "hot", "default": { "on": false, "frames": 1 },
        "properties": { "on": { "$ref": "#/$defs/switch" }, "frames": { "type": "integer" } },
    });
    let schema = json!({
        "type": "object", "properties": { "cache": field },
        "$defs": { "switch": { "type": "boolean", "x-apply": "reload" } },
    });
    let schema = ParamsSchema::compile(&schema, Fallback::Input).unwrap();
    let old = schema.create(&Map::new()).unwrap().params;
    for (cache, hot, reload) in [
        (json!({ "on": false, "frames": 2 }), vec!["cache".to_owned()], vec![]),
        (json!({ "on": true, "frames": 1 }), vec![], vec!["cache".to_owned()]),
    ] {
        let new = schema.patch(&old, &object(json!({ "cache": cache }))).unwrap().params;
        let wanted = Changes { hot, reload, host: vec![] };
        assert_eq!(schema.changes(&old, &new), wanted);
        let cold = json!({ "cache": { "on": cache["on"] } });
        assert_eq!(Value::Object(schema.cold(&new)), cold);
    }
}

#[test]
fn refusals_say_what_would_be_right() {
    refuse(
        json!({
            "width": 4000,
            "steps": [],
            "lora_dict": { "a": "much" },
            "controlnets": [{ "conditioning_scale": -1, "colour": 1 }],
            "ip_adapter": { "type": "none", "enabled": 1 },
            "fallback": "blue",
        }),
        expect![[r#"
            /width: must be at most 1024, got 4000
            /width: must be a multiple of 64, got 4000
            /steps: must have 1 or more items, got 0
            /lora_dict/a: must be a number, got "much"
            /controlnets/0/conditioning_scale: must be at least 0, got -1
            /controlnets/0: has no `colour`; it has model_id, conditioning_scale, preprocessor_params
            /controlnets/0: lacks `model_id`
            /ip_adapter/type: must be one of regular, faceid, got "none"
            /ip_adapter/enabled: must be true or false, got 1
            /fallback: must be one of input, last_frame, black, got "blue"
            : lacks `model_id`
        "#]],
    );
    refuse(
        json!({ "model_id": "small", "width": 500 }),
        expect![[r#"
            /width: must be a multiple of 64, got 500
        "#]],
    );
}

#[test]
fn of_several_forms_the_one_that_was_meant_is_explained() {
    refuse(
        json!({ "model_id": "small", "prompt": 7 }),
        expect![[r#"
        /prompt: must be text or a list, got 7
    "#]],
    );
    refuse(
        json!({ "model_id": "small", "prompt": [] }),
        expect![[r#"
        /prompt: must have 1 or more items, got 0
    "#]],
    );
    refuse(
        json!({ "model_id": "small", "prompt": [["a cat", "much"]] }),
        expect![[r#"
        /prompt/0/1: must be a number, got "much"
    "#]],
    );
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let errors = schema().create(&object(json!({ "model_id": "x".repeat(10_000) }))).unwrap_err();
    assert!(errors[0].message.len() < 200, "{}", errors[0].message);
}

#[test]
fn words_stand_beside_a_reference_or_in_what_it_refers_to() {
    let plugin = json!({
        "$defs": {
            "side": { "type": "integer", "default": 512, "x-apply": "hot" },
            "adapter": {
                "type": ["object", "null"],
                "properties": { "scale": { "default": 1 }, "enabled": { "default": true } },
                "x-null": "clear",
            },
        },
        "properties": {
            "width": { "$ref": "#/$defs/side", "default": 64, "x-apply": "reload" },
            "height": { "$ref": "#/$defs/side" },
            "adapter": { "$ref": "#/$defs/adapter", "default": {}, "x-merge": "keys" },
        },
    });
    let schema = ParamsSchema::compile(&plugin, Fallback::Input).unwrap();
    let start = schema.for_plugin(&schema.create(&Map::new()).unwrap().params);
    let adapter = json!({ "scale": 1, "enabled": true });
    assert_eq!(
        Value::Object(start.clone()),
        json!({ "width": 64, "height": 512, "adapter": adapter })
    );
    let patch = object(json!({ "width": 8, "height": 8, "adapter": { "scale": 2 } }));
    let changed = schema.patch(&start, &patch).unwrap().params;
    assert_eq!(changed["adapter"], json!({ "scale": 2, "enabled": true }));
    let changes = schema.changes(&start, &changed);
    assert_eq!(
        (changes.hot, changes.reload),
        (vec!["height".into()], vec!["width".into(), "adapter".into()])
    );
    let cleared = schema.patch(&changed, &object(json!({ "adapter": null }))).unwrap().params;
    assert_eq!(cleared["adapter"], Value::Null);
}

#[test]
fn a_schema_that_refers_to_itself_does_not_hang() {
    let plugin = json!({
        "properties": { "tree": { "$ref": "#/$defs/tree", "default": {} } },
        "$defs": { "tree": { "type": "object", "properties": { "tree": { "$ref": "#/$defs/tree", "default": {} } } } },
    });
    let schema = ParamsSchema::compile(&plugin, Fallback::Input).unwrap();
    schema.create(&Map::new()).unwrap();
    let circle = json!({
        "properties": { "a": { "$ref": "#/$defs/a" } },
        "$defs": { "a": { "$ref": "#/$defs/a" } },
    });
    ParamsSchema::compile(&circle, Fallback::Input).unwrap();
}

#[test]
fn a_schema_that_is_none_is_refused() {
    for plugin in [json!(7), json!({}), json!({ "properties": { "a": { "type": "colour" } } })] {
        assert!(ParamsSchema::compile(&plugin, Fallback::Input).is_err(), "{plugin}");
    }
    let remote = json!({ "properties": { "a": { "$ref": "https://example.org/schema" } } });
    assert!(ParamsSchema::compile(&remote, Fallback::Input).is_err());
}

fn any_patch() -> impl Strategy<Value = Map<String, Value>> {
    let scale = prop_oneof![Just(Value::Null), (0u8..9).prop_map(|n| json!(f64::from(n) / 4.0))];
    let adapter = (any::<Option<bool>>(), prop::option::of(scale)).prop_map(|(enabled, scale)| {
        let mut adapter = Map::new();
        enabled.map(|enabled| adapter.insert("enabled".into(), json!(enabled)));
        scale.map(|scale| adapter.insert("scale".into(), scale));
        Value::Object(adapter)
    });
    let field = prop_oneof![
        "[a-z ]{0,8}".prop_map(|text| ("prompt", json!(text))),
        (6u32..=16).prop_map(|n| ("width", json!(n * 64))),
        prop::collection::vec(0u8..50, 1..4).prop_map(|steps| ("steps", json!(steps))),
        prop::option::of(0u8..4).prop_map(|scale| match scale {
            Some(scale) => ("lora_dict", json!({ "a": scale })),
            None => ("lora_dict", Value::Null),
        }),
        adapter.prop_map(|adapter| ("ip_adapter", adapter)),
        Just(("fallback", json!("black"))),
        Just(("width", Value::Null)),
        Just(("unheard_of", json!(1))),
    ];
    prop::collection::vec(field, 0..6).prop_map(|fields| {
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

proptest! {
    #[test]
    fn merging_keeps_its_promises(first in any_patch(), second in any_patch()) {
        let schema = schema();
        let start = created(json!({ "model_id": "small" }));
        let old = schema.patch(&start, &first).unwrap().params;
        let new = schema.patch(&old, &second).unwrap().params;
        // Complete, with nothing unheard of.
        prop_assert_eq!(old.len(), start.len());
        prop_assert!(new.keys().all(|name| start.contains_key(name)));
        // The same again, or nothing, changes nothing.
        prop_assert_eq!(&schema.patch(&new, &second).unwrap().params, &new);
        prop_assert!(schema.changes(&new, &schema.patch(&new, &Map::new()).unwrap().params).is_empty());
        for (name, value) in &new {
            match second.get(name) {
                None => prop_assert_eq!(value, &old[name]),
                Some(Value::Null) if name != "lora_dict" => prop_assert_eq!(value, &old[name]),
                Some(Value::Object(sent)) if name == "ip_adapter" => {
                    for (key, value) in value.as_object().unwrap() {
                        let expected = sent.get(key).filter(|sent| !sent.is_null());
                        prop_assert_eq!(value, expected.unwrap_or(&old[name][key]));
                    }
                }
                Some(sent) => prop_assert_eq!(value, sent),
            }
        }
        // Every difference is found, and nothing else.
        let changes = schema.changes(&old, &new);
        let found: Vec<_> = changes.host.iter().chain(&changes.hot).chain(&changes.reload).collect();
        for name in new.keys() {
            prop_assert_eq!(found.contains(&name), old[name] != new[name]);
        }
    }
}
