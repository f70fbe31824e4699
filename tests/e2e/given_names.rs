//! Names that plugins give to pipelines: `streamdiffusion-controlnet`, `streamdiffusion-ip-adapter`, and those of others.

use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::{c_plugin, install, library, root};
use tests::peers::publish;

use crate::controlnets::{APART, FPS, GREY, Seen, apart, settled};
use crate::ip_adapters::STYLE;

const STEERED: &str = "streamdiffusion-controlnet";
const STYLED: &str = "streamdiffusion-ip-adapter";
const MODEL: &str = "Lykon/dreamshaper-8";
const NET: &str = "lllyasviel/control_v11p_sd15_canny";
/// The smallest that the pipeline takes.
const SIDE: u32 = 384;

/// Tiny models in the places of those that the pipeline knows by name.
fn models() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = root().join("models/test");
    for (name, model) in [(MODEL, "sd15-tiny"), (NET, "controlnet-sd15-a-tiny"), ("test/all", "")] {
        let place = folder.path().join(name);
        std::fs::create_dir_all(place.parent().expect("it lies in a folder")).expect("a folder");
        link(&tiny.join(model), &place);
    }
    folder
}

fn link(to: &Path, place: &Path) {
    std::os::unix::fs::symlink(to, place).expect("a link");
}

fn host(plugins: &[&str]) -> (Host, TempDir) {
    let models = models();
    let settings = [("SDH_PATHS__MODELS", models.path().display().to_string())];
    let libraries: Vec<_> = plugins.iter().map(|name| library(name)).collect();
    (Host::start_with(&libraries, &settings), models)
}

fn params(more: Value) -> Value {
    let mut params = json!({
        "model_id": MODEL, "vae_id": "test/all/taesd-tiny", "t_index_list": [32], "num_inference_steps": 50,
        "width": SIDE, "height": SIDE, "acceleration": "none", "use_lcm_lora": false,
    });
    params.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
    params
}

fn net(scale: f64) -> Value {
    json!([{ "model_id": NET, "preprocessor": "passthrough", "conditioning_scale": scale }])
}

fn adapter(more: Value) -> Value {
    let mut adapter = json!({
        "scale": 0.0, "image_encoder_path": "test/all/image-encoder-tiny",
        "ipadapter_model_path": "test/all/ip-adapter-sd15-tiny/ip-adapter.safetensors",
    });
    adapter.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
    adapter
}

/// What `GET /v1/plugins` says of a plugin.
fn plugin(host: &Host, id: &str) -> Value {
    let list = host.get("/v1/plugins").json();
    let plugins = list["data"]["plugins"].as_array().cloned().unwrap_or_default();
    plugins.into_iter().find(|plugin| plugin["id"] == id).unwrap_or_default()
}

/// The pipelines of this name.
fn offers(host: &Host, name: &str) -> Vec<Value> {
    let list = host.get("/v1/plugins").json();
    let pipelines = list["data"]["pipelines"].as_array().cloned().unwrap_or_default();
    pipelines.into_iter().filter(|offer| offer["pipeline"] == name).collect()
}

#[track_caller]
fn refused(host: &Host, pipeline: &str, params: Value, pointer: &str) {
    let body = json!({ "pipeline": pipeline, "params": params });
    let answer = host.send("POST", "/v1/streams", &body);
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.json()["details"][0]["pointer"], pointer, "{}", answer.text);
}

#[track_caller]
fn refused_change(stream: &Stream<'_>, params: Value, pointer: &str) {
    let answer = stream.patch(params);
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.json()["details"][0]["pointer"], pointer, "{}", answer.text);
}

#[test]
fn with_the_controlnet_s_name_a_stream_has_one_and_it_acts() {
    let (host, _models) = host(&["sd15", "controlnet"]);
    let stream = host.create(STEERED, params(json!({ "controlnets": net(0.0) })));
    assert_eq!(stream.object["pipeline"], STEERED);
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let free = settled(&stream, &mut seen);
    refused_change(&stream, json!({ "controlnets": [] }), "/controlnets");
    assert_eq!(stream.patch(json!({ "controlnets": net(8.0) })).status, 200);
    seen.until("it is steered", |picture| apart(picture, &free) > APART);
    let status = stream.status();
    assert!(status["data"]["host_status"]["parts_ms"][NET].as_f64() > Some(0.0), "{status}");
    assert_eq!(host.get(&stream.path()).json()["pipeline"], STEERED);

    refused(&host, STEERED, params(json!({})), "/controlnets");
    refused(&host, STEERED, params(json!({ "controlnets": [] })), "/controlnets");
    refused(&host, STEERED, params(json!({ "controlnets": [{}] })), "/controlnets/0");
    let unknown = json!({ "controlnets": net(1.0), "model_id": "no/such" });
    let answer =
        host.send("POST", "/v1/streams", &json!({ "pipeline": STEERED, "params": unknown }));
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("on offer: stabilityai/sd-turbo, "), "{}", answer.text);
}

