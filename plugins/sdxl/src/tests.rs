//! The manifest and the plan.

use crate::{NOT_YET, Sdxl};
use plugin_api::{Claim, Environment, Host, Manifest, Params, Plan, PlanRequest, Plugin};
use serde_json::{Map, Value, json};

fn claim(pipeline: &str) -> Claim {
    let manifest =
        Manifest::parse(include_bytes!(concat!(env!("OUT_DIR"), "/manifest.json"))).unwrap();
    manifest.claims.into_iter().find(|claim| claim.pipeline == pipeline).unwrap()
}

/// The defaults of a claim's schema with some params set.
fn values(pipeline: &str, given: Value) -> Map<String, Value> {
    let properties = claim(pipeline).params["properties"].as_object().unwrap().clone();
    let defaults = properties
        .into_iter()
        .filter_map(|(name, property)| Some((name, property.get("default")?.clone())));
    let mut values: Map<String, Value> = defaults.collect();
    values.insert("model_id".into(), "stabilityai/sdxl-turbo".into());
    values.extend(given.as_object().unwrap().clone());
    values
}

fn plan_of(values: &Map<String, Value>) -> Plan {
    let environment = Environment::default();
    let params = Params { pipeline: "streamdiffusion", values };
    Sdxl::plan(&PlanRequest { params, previous: None, environment: &environment }).unwrap()
}

#[test]
fn the_plan_says_what_loading_will_say() {
    let values = values("streamdiffusion", json!({"t_index_list": [10, 20]}));
    let plan = plan_of(&values);
    assert_eq!((&plan.errors[..], plan.latency_frames), (&[][..], 1));
    assert_eq!((plan.formats.input.width, plan.formats.output.height), (512, 512));
    let first = &plan.unsupported[0];
    assert_eq!((first.field.as_str(), first.reason.as_str()), ("model_id", NOT_YET));
    let host = Host::detached(Environment::default());
    let params = Params { pipeline: "streamdiffusion", values: &values };
    let error = Sdxl::open(&host, &params).map(drop).unwrap_err();
    assert_eq!(error.message, NOT_YET);
}

#[test]
fn rules_across_fields_hold_as_for_the_other_families() {
    let plan = plan_of(&values("streamdiffusion", json!({"t_index_list": [30, 10]})));
    assert_eq!(plan.errors[0].pointer, "/t_index_list/1");
    assert_eq!(plan_of(&Map::new()).errors.len(), 1);
}

#[test]
fn at_most_three_controlnets_are_enabled() {
    let controlnets = |enabled: usize| -> Vec<Value> {
        let item = |index| json!({"model_id": format!("a/{index}"), "enabled": index < enabled});
        (0..5).map(item).collect()
    };
    let errors = |enabled| {
        plan_of(&values("streamdiffusion", json!({"controlnets": controlnets(enabled)}))).errors
    };
    assert_eq!(errors(3), []);
    assert_eq!(errors(4)[0].message, "must have at most 3 enabled items, got 4");
}

#[test]
fn the_open_pipeline_has_a_model_of_its_own_accord() {
    let open = claim("streamdiffusion-sdxl");
    assert_eq!(open.models, None);
    assert_eq!(open.params["properties"]["model_id"]["default"], "stabilityai/sdxl-turbo");
    let defaults = values("streamdiffusion-sdxl", json!({}));
    assert_eq!((&defaults["width"], &defaults["t_index_list"]), (&json!(768), &json!([11])));
    assert_eq!(plan_of(&defaults).errors, []);
}

#[test]
fn every_param_but_the_model_has_a_default_and_a_description() {
    for (name, property) in claim("streamdiffusion").params["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{name}");
        assert!(property.get("default").is_some() != (name == "model_id"), "{name}");
    }
}
