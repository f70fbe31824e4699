//! ControlNets, ours and others', as a client sees them.

use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use test_peer::{Client, Clip, Codec, MediaData, Picture, decode};
use tests::host::{Host, Stream};
use tests::libraries::{c_plugin, install, library, root};
use tests::peers::{publish, watch};

use crate::events::Events;

pub(crate) const PIPELINE: &str = "streamdiffusion-sd15";
const NET: &str = "test/controlnet-sd15-a-tiny";
pub(crate) const SIDE: u32 = 64;
pub(crate) const FPS: u32 = 10;
pub(crate) const GREY: u32 = 0x80_80_80;
/// Two pictures whose luma differs by as much on average are others; the codec alone makes less.
pub(crate) const APART: f64 = 4.0;

fn params(controlnets: Value) -> Value {
    json!({
        "model_id": "test/sd15-tiny", "vae_id": "test/taesd-tiny", "t_index_list": [32], "width": SIDE, "height": SIDE,
        "acceleration": "none", "controlnets": controlnets,
    })
}

pub(crate) fn apart(a: &Picture, b: &Picture) -> f64 {
    let pairs = a.luma.iter().zip(&b.luma);
    pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.luma.len() as f64
}

/// What a reader sees of pictures that are made of the same frame again and again.
pub(crate) struct Seen {
    reader: Client,
    frames: Vec<MediaData>,
}

impl Seen {
    pub(crate) fn of(host: &Host, stream: &Stream<'_>) -> Self {
        Self { reader: watch(host, stream, Codec::Vp8), frames: Vec::new() }
    }

