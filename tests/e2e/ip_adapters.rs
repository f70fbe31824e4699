//! IP-Adapters, as a client sees them.

use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use test_peer::{Clip, Codec, Picture};
use tests::host::Host;
use tests::libraries::{library, root};
use tests::peers::publish;

use crate::controlnets::{APART, FPS, GREY, PIPELINE, SIDE, Seen, apart, settled};
use crate::events::Events;
use crate::pictures::base64;

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

/// Pictures with a face and without one, of the plugin's own tests, as data URIs.
fn recorded(name: &str) -> String {
    let folder = root().join("plugins/ip-adapter/tests");
    let bytes = std::fs::read(folder.join("faces.safetensors")).expect("it is checked in");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensor = file.tensor(name).expect("it was recorded");
    let (height, width) = (tensor.shape()[0] as u32, tensor.shape()[1] as u32);
    let picture = image::RgbImage::from_raw(width, height, tensor.data().to_vec());
    let mut png = std::io::Cursor::new(Vec::new());
    let picture = picture.expect("three levels for each pixel");
    picture.write_to(&mut png, image::ImageFormat::Png).expect("it can be written");
    format!("data:image/png;base64,{}", base64(&png.into_inner()))
}

/// The test models, and those of the plugin's own tests.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(root().join("models/test"), folder.path().join("test")).expect("a link");
    let faces = root().join("plugins/ip-adapter/tests/models");
    for owner in ["h94", "immich-app"] {
        symlink(faces.join(owner), folder.path().join(owner)).expect("a link");
    }
    folder
}

#[test]
fn a_face_is_followed_and_a_picture_without_one_adds_nothing() {
    let models = models();
    let folder = models.path().to_string_lossy().into_owned();
    let plugins = ["sd15", "ip-adapter"].map(library);
    let host = Host::start_with(&plugins, &[("SDH_PATHS__MODELS", folder)]);
    let adapter = json!({
        "enabled": true, "type": "faceid", "scale": 0.0,
        "ipadapter_model_path": "h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15-tiny.safetensors",
    });
    let mut params = params(adapter);
    params["ip_adapter_style_image_url"] = json!(recorded("tall"));
    let stream = host.create(PIPELINE, params);
    let events = Events::of(&host, &stream);
    assert!(!stream.object["warnings"].to_string().contains("ip_adapter"), "{}", stream.object);
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let plain = settled(&stream, &mut seen);
    stream.wait_until("the picture is there", |status| {
        status["data"]["host_status"]["pictures"][0]["state"] == "ready"
    });
    let is_other = |picture: &Picture| apart(picture, &plain) > APART;
    stream.patch(json!({ "ip_adapter": { "type": "faceid", "scale": 2.0 } }));
    seen.until("it attends to the face", is_other);
    stream.patch(json!({ "ip_adapter_style_image_url": recorded("nobody") }));
    seen.until("without a face nothing is added", |picture| apart(picture, &plain) < APART / 2.0);
    let tells =
        |status: &Value| status["warnings"].to_string().contains("faceid: no face was found");
    assert!(tells(&stream.status()), "{}", stream.status());
    events.until("notice");
    stream.patch(json!({ "ip_adapter_style_image_url": recorded("wide") }));
    seen.until("it attends to another face", is_other);
    events.until("notice_over");
    let status = stream.status();
    assert!(!tells(&status), "{status}");
    assert_eq!(status["data"]["host_status"]["switched_off"], json!([]), "{status}");
    assert_eq!(status["data"]["inference_status"]["restart_count"], 0, "{status}");
}

#[test]
fn face_models_that_are_missing_are_told_with_their_licence() {
    let host = Host::start(&["sd15", "ip-adapter"].map(library));
    let stream = host.create(PIPELINE, params(json!({ "enabled": true, "type": "faceid" })));
    let warnings = stream.object["warnings"].to_string();
    for part in [
        "models pull h94/IP-Adapter-FaceID --file ip-adapter-faceid_sd15.bin",
        "models pull immich-app/buffalo_l --file detection/model.onnx",
        "not commercial",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    let _publisher = publish(&stream, &Clip::plain(GREY, Codec::Vp8, SIDE, SIDE), FPS);
    settled(&stream, &mut Seen::of(&host, &stream));
}
