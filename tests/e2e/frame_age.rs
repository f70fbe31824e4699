//! A plugin slower than the publisher: output frames stay young, and no frame goes missing uncounted.

use serde_json::{Value, json};
use test_peer::{Clip, Codec};
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::peers::{publish, watch};

/// What the plugin takes for a frame, and for a frame of the stall.
const PROCESSING_MS: u64 = 100;
const STALL_MS: u64 = 1000;
/// One call, two frame intervals at 30 fps, and what a test machine that does other things may add. The exact rule is
/// tested on a paused clock beside the runtime, and measured by `./dev bench age`.
const OLDEST_MS: f64 = PROCESSING_MS as f64 + 67.0 + 150.0;

#[test]
fn output_frames_stay_young_behind_a_slow_plugin_and_after_a_stall() {
    let host = Host::start(&[library("faulty")]);
    let stream = host.create("faulty", json!({"delay_ms": PROCESSING_MS}));
    let clip = Clip::ball(Codec::Vp8, 64, 64);
    let _publisher = publish(&stream, &clip, 30);
    let mut reader = watch(&host, &stream, Codec::Vp8);
    wait_until_young(&stream);

    stream.patch(json!({"delay_ms": STALL_MS}));
    stream.wait_until("the stall shows", |status| oldest(status) > STALL_MS as f64);
    stream.patch(json!({"delay_ms": PROCESSING_MS}));
    stream.wait_until("the stall leaves the figures", |status| oldest(status) < STALL_MS as f64);
    wait_until_young(&stream);
    reader.frames(5);

    let frames = figures(&stream.status());
    let count = |key: &str| frames[key].as_u64().unwrap_or_else(|| panic!("no {key}: {frames}"));
    assert!(count("dropped") > count("processed"), "two of three frames are dropped: {frames}");
    let known = count("processed") + count("dropped") + count("skipped") + count("set_aside");
    // One frame is at work and one may wait.
    assert!((known..=known + 2).contains(&count("received")), "{frames}");
}

fn figures(status: &Value) -> Value {
    status["data"]["host_status"]["frames"].clone()
}

fn oldest(status: &Value) -> f64 {
    figures(status)["latency_max_ms"].as_f64().unwrap_or(0.0)
}

/// Until every output frame of the last seconds was young: a frame that a busy machine held up leaves the figures, frames
/// behind a queue that stands never do.
fn wait_until_young(stream: &Stream<'_>) {
    after_frames(stream, 20);
    let young = PROCESSING_MS as f64 / 2.0..=OLDEST_MS;
    stream.wait_until("output frames are young", |status| young.contains(&oldest(status)));
}

fn after_frames(stream: &Stream<'_>, count: u64) {
    let processed = |status: &Value| status["frames_processed"].as_u64().unwrap_or(0);
    let enough = processed(&stream.status()) + count;
    stream.wait_until("frames flow", |status| processed(status) >= enough);
}
