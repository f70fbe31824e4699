//! `use_safety_checker`, as a client sees it: pictures that do not pass are not seen, and where nobody looks that is said.

use crate::events::Events;
use crate::processors::{BLUE_LUMA, FPS, RED, RED_LUMA, SIDE, Seen, params};
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::{library, root};
use tests::peers::publish;

const PIPELINE: &str = "streamdiffusion-sd15";
const MODEL: &str = "spiele/nsfw_image_detector-ONNX/onnx/model.onnx";
const BLUE: u32 = 0x00_00_ff;
/// As luma, like those of the colours.
const BLACK_LUMA: u8 = 16;
const UNCHECKED: &str = "pictures are shown unchecked";

/// The test models, and a classifier, which takes red for unsafe, or another file in its place.
fn models(classifier: &Path) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(root().join("models/test"), folder.path().join("test")).expect("a link");
    let place = folder.path().join(MODEL);
    std::fs::create_dir_all(place.parent().expect("it has one")).expect("a folder");
    std::fs::copy(root().join("plugins/processors/tests/models").join(classifier), place)
        .expect("the file is there");
    folder
}

fn host(models: &TempDir) -> Host {
    let folder = models.path().to_string_lossy().into_owned();
    Host::start_with(&["sd15", "processors"].map(library), &[("SDH_PATHS__MODELS", folder)])
}

fn checked(host: &Host) -> Stream<'_> {
    host.create(PIPELINE, params(json!({ "use_safety_checker": true })))
}

#[test]
fn unsafe_pictures_are_replaced_by_the_last_safe_one_and_all_of_it_is_hot() {
    let models = models(Path::new(MODEL));
    let host = host(&models);
    let stream = checked(&host);
    assert!(!stream.object["warnings"].to_string().contains(UNCHECKED), "{}", stream.object);
    let clip = |colour: u32| Clip::plain(colour, Codec::Vp8, SIDE, SIDE);
    let red = publish(&stream, &clip(RED), FPS);
    let mut seen = Seen::of(&host, &stream);
    seen.until_luma(BLACK_LUMA);
    stream.patch_and_wait(json!({ "safety_checker_threshold": 0.999 }));
    seen.until_luma(RED_LUMA);
    stream.patch_and_wait(json!({ "safety_checker_threshold": 0.5 }));
    drop(red);
    let blue = publish(&stream, &clip(BLUE), FPS);
    seen.until_luma(BLUE_LUMA);
    drop(blue);
    let _red = publish(&stream, &clip(RED), FPS);
    let count = |status: &serde_json::Value| status["frames_processed"].as_u64();
    let before = count(&stream.status()).expect("a number");
    stream.wait_until("red was judged", |status| count(status) > Some(before + 5));
    // One that comes now has seen nothing of what was before.
    Seen::of(&host, &stream).until_luma(BLUE_LUMA);
    stream.patch_and_wait(json!({ "use_safety_checker": false }));
    seen.until_luma(RED_LUMA);
    stream.patch_and_wait(json!({ "use_safety_checker": true }));
    seen.until_luma(BLACK_LUMA);
    let status = stream.status();
    let inside = &status["data"]["host_status"];
    assert_eq!(inside["switched_off"], json!([]), "{status}");
    assert!(
        inside["parts_ms"]["safety_checker"].as_f64().is_some_and(|took| took > 0.0),
        "{status}"
    );
    assert_eq!(status["data"]["inference_status"]["restart_count"], 0, "{status}");
}

#[test]
fn without_file_or_plugin_or_where_it_errs_the_stream_goes_on_and_says_that_nobody_looks() {
    let pull = "models pull spiele/nsfw_image_detector-ONNX --file onnx/model.onnx";
    for (plugins, reason) in
        [(&["sd15", "processors"][..], pull), (&["sd15"], "no installed plugin has it")]
    {
        let libraries: Vec<_> = plugins.iter().map(|name| library(name)).collect();
        let host = Host::start(&libraries);
        let stream = checked(&host);
        let warnings = stream.object["warnings"].to_string();
        assert!(
            warnings.contains("use_safety_checker") && warnings.contains(UNCHECKED),
            "{warnings}"
        );
        assert!(plugins.len() == 1 || warnings.contains(pull), "{warnings}");
        unchecked(&host, &stream, reason);
    }
    // A network that is none of the kind.
    let other = models(Path::new("Xenova/dpt-hybrid-midas/onnx/model.onnx"));
    let host = host(&other);
    let stream = checked(&host);
    unchecked(&host, &stream, "four finite scores");
}

/// That red is seen, and that it is told that it was not looked at.
fn unchecked(host: &Host, stream: &Stream<'_>, reason: &str) {
    let events = Events::of(host, stream);
    let _publisher = publish(stream, &Clip::plain(RED, Codec::Vp8, SIDE, SIDE), FPS);
    Seen::of(host, stream).until_luma(RED_LUMA);
    events.until("switched_off");
    let status = stream
        .wait_until("frames go through", |status| status["frames_processed"].as_u64() > Some(1));
    let off = &status["data"]["host_status"]["switched_off"][0];
    assert_eq!(off["name"], "safety_checker", "{status}");
    let told = off["reason"].as_str().expect("a text");
    assert!(told.starts_with(UNCHECKED) && told.contains(reason), "{told}");
}
