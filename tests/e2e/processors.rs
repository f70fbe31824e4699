//! Image processors before and after diffusion, ours and others', as a client sees them.

use crate::events::Events;
use serde_json::{Value, json};
use test_peer::{Client, Clip, Codec, MediaData, Picture, decode};
use tests::host::{Host, Stream};
use tests::libraries::{c_plugin, install, library};
use tests::peers::{publish, watch};

const PIPELINE: &str = "streamdiffusion-sd15";
pub const SIDE: u32 = 128;
pub const FPS: u32 = 10;
pub const RED: u32 = 0xff_00_00;
/// What red and blue are as luma of BT.601, studio range; the codecs change it a little.
pub const RED_LUMA: u8 = 81;
pub const BLUE_LUMA: u8 = 41;

/// A stream that shows what processors make of the publisher's pictures, without diffusion in between.
pub fn params(more: Value) -> Value {
    let mut params = json!({
        "model_id": "test/sd15-tiny", "vae_id": "test/taesd-tiny", "t_index_list": [32], "width": SIDE, "height": SIDE,
        "skip_diffusion": true, "acceleration": "none",
    });
    params.as_object_mut().expect("an object").extend(more.as_object().expect("one too").clone());
    params
}

fn block(processors: Value) -> Value {
    json!({ "processors": processors })
}

/// What a reader has seen so far.
pub struct Seen {
    reader: Client,
    frames: Vec<MediaData>,
}

impl Seen {
    pub fn of(host: &Host, stream: &Stream<'_>) -> Self {
        Self { reader: watch(host, stream, Codec::Vp8), frames: Vec::new() }
    }

    /// Goes on until the last picture is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Picture) -> bool) {
        let Self { reader, frames } = self;
        reader.until(what, |_, new| {
            let is_news = !new.is_empty();
            frames.extend(new);
            let last = is_news.then(|| decode(Codec::Vp8, frames).pop()).flatten();
            last.is_some_and(|picture| is_so(&picture))
        });
    }

    pub fn until_luma(&mut self, luma: u8) {
        self.until(&format!("the luma is {luma}"), |picture| picture.middle().abs_diff(luma) < 8);
    }
}

#[test]
fn one_in_c_is_used_by_name_once_its_file_is_dropped_in() {
    let host = Host::start(&[library("sd15")]);
    let swap = json!({ "image_preprocessing": block(json!([{ "type": "swap" }])) });
    let body = json!({ "pipeline": PIPELINE, "params": params(swap.clone()) });
    assert_eq!(host.send("POST", "/v1/streams", &body).status, 400, "nobody has it yet");
    let stream = host.create(PIPELINE, params(json!({})));
    let _publisher = publish(&stream, &Clip::plain(RED, Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    seen.until_luma(RED_LUMA);
    let folder = tempfile::tempdir().expect("a temporary folder");
    install(&c_plugin("swap", folder.path(), |text| text), &host.plugin_folder());
    host.wait_for("it is taken", || (stream.patch(swap.clone()).status == 200).then_some(()));
    seen.until_luma(BLUE_LUMA);
    let status = stream.status();
    let took = status["data"]["host_status"]["parts_ms"]["swap"].as_f64();
    assert!(took.is_some_and(|took| took > 0.0), "{status}");
    let off = json!({ "enabled": false, "processors": [] });
    stream.patch(json!({ "image_preprocessing": off }));
    seen.until_luma(RED_LUMA);
}

#[test]
fn a_change_of_size_reaches_viewers_without_a_reconnect() {
    let host = Host::start(&[library("sd15"), library("processors")]);
    let stream = host.create(PIPELINE, params(json!({})));
    let _publisher = publish(&stream, &Clip::ball(Codec::Vp8, SIDE, SIDE), FPS);
    let mut seen = Seen::of(&host, &stream);
    let has_side = |side: u32| move |picture: &Picture| picture.width == side;
    seen.until("the first pictures", has_side(SIDE));
    let upscale = |factor: f64| {
        let one = json!({ "type": "upscale", "params": { "scale_factor": factor } });
        json!({ "image_postprocessing": block(json!([one])) })
    };
    stream.patch(upscale(2.0));
    seen.until("they are twice as wide", has_side(2 * SIDE));
    stream.patch(upscale(1.5));
    seen.until("they are half as wide again", has_side(3 * SIDE / 2));
    assert!(!seen.reader.is_closed, "all by one connection");
}

#[test]
fn params_that_a_processor_does_not_know_are_told_and_left_out() {
    let host = Host::start(&[library("sd15"), library("processors")]);
    let blur = json!([{ "type": "blur", "params": { "radius": 3 } }]);
    let stream = host.create(PIPELINE, params(json!({ "image_preprocessing": block(blur) })));
    let warnings = stream.object["warnings"].to_string();
    assert!(warnings.contains("blur has no param radius"), "{warnings}");
    stream.wait_until("it runs", |status| status["status"] == "running");
    assert!(stream.status()["warnings"].to_string().contains("radius"));
}

#[test]
fn one_whose_network_is_missing_is_told_and_left_out() {
    let host = Host::start(&[library("sd15"), library("processors")]);
    let hed = json!({ "image_preprocessing": block(json!([{ "type": "hed" }])) });
    let stream = host.create(PIPELINE, params(hed));
    let warnings = stream.object["warnings"].to_string();
    assert!(warnings.contains("`image_preprocessing` has no effect now: hed:"), "{warnings}");
    assert!(
        warnings.contains("models pull lllyasviel/Annotators --file ControlNetHED.pth"),
        "{warnings}"
    );
    let _publisher = publish(&stream, &Clip::plain(RED, Codec::Vp8, SIDE, SIDE), FPS);
    Seen::of(&host, &stream).until_luma(RED_LUMA);
    let status = stream
        .wait_until("frames go through", |status| status["frames_processed"].as_u64() > Some(0));
    assert_eq!(status["data"]["host_status"]["switched_off"][0]["name"], "hed", "{status}");
}

#[test]
fn one_that_crashes_costs_a_restart_and_comes_back_switched_off() {
    let host = Host::start(&[library("sd15"), library("faulty")]);
    let faulty = json!([{ "type": "faulty", "params": { "fault": "abort", "at_frame": 3 } }]);
    let stream = host.create(PIPELINE, params(json!({ "image_preprocessing": block(faulty) })));
    let events = Events::of(&host, &stream);
    let _publisher = publish(&stream, &Clip::plain(RED, Codec::Vp8, SIDE, SIDE), FPS);
    events.until("switched_off");
    events.until("plugin_recovered");
    let status = stream.wait_until("frames go through again", |status| {
        status["frames_processed"].as_u64() > Some(8)
    });
    let inside = &status["data"]["host_status"];
    assert_eq!(inside["switched_off"][0]["name"], "faulty", "{status}");
    assert!(inside["switched_off"][0]["reason"].to_string().contains("signal"), "{status}");
    assert_eq!(status["data"]["inference_status"]["restart_count"], 1, "{status}");
    Seen::of(&host, &stream).until_luma(RED_LUMA);
}
