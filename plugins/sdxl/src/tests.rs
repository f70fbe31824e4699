//! The manifest, the plan, and streams from params to picture.

use std::path::{Path, PathBuf};

use plugin_api::{
    Claim, Environment, Frame, FrameMut, Host, Manifest, Params, Pipeline, Plan, PlanRequest,
    Plugin, Stream,
};
use plugin_testkit::defaults;
use serde_json::{Map, Value, json};

use crate::Sdxl;

const OPEN: &str = "streamdiffusion-sdxl";

fn claim(pipeline: &str) -> Claim {
    let manifest =
        Manifest::parse(include_bytes!(concat!(env!("OUT_DIR"), "/manifest.json"))).unwrap();
    manifest.claims.into_iter().find(|claim| claim.pipeline == pipeline).unwrap()
}

/// The defaults of a claim's schema with some params set.
fn values(pipeline: &str, given: Value) -> Map<String, Value> {
    let mut values = defaults(&claim(pipeline).params);
    values.insert("model_id".into(), "stabilityai/sdxl-turbo".into());
    values.extend(given.as_object().unwrap().clone());
    values
}

/// The tiny model's params with some set.
fn tiny(given: Value) -> Map<String, Value> {
    let mut values = values(OPEN, given);
    for (name, value) in [
        ("model_id", json!("test/sdxl-tiny")),
        ("vae_id", json!("test/taesdxl-tiny")),
        ("width", json!(64)),
        ("height", json!(128)),
    ] {
        values.insert(name.into(), value);
    }
    values
}

fn environment() -> Environment {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Environment {
        models_dir: root.join("models"),
        engines_dir: root.join("engines"),
        cache_dir: PathBuf::new(),
        threads: 2,
    }
}

fn plan_of(values: &Map<String, Value>) -> Plan {
    let host = Host::detached(environment());
    let params = Params::of(OPEN, values);
    Sdxl::plan(&PlanRequest { params, previous: None, host: &host }).unwrap()
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
    let open = claim(OPEN);
    assert_eq!(open.models, None);
    assert_eq!(open.params["properties"]["model_id"]["default"], "stabilityai/sdxl-turbo");
    let defaults = values(OPEN, json!({}));
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

#[test]
fn the_plan_counts_both_text_encoders() {
    let plan = plan_of(&tiny(json!({})));
    assert!(plan.errors.is_empty() && plan.warnings.is_empty(), "{plan:?}");
    let models = environment().models_dir.join("test");
    let parts = ["text_encoder/model", "text_encoder_2/model", "unet/diffusion_pytorch_model"];
    let files = parts.map(|part| models.join(format!("sdxl-tiny/{part}.safetensors")));
    let vae = models.join("taesdxl-tiny/diffusion_pytorch_model.safetensors");
    let sizes = files.iter().chain([&vae]).map(|file| std::fs::metadata(file).unwrap().len());
    assert_eq!(plan.memory_bytes, sizes.sum::<u64>());
}

#[test]
fn a_missing_small_autoencoder_is_named_as_this_familys() {
    let mut own = tiny(json!({}));
    own.insert("vae_id".into(), Value::Null);
    let plan = plan_of(&own);
    assert!(plan.warnings[0].contains("madebyollin/taesdxl"), "{:?}", plan.warnings);
    own.insert("use_tiny_vae".into(), json!(false));
    assert_eq!(plan_of(&own).warnings, [""; 0]);
}

#[test]
fn a_model_of_another_family_names_its_own_plugin() {
    let mut values = tiny(json!({}));
    values.insert("model_id".into(), "test/sdturbo-tiny".into());
    let host = Host::detached(environment());
    let error = Sdxl::open(&host, &Params::of(OPEN, &values)).map(drop);
    let message = error.unwrap_err().message;
    for part in ["sdturbo-tiny", "Stable Diffusion 1.x or 2.x", "sd15", "streamdiffusion-sd15"] {
        assert!(message.contains(part), "{message}");
    }
    let warning = &plan_of(&values).warnings[0];
    assert!(warning.contains(&message), "{warning}");
}

#[test]
fn a_stream_makes_pictures_and_a_new_prompt_shows_in_the_next() {
    let host = Host::detached(environment());
    let first = tiny(json!({"t_index_list": [32], "prompt": "a red cat"}));
    let loaded = Sdxl::open(&host, &Params::of(OPEN, &first)).unwrap();
    let open = |values| loaded.open_stream(&host, &Params::of(OPEN, values)).unwrap();
    let mut stream = open(&first);
    assert_eq!(stream.formats(), plan_of(&first).formats);
    let before = shown(&mut stream);
    let second = tiny(json!({"t_index_list": [32], "prompt": [["stormy sea", 2], ["a dog", 1]]}));
    stream.update(&Params::of(OPEN, &second)).unwrap();
    let after = shown(&mut stream);
    assert_ne!(before, after);
    assert_eq!(after, shown(&mut open(&second)), "nothing of the old prompt is left");
}

/// The picture a stream makes of a frame.
fn shown(stream: &mut impl Stream) -> Vec<u8> {
    let (width, height, stride) = (64, 128, 64 * 3);
    let pixels: Vec<u8> = (0..stride * 128).map(|index| (index / 5) as u8).collect();
    let mut made = vec![0; pixels.len()];
    let input = Frame { id: 1, captured_ns: 1, width, height, stride, pixels: &pixels };
    let mut output = FrameMut { id: 1, captured_ns: 1, width, height, stride, pixels: &mut made };
    stream.process(&input, &mut output).unwrap();
    made
}
