//! How old the input of an output frame is when a plugin is slower than the publisher: the newest frame wins, so the
//! age stays bounded, also after a stall.

use crate::Verdict;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use tests::browser;
use tests::host::{Host, Stream};
use tests::libraries::library;

/// What the plugin takes for a frame, and what it takes for the frames of the stall.
const PROCESSING_MS: u64 = 100;
const STALL_MS: u64 = 1000;
/// One call and two frame intervals at 30 fps.
const OLDEST_MS: f64 = PROCESSING_MS as f64 + 2.0 * 1000.0 / 30.0;
const SECONDS: u64 = 60;

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("faulty")]);
    let params = json!({"width": 512, "height": 512, "delay_ms": PROCESSING_MS});
    let stream = host.create("faulty", params);
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("SECONDS", (2 * SECONDS).to_string()),
    ];
    thread::scope(|scope| {
        let clock = scope.spawn(|| browser::run("pixel-clock/pixel-clock.mjs", &settings));
        stream.wait_until("frames flow", |status| status["frames_processed"].as_u64() > Some(30));
        let steady = oldest(&stream, SECONDS);
        stall(&stream);
        let after = oldest(&stream, SECONDS / 4);
        let frames = stream.status()["data"]["host_status"]["frames"].clone();
        println!("frames: {frames}");
        stream.delete();
        let _ = clock.join();
        let dropped = frames["dropped"].as_f64().unwrap_or(0.0);
        vec![
            Verdict::new("oldest input of an output frame in a minute", steady, OLDEST_MS, "ms"),
            Verdict::new("oldest input after a stall", after, OLDEST_MS, "ms"),
            Verdict::new(
                "frames neither processed nor counted as dropped",
                missing(&frames),
                2.0,
                "frames",
            ),
            Verdict::new("a minute without a counted drop", f64::from(dropped < 1.0), 0.0, ""),
        ]
    })
}

/// The largest age the server reports within some seconds.
fn oldest(stream: &Stream<'_>, seconds: u64) -> f64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut oldest: f64 = 0.0;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(500));
        let age = &stream.status()["data"]["host_status"]["frames"]["latency_max_ms"];
        oldest = oldest.max(age.as_f64().unwrap_or(f64::INFINITY));
    }
    oldest
}

/// Slows the plugin down for at least one frame, and waits until the figures have shown and forgotten it.
fn stall(stream: &Stream<'_>) {
    let age = |status: &Value| {
        status["data"]["host_status"]["frames"]["latency_max_ms"].as_f64().unwrap_or(0.0)
    };
    stream.patch(json!({ "delay_ms": STALL_MS }));
    stream.wait_until("the stall shows", |status| age(status) > STALL_MS as f64);
    // Answered after a call of the old length, so that the last slow one has ended and shows.
    stream.patch_and_wait(json!({ "delay_ms": PROCESSING_MS }));
    stream.wait_until("the stall leaves the figures", |status| age(status) < STALL_MS as f64);
}

fn missing(frames: &Value) -> f64 {
    let count = |key: &str| frames[key].as_f64().unwrap_or(0.0);
    count("received")
        - count("processed")
        - count("dropped")
        - count("skipped")
        - count("set_aside")
}
