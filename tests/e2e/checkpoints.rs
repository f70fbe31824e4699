//! Checkpoints that cannot be used: the stream says which file and tensor is wrong, and its media stay up.

use serde_json::{Map, Value, json};
use std::path::Path;
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::{library, root};
use tests::peers::{publish, watch};

const PIPELINE: &str = "streamdiffusion-sd15";
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const TENSOR: &str = "mid_block.attentions.0.proj_in.weight";
/// The smallest picture the pipeline takes.
const SIDE: u32 = 384;

/// Damages the header of the UNet's weights, and expects the stream to fail with a message that has all of `parts`,
/// while a viewer goes on seeing the publisher's picture.
fn check(damage: impl FnOnce(&mut Map<String, Value>), parts: &[&str]) {
    let models = tempfile::tempdir().expect("a temporary folder");
    copy(&root().join("models/test"), &models.path().join("test"));
    edit_header(&models.path().join("test/sd15-tiny").join(UNET), damage);
    let folder = models.path().to_string_lossy().into_owned();
    let host = Host::start_with(&[library("sd15")], &[("SDH_PATHS__MODELS", folder)]);
    let stream = host.create(PIPELINE, params("test/sd15-tiny"));
    expect_error(&stream, parts);
    expect_picture(&host, &stream);
    // What the operator puts right is taken up by the next stream.
    let whole = root().join("models/test/sd15-tiny").join(UNET);
    std::fs::copy(whole, models.path().join("test/sd15-tiny").join(UNET)).expect("the file again");
    let mended = host.create(PIPELINE, params("test/sd15-tiny"));
    mended.wait_until("the mended model is loaded", |status| {
        status["status"] != "loading" && status["error_message"].is_null()
    });
}

#[test]
fn a_model_that_is_not_there_is_said_at_once_and_the_demo_is_named() {
    const HINT: &str = r#""pipeline": "streamdiffusion-sd15", "params": {"model_id": "demo", "t_index_list": [32]}"#;
    let models = tempfile::tempdir().expect("a temporary folder");
    let demo = models.path().join("demo");
    std::fs::create_dir(&demo).expect("an empty folder takes a folder");
    std::fs::write(demo.join("model_index.json"), "{}").expect("the folder takes a file");
    let folder = models.path().to_string_lossy().into_owned();
    let host = Host::start_with(&[library("sd15")], &[("SDH_PATHS__MODELS", folder)]);
    let stream = host.create(PIPELINE, params("test/none"));
    let warnings = stream.object["warnings"].to_string().replace('\\', "");
    assert!(warnings.contains("test/none") && warnings.contains(HINT), "{}", stream.object);
    expect_error(&stream, &["test/none", HINT]);
    let warnings = stream.status()["warnings"].to_string().replace('\\', "");
    assert!(warnings.contains(HINT), "{warnings}");
}

fn params(model: &str) -> Value {
    json!({
        "model_id": model, "vae_id": "test/taesd-tiny", "t_index_list": [32], "width": SIDE, "height": SIDE,
    })
}

fn expect_error(stream: &Stream<'_>, parts: &[&str]) {
    let status = stream.wait_until("the stream fails", |status| status["status"] == "error");
    let message = status["error_message"].as_str().expect("an error has a message");
    println!("{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

fn expect_picture(host: &Host, stream: &Stream<'_>) {
    let clip = Clip::ball(Codec::Vp8, SIDE, SIDE);
    let _publisher = publish(stream, &clip, 10);
    let mut reader = watch(host, stream, Codec::Vp8);
    reader.frames(5);
    assert!(!reader.is_closed, "the viewer stays connected");
    assert_eq!(stream.status()["status"], "error");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Changes the header of a safetensors file: 8 bytes of its length, the header as JSON, the values.
fn edit_header(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let bytes = std::fs::read(path).expect("the weights");
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header = serde_json::from_slice(header).expect("a header of JSON");
    change(&mut header);
    let header = serde_json::to_vec(&header).expect("JSON");
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], &header, values].concat()).expect("the weights again");
}

#[test]
fn a_missing_tensor_is_named_with_its_file_and_shape() {
    check(
        |header| {
            header.remove(TENSOR).expect("the tensor was there");
        },
        &[TENSOR, UNET, "[32, 32, 1, 1]"],
    );
}

#[test]
fn a_misshapen_tensor_is_named_with_its_file_and_both_shapes() {
    check(
        |header| header[TENSOR]["shape"] = json!([16, 64, 1, 1]),
        &[TENSOR, UNET, "[32, 32, 1, 1]", "[16, 64, 1, 1]"],
    );
}

/// The stream goes on, as its params may be what is wrong, and every frame is the publisher's own.
#[test]
fn weights_that_are_no_numbers_are_told_on_the_first_frame_and_nobody_sees_black() {
    let models = tempfile::tempdir().expect("a temporary folder");
    copy(&root().join("models/test"), &models.path().join("test"));
    let unet = models.path().join("test/sd15-tiny").join(UNET);
    let mut bytes = std::fs::read(&unet).expect("the weights");
    let half = bytes.len() / 2;
    bytes[half..].fill(0xff);
    std::fs::write(&unet, bytes).expect("the weights again");
    let folder = models.path().to_string_lossy().into_owned();
    let host = Host::start_with(&[library("sd15")], &[("SDH_PATHS__MODELS", folder)]);
    let stream = host.create(PIPELINE, params("test/sd15-tiny"));
    let clip = Clip::ball(Codec::Vp8, SIDE, SIDE);
    let _publisher = publish(&stream, &clip, 10);
    let status = stream.wait_until("a frame fails", |status| !status["error_message"].is_null());
    let message = status["error_message"].to_string();
    assert!(message.contains(UNET) && message.contains("not finite"), "{message}");
    watch(&host, &stream, Codec::Vp8).frames(5);
    let status = stream.wait_until("frames fail again and again", |status| {
        status["data"]["host_status"]["drops"]["process"].as_u64() > Some(3)
    });
    assert_eq!(status["status"], "running", "{status}");
    assert_eq!(status["frames_processed"], 0, "{status}");
}

#[test]
fn an_unknown_model_is_answered_with_the_places_looked_at_and_how_to_get_it() {
    let host = Host::start(&[library("sd15")]);
    let stream = host.create(PIPELINE, params("some/model"));
    let place = root().join("models/some/model");
    expect_error(&stream, &["some/model", &place.to_string_lossy(), "models pull some/model"]);
    expect_picture(&host, &stream);
}