    /// The next picture that is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Picture) -> bool) -> Picture {
        let Self { reader, frames } = self;
        let mut found = None;
        reader.until(what, |_, new| {
            let is_news = !new.is_empty();
            frames.extend(new);
            let last = is_news.then(|| decode(Codec::Vp8, frames).pop()).flatten();
            found = last.filter(|picture| is_so(picture));
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

/// Waits until frames go through the networks and gives the stream's picture.
pub(crate) fn settled(stream: &Stream<'_>, seen: &mut Seen) -> Picture {
    let status = stream
        .wait_until("frames go through", |status| status["frames_processed"].as_u64() > Some(2));
    assert_eq!(status["status"], "running", "{status}");
    seen.until("a picture that is not the frame itself", |picture| {
        let grey = picture.luma.iter().filter(|luma| luma.abs_diff(126) < 3).count();
        grey < picture.luma.len() / 2
    })
}

#[test]
fn scales_are_hot_and_seen_each_for_itself() {
    let plugins = ["sd15", "controlnet", "processors"].map(library);
    let host = Host::start(&plugins);
    let one = |scale: f64| json!([{ "model_id": NET, "preprocessor": "canny", "conditioning_scale": scale }]);
    let stream = host.create(PIPELINE, params(one(0.0)));
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let free = settled(&stream, &mut seen);
    let answer = stream.patch(json!({ "controlnets": one(8.0) }));
    assert_eq!(answer.status, 200, "{}", answer.json());
    seen.until("it is steered", |picture| apart(picture, &free) > APART);
    let status = stream.status();
    let parts = &status["data"]["host_status"]["parts_ms"];
    assert!(parts[NET].as_f64() > Some(0.0), "{status}");
    assert_eq!(
        status["data"]["inference_status"]["restart_count"], 0,
        "the scale is hot: {status}"
    );
    stream.patch(json!({ "controlnets": one(0.0) }));
    seen.until("it is free again", |picture| apart(picture, &free) < APART / 2.0);
}

#[test]
fn one_in_c_steers_by_its_name_once_its_file_is_dropped_in() {
    let host = Host::start(&[library("sd15"), library("controlnet")]);
    let stream = host.create(PIPELINE, params(json!([])));
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let free = settled(&stream, &mut seen);
    let folder = tempfile::tempdir().expect("a temporary folder");
    install(&c_plugin("nudge", folder.path(), |text| text), &host.plugin_folder());
    host.wait_for("it is listed", || {
        let plugins = host.get("/v1/plugins").json().to_string();
        plugins.contains("c-nudge").then_some(())
    });
    stream.patch(json!({ "controlnets": [{ "model_id": "nudge", "conditioning_scale": 1.0 }] }));
    seen.until("it is steered", |picture| apart(picture, &free) > APART);
    let status = stream.status();
    assert_eq!(status["data"]["host_status"]["switched_off"], json!([]), "{status}");
}

#[test]
fn one_that_is_not_here_is_told_and_the_stream_goes_on_without_it() {
    let host = Host::start(&[library("sd15"), library("controlnet")]);
    let stream = host.create(PIPELINE, params(json!([{ "model_id": "nobody/has-it" }])));
    let warnings = stream.object["warnings"].to_string();
    assert!(warnings.contains("models pull nobody/has-it"), "{warnings}");
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    settled(&stream, &mut Seen::of(&host, &stream));
    let off = &stream.status()["data"]["host_status"]["switched_off"][0];
    assert_eq!(off["name"], "nobody/has-it");
}

#[test]
fn channels_that_a_network_does_not_take_are_refused_where_they_stand() {
    let host = Host::start(&[library("sd15"), library("controlnet")]);
    let six = json!([{ "model_id": NET, "conditioning_channels": 6 }]);
    let answer =
        host.send("POST", "/v1/streams", &json!({ "pipeline": PIPELINE, "params": params(six) }));
    let text = answer.json().to_string();
    assert_eq!(answer.status, 400, "{text}");
    assert!(
        text.contains("/controlnets/0/conditioning_channels") && text.contains("takes 3"),
        "{text}"
    );
}

/// A ControlNet of SDXL's size, whose file has nothing in it and takes no room on the disk.
fn hollow_net(folder: &Path, bytes: u64) {
    std::fs::create_dir_all(folder).expect("a folder for the net");
    let config = json!({
        "in_channels": 4, "cross_attention_dim": 2048, "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
        "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "use_linear_projection": true, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("its config");
    let weights = File::create(folder.join("diffusion_pytorch_model.safetensors"));
    weights.and_then(|file| file.set_len(bytes)).expect("a file with a hole");
}

#[test]
fn three_for_sdxl_that_do_not_fit_are_refused_before_loading_and_one_is_told() {
    const NET_BYTES: u64 = 2_502_139_104;
    let models = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink(root().join("models/test"), models.path().join("test"))
        .expect("a link to the models");
    let names = ["org/one", "org/two", "org/three"];
    for name in names {
        hollow_net(&models.path().join(name), NET_BYTES);
    }
    let settings = [
        ("SDH_PATHS__MODELS", models.path().display().to_string()),
        ("SDH_STREAMS__MEMORY_MB", "6000".to_owned()),
    ];
    let host = Host::start_with(&[library("sdxl"), library("controlnet")], &settings);
    let create = |names: &[&str]| {
        let nets: Vec<Value> = names.iter().map(|name| json!({ "model_id": name })).collect();
        let params = json!({
            "model_id": "test/sdxl-tiny", "vae_id": "test/taesdxl-tiny", "width": SIDE, "height": SIDE,
            "t_index_list": [0], "controlnets": nets,
        });
        host.send(
            "POST",
            "/v1/streams",
            &json!({ "pipeline": "streamdiffusion-sdxl", "params": params }),
        )
    };
    let refused = create(&names);
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("of 6000 MiB"), "{}", refused.text);
    let created = create(&names[..1]);
    assert_eq!(created.status, 201, "{}", created.text);
    let status = Stream::of(&host, created.json()).status();
    let inside = &status["data"]["host_status"];
    assert_eq!(inside["parts_bytes"], json!({ "org/one": NET_BYTES }), "{status}");
    assert!(inside["memory_bytes"].as_u64() > Some(NET_BYTES), "{status}");
}

#[test]
fn one_that_fails_is_switched_off_and_the_stream_goes_on() {
    let host = Host::start(&[library("sd15"), library("faulty")]);
    for (name, reason, restarts) in [
        ("faulty-error", "told to fail", 0),
        ("faulty-panic", "told to panic", 0),
        ("faulty-abort", "signal", 1),
    ] {
        let stream = host.create(PIPELINE, params(json!([{ "model_id": name }])));
        let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
        let status = stream.wait_until("it goes on without", |status| {
            let off = &status["data"]["host_status"]["switched_off"][0];
            off["name"] == name && status["frames_processed"].as_u64() > Some(4)
        });
        let inside = &status["data"]["host_status"];
        assert!(inside["switched_off"][0]["reason"].to_string().contains(reason), "{status}");
        assert_eq!(status["data"]["inference_status"]["restart_count"], restarts, "{status}");
        stream.delete();
    }
}

#[test]
fn one_that_crashes_or_hangs_costs_streams_of_one_worker_a_restart_and_is_off_where_it_was_used() {
    let seconds = "10".to_owned();
    let limits = ["FRAME", "LOAD"].map(|name| format!("SDH_PLUGINS__{name}_LIMIT_SECONDS"));
    let settings = limits.each_ref().map(|name| (name.as_str(), seconds.clone()));
    let host =
        Host::start_with(&["sd15", "controlnet", "processors", "faulty"].map(library), &settings);
    let clip = Clip::plain(GREY, Codec::Vp8, SIDE, SIDE);
    for name in ["faulty-abort", "faulty-hang"] {
        let net = json!([{ "model_id": NET, "preprocessor": "canny" }]);
        let other = host.create(PIPELINE, params(net));
        let _publisher = publish(&other, &clip, FPS);
        other.wait_until("its frames are steered", is_steered);
        let stream = host.create(PIPELINE, params(json!([{ "model_id": name }])));
        let events = Events::of(&host, &stream);
        let _publisher = publish(&stream, &clip, FPS);
        let told = events.until("plugin_recovered");
        for event in ["switched_off", "plugin_crashed"] {
            assert!(told.contains(&event.to_owned()), "{name}: {told:?}");
        }
        let status = stream.wait_until("it goes on without", |status| {
            status["data"]["host_status"]["switched_off"][0]["name"] == name
                && status["frames_processed"].as_u64() > Some(4)
        });
        assert_eq!(status["data"]["inference_status"]["restart_count"], 1, "{status}");
        let status = other.wait_until("its frames are steered again", |status| {
            status["data"]["inference_status"]["restart_count"] == 1 && is_steered(status)
        });
        assert_eq!(status["data"]["host_status"]["switched_off"], json!([]), "{status}");
        other.delete();
        stream.delete();
    }
}

fn is_steered(status: &Value) -> bool {
    status["status"] == "running"
        && status["data"]["host_status"]["parts_ms"][NET].as_f64() > Some(0.0)
}
