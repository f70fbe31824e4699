//! The main job, steered: a camera in a browser, two ControlNets and an IP-Adapter, and each of their scales changed while a
//! viewer watches.

use crate::ip_adapters::STYLE;
use serde_json::{Value, json};
use std::path::Path;
use tests::browser;
use tests::host::Host;
use tests::libraries::{library, root};

const PIPELINE: &str = "streamdiffusion-sd15";
const SIDE: u32 = 64;
const NETS: [(&str, &str); 2] = [("org/edges", "canny"), ("org/tile", "passthrough")];
/// Pictures whose values differ by as much on average are others; the codec alone makes less.
const APART: f64 = 4.0;
/// One was being made when the change came, one more was on its way to the viewer.
const MOST_LATE: usize = 2;

fn link(models: &Path, from: &str, to: &str) {
    let to = models.join(to);
    let folder = to.parent().expect("it lies in a folder");
    std::fs::create_dir_all(folder).expect("a folder for it");
    std::os::unix::fs::symlink(root().join("models/test").join(from), to).expect("a link");
}

fn nets(scales: [f64; 2]) -> Value {
    let net = |((name, preprocessor), scale): (&(&str, &str), f64)| json!({ "model_id": name, "preprocessor": preprocessor, "conditioning_scale": scale });
    NETS.iter().zip(scales).map(net).collect()
}

/// Small pictures of every frame that the viewer saw.
fn frames(seen: &Value) -> Vec<Vec<f64>> {
    let rgb = |frame: &Value| {
        let values = frame["rgb"].as_array().expect("a picture has pixels").iter();
        values.map(|value| value.as_f64().expect("a pixel is a number")).collect()
    };
    seen["frames"].as_array().expect("frames").iter().map(rgb).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

#[test]
fn the_scale_of_each_controlnet_and_of_the_adapter_is_seen_at_once() {
    let models = tempfile::tempdir().expect("a temporary folder");
    for (from, to) in
        [("", "test"), ("controlnet-sd15-a-tiny", NETS[0].0), ("controlnet-sd15-a-tiny", NETS[1].0)]
    {
        link(models.path(), from, to);
    }
    let plugins = ["sd15", "controlnet", "ip-adapter", "processors"].map(library);
    let setting = ("SDH_PATHS__MODELS", models.path().display().to_string());
    let host = Host::start_with(&plugins, &[setting]);
    let stream = host.create(
        PIPELINE,
        json!({
            "model_id": "test/sd15-tiny", "vae_id": "test/taesd-tiny", "t_index_list": [32], "width": SIDE,
            "height": SIDE, "acceleration": "none", "controlnets": nets([0.0, 0.0]),
            "ip_adapter_style_image_url": STYLE,
            "ip_adapter": {
                "enabled": true, "scale": 0.0, "image_encoder_path": "test/image-encoder-tiny",
                "ipadapter_model_path": "test/ip-adapter-sd15-tiny/ip-adapter.safetensors",
            },
        }),
    );
    let changes = [
        json!({ "params": { "controlnets": nets([8.0, 0.0]) } }),
        json!({ "params": { "controlnets": nets([0.0, 8.0]) } }),
        json!({ "params": { "controlnets": nets([0.0, 0.0]) } }),
        json!({ "params": { "ip_adapter": { "scale": 2.0 } } }),
    ];
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("PATCH_URL", host.url(&stream.path())),
        ("STATUS_URL", host.url(&format!("{}/status", stream.path()))),
        ("PATCH_BODIES", Value::from(changes.to_vec()).to_string()),
        ("CAMERA", root().join("tests/e2e/data/astronaut.y4m").to_string_lossy().into_owned()),
    ];
    let seen = browser::run("main-job.mjs", &settings);
    assert!(seen.is_success, "{}", seen.output);
    let seen = seen.json();
    let all: Vec<_> = seen["prompts"].as_array().expect("changes").iter().map(frames).collect();
    assert_eq!(all.len(), 1 + changes.len());
    for (change, pair) in changes.iter().zip(all.windows(2)) {
        let [before, after] = [&pair[0], &pair[1]].map(|frames| frames.last().expect("a frame"));
        let apart = distance(before, after);
        let is_new = |frame: &Vec<f64>| distance(frame, after) < distance(frame, before);
        let late = pair[1].iter().position(is_new).expect("the last one is");
        println!("{change}: {apart:.1} apart, {late} frames late");
        assert!(apart > APART, "{change} is not seen: {apart:.1}");
        assert!(late <= MOST_LATE, "{late} frames after {change} are as before");
    }
    let inside = &seen["status"]["data"]["host_status"];
    assert_eq!(inside["switched_off"], json!([]), "{seen}");
    for (name, _) in NETS {
        assert!(inside["parts_bytes"][name].as_u64() > Some(0), "{inside}");
    }
}