#[test]
fn with_the_adapter_s_name_a_stream_has_one_by_default_and_it_acts() {
    let (host, _models) = host(&["sd15", "ip-adapter"]);
    let style = json!({ "ip_adapter": adapter(json!({})), "ip_adapter_style_image_url": STYLE });
    let stream = host.create(STYLED, params(style));
    assert_eq!(stream.object["pipeline"], STYLED);
    assert_eq!(stream.object["params"]["ip_adapter"]["enabled"], true, "{}", stream.object);
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let plain = settled(&stream, &mut seen);
    stream.wait_until("the picture is there", |status| {
        status["data"]["host_status"]["pictures"][0]["state"] == "ready"
    });
    refused_change(&stream, json!({ "ip_adapter": { "enabled": false } }), "/ip_adapter/enabled");
    assert_eq!(stream.patch(json!({ "ip_adapter": { "scale": 2.0 } })).status, 200);
    seen.until("it attends to the tokens", |picture| apart(picture, &plain) > APART);

    let off = json!({ "ip_adapter": adapter(json!({ "enabled": false })) });
    refused(&host, STYLED, params(off), "/ip_adapter/enabled");
    let unsteered = host.create(STYLED, params(json!({})));
    assert_eq!(unsteered.object["params"]["ip_adapter"]["enabled"], true, "{}", unsteered.object);
}

#[test]
fn the_names_are_on_offer_for_the_models_that_can_be_steered_while_both_plugins_are_there() {
    let (host, _models) = host(&["sd15", "sdxl", "controlnet", "ip-adapter"]);
    let offered = |name: &str| {
        let models = offers(&host, name).into_iter().flat_map(|offer| {
            assert_eq!(offer["name_given"]["of"], "streamdiffusion", "{offer}");
            offer["models"].as_array().cloned().expect("models by name")
        });
        let mut models: Vec<_> =
            models.map(|model| model.as_str().expect("text").to_owned()).collect();
        models.sort();
        models
    };
    let [sd15, other, turbo, xl] =
        [MODEL, "prompthero/openjourney-v4", "stabilityai/sd-turbo", "stabilityai/sdxl-turbo"];
    assert_eq!(offered(STEERED), [sd15, other, turbo, xl]);
    assert_eq!(offered(STYLED), [sd15, other, xl], "there are none for SD-Turbo");
    let body = &host.get("/openapi.json").json()["components"]["schemas"]["CreateStream"];
    let mapping = &body["discriminator"]["mapping"];
    assert!(mapping[STEERED].is_string() && mapping[STYLED].is_string(), "{mapping}");
    assert!(host.run(&["params", STEERED, "--model", MODEL]).contains("controlnets"));
    assert_eq!(plugin(&host, "controlnet")["pipelines"], json!([STEERED]));

    for base in ["sd15", "sdxl"] {
        let file = host.plugin_folder().join(library(base).file_name().expect("it has a name"));
        std::fs::remove_file(file).expect("an operator takes it away");
    }
    let gone = host.wait_for("the names are withheld", || {
        let gone = plugin(&host, "controlnet");
        gone["withheld"][0].is_object().then_some(gone)
    });
    let reason = "no plugin offers the pipeline `streamdiffusion`";
    assert_eq!(gone["withheld"], json!([{ "pipeline": STEERED, "reason": reason }]));
    assert_eq!((&gone["state"], &gone["pipelines"]), (&json!("accepted"), &json!([])));
    assert_eq!(offers(&host, STEERED), [Value::Null; 0]);
}

#[test]
fn anybody_s_plugin_gives_a_name_and_what_it_asks_for() {
    let (host, _models) = host(&["sd15", "controlnet"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    install(&c_plugin("nudge", folder.path(), |text| text), &host.plugin_folder());
    host.wait_for("it is listed", || (!offers(&host, "nudged").is_empty()).then_some(()));
    let params = |more: Value| {
        let mut params = params(more);
        params["model_id"] = json!(MODEL);
        params
    };
    let stream = host.create("nudged", params(json!({})));
    assert_eq!(stream.object["params"]["controlnets"][0]["model_id"], "nudge", "{}", stream.object);
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    stream.wait_until("it is nudged", |status| {
        status["data"]["host_status"]["parts_ms"]["nudge"].as_f64() > Some(0.0)
    });
    let others = json!({ "controlnets": [{ "model_id": NET }] });
    refused(&host, "nudged", params(others.clone()), "/controlnets");
    refused_change(&stream, others, "/controlnets");
}
