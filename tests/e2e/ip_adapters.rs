//! IP-Adapters, as a client sees them.

use serde_json::{Value, json};
use test_peer::{Clip, Codec, Picture};
use tests::host::Host;
use tests::libraries::library;
use tests::peers::publish;

use crate::controlnets::{APART, FPS, GREY, PIPELINE, SIDE, Seen, apart, settled};

fn params(adapter: Value) -> Value {
    json!({
        "model_id": "test/sd15-tiny", "vae_id": "test/taesd-tiny", "t_index_list": [32], "width": SIDE, "height": SIDE,
        "acceleration": "none", "ip_adapter": adapter, "ip_adapter_style_image_url": STYLE,
    })
}

/// A picture of eight pixels by eight.
pub(crate) const STYLE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAbElEQVR4nA3JQQEAMAgDMZSgpEqqhOepQAlKqmjLN1VFFypcTLHFFSmqmm7UuJlmm2vSP0QLCYsRK05EP0wbGZsxa87EP4YeNHiYYYcbMj+WXrR4mWWXW7I/jj50+JhjjztyP0IHBYcJGy4kPLAsVIExyOP/AAAAAElFTkSuQmCC";

fn adapter(scale: f64) -> Value {
    json!({
        "enabled": true, "scale": scale, "image_encoder_path": "test/image-encoder-tiny",
        "ipadapter_model_path": "test/ip-adapter-sd15-tiny/ip-adapter.safetensors",
    })
}

#[test]
fn the_scale_is_hot_and_seen() {
    let host = Host::start(&["sd15", "ip-adapter"].map(library));
    let stream = host.create(PIPELINE, params(adapter(0.0)));
    assert!(!stream.object["warnings"].to_string().contains("ip_adapter"), "{}", stream.object);
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let plain = settled(&stream, &mut seen);
    stream.wait_until("the picture is there", |status| {
        status["data"]["host_status"]["pictures"][0]["state"] == "ready"
    });
    let is_other = |picture: &Picture| apart(picture, &plain) > APART;
    let answer = stream.patch(json!({ "ip_adapter": { "scale": 2.0 } }));
    assert_eq!(answer.status, 200, "{}", answer.json());
    seen.until("it attends to the tokens", is_other);
    let status = stream.status();
    let inside = &status["data"]["host_status"];
    assert_eq!(inside["switched_off"], json!([]), "{status}");
    assert_eq!(status["data"]["inference_status"]["restart_count"], 0, "it is hot: {status}");
    stream.patch(json!({ "ip_adapter": { "scale": 0.0 } }));
    seen.until("it is as before", |picture| apart(picture, &plain) < APART / 2.0);
    stream.patch(json!({ "ip_adapter": { "scale": 2.0 } }));
    seen.until("it attends to them again", is_other);
    let answer = stream.patch(json!({ "ip_adapter_style_image_url": "" }));
    assert!(answer.text.contains("no picture to take the style from"), "{}", answer.text);
    seen.until("without a picture nothing is added", |picture| {
        apart(picture, &plain) < APART / 2.0
    });
}

#[test]
fn without_a_plugin_or_its_files_the_stream_goes_on_and_says_why() {
    for (plugins, adapter, reason) in [
        (&["sd15"][..], json!({ "enabled": true }), "regular"),
        (
            &["sd15", "ip-adapter"],
            json!({ "enabled": true, "ipadapter_model_path": "nobody/has-it/a.safetensors" }),
            "models pull nobody/has-it --file a.safetensors",
        ),
        (
            &["sd15", "ip-adapter"],
            json!({
                "enabled": true, "image_encoder_path": "test/image-encoder-tiny",
                "ipadapter_model_path": "test/ip-adapter-sdxl-tiny/ip-adapter.safetensors",
            }),
            "does not fit the model",
        ),
    ] {
        let libraries: Vec<_> = plugins.iter().map(|name| library(name)).collect();
        let host = Host::start(&libraries);
        let stream = host.create(PIPELINE, params(adapter));
        assert!(stream.object["warnings"].to_string().contains(reason), "{}", stream.object);
        let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
        settled(&stream, &mut Seen::of(&host, &stream));
    }
}
