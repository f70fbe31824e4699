//! Rules across fields, and what a change costs.

use super::*;
use serde_json::json;

/// The schema's defaults with some params set.
fn params(given: Value) -> StreamParams {
    let schema: Value = serde_json::from_str(include_str!("../../schema/params.json")).unwrap();
    let properties = schema["properties"].as_object().unwrap().iter();
    let mut values: Map<String, Value> = properties
        .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
        .collect();
    values.insert("model_id".into(), "org/name".into());
    values.extend(given.as_object().unwrap().clone());
    StreamParams::read(&values).unwrap()
}

fn pointers(given: Value) -> Vec<String> {
    params(given).check().into_iter().map(|error| error.pointer).collect()
}

#[test]
fn guidance_of_a_controlnet_ends_after_it_starts() {
    let from = |start: f64, end: f64| json!({"controlnets": [{"model_id": "a/b", "control_guidance_start": start, "control_guidance_end": end}]});
    assert_eq!(pointers(from(0.5, 0.4)), ["/controlnets/0/control_guidance_end"]);
    assert_eq!(pointers(from(0.5, 0.5)), [""; 0]);
}

/// What has to be loaded again when `name` changes from one value to the other.
fn reloads(name: &str, old: Value, new: Value) -> bool {
    let found = changes::reload(&params(json!({ name: old })), &params(json!({ name: new })));
    assert!(found.is_empty() || found == [name], "{found:?}");
    !found.is_empty()
}

#[test]
fn of_a_controlnet_the_scale_and_the_frame_it_looks_at_change_without_a_reload() {
    let with =
        |key: &str, value: Value| json!([{"model_id": "a/b", "preprocessor": "canny", key: value}]);
    let plain = with("conditioning_scale", json!(1.0));
    assert!(!reloads("controlnets", plain.clone(), plain.clone()));
    assert!(!reloads("controlnets", plain.clone(), with("conditioning_scale", json!(0.2))));
    assert!(!reloads("controlnets", plain.clone(), with("per_frame_control", json!(true))));
    for other in [
        json!([]),
        with("model_id", json!("a/c")),
        with("preprocessor", json!("hed")),
        with("enabled", json!(false)),
        with("preprocessor_params", json!({"low_threshold": 7})),
    ] {
        assert!(reloads("controlnets", plain.clone(), other.clone()), "{other}");
    }
}

#[test]
fn kinds_of_attention_and_adapters_need_a_reload_and_their_figures_do_not() {
    let attention =
        |enabled, frames| json!({"enabled": enabled, "max_frames": frames, "interval": 1});
    assert!(!reloads("cached_attention", attention(true, 1), attention(true, 2)));
    assert!(reloads("cached_attention", attention(false, 1), attention(true, 1)));
    let adapter = |kind, enabled| json!({"type": kind, "enabled": enabled});
    assert!(reloads("ip_adapter", adapter("regular", false), adapter("regular", true)));
    assert!(reloads("ip_adapter", adapter("regular", true), adapter("faceid", true)));
    assert!(!reloads("ip_adapter", adapter("regular", false), adapter("faceid", false)));
    let with = |key: &str, value: Value| json!({"type": "regular", key: value});
    let plain = with("scale", json!(0.5));
    assert!(!reloads("ip_adapter", plain.clone(), with("scale", json!(2.0))));
    assert!(!reloads("ip_adapter", plain.clone(), with("weight_type", json!("ease in"))));
    assert!(reloads("ip_adapter", plain.clone(), with("ipadapter_model_path", json!("a/b"))));
    assert!(reloads("ip_adapter", plain.clone(), with("image_encoder_path", json!("a/b"))));
    assert!(reloads("ip_adapter", plain, with("insightface_model_name", json!("buffalo_s"))));
}

#[test]
fn an_adapter_is_told_the_picture_that_the_host_fetched_and_no_address() {
    let told = |given: Value| params(given).settings().adapter.map(|adapter| adapter.params);
    assert_eq!(told(json!({"ip_adapter": {"type": "regular", "enabled": false}})), None);
    let image = |url: &str, own: &str| {
        let given = json!({
            "ip_adapter": {"type": "regular", "image_url": own}, "ip_adapter_style_image_url": url,
        });
        told(given).unwrap().get("image").cloned()
    };
    assert_eq!(image("/images/a.png", "/images/b.png"), Some(json!("/images/a.png")));
    assert_eq!(image("", "/images/b.png"), Some(json!("/images/b.png")));
    assert_eq!(image("https://example.org/a.png", ""), None);
    let batched = told(json!({"ip_adapter": {"type": "regular", "scale": 0.25}})).unwrap();
    assert_eq!((batched.get("steps"), &batched["scale"]), (None, &json!(0.25)));
    let given = json!({
        "ip_adapter": {"type": "regular"}, "use_denoising_batch": false, "t_index_list": [3, 4],
    });
    assert_eq!(told(given).unwrap()["steps"], 2);
}

#[test]
fn the_plan_compares_with_the_params_before() {
    let old = json!({"controlnets": [{"model_id": "a/b"}]});
    let schema: Value = serde_json::from_str(include_str!("../../schema/params.json")).unwrap();
    let mut before: Map<String, Value> = schema["properties"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
        .collect();
    before.insert("model_id".into(), "org/name".into());
    let environment = Environment::default();
    let before = StreamParams::read(&before).unwrap();
    let plan_after = |previous| plan(&params(old.clone()), previous, &environment).reload;
    assert_eq!(plan_after(Some(&before)), ["controlnets"]);
    assert_eq!(plan_after(None), [""; 0], "nothing to compare with");
}
