//! Glass to glass with passthrough in a worker: the age of a painted pixel when a viewer sees it.

use crate::Verdict;
use serde_json::{Value, json};
use tests::browser;
use tests::host::Host;
use tests::libraries::library;

/// Viewers at once, and the bars for the median and for nineteen of twenty pictures, in milliseconds.
const RUNS: [(usize, f64, Option<f64>); 2] = [(1, 22.0, Some(40.0)), (8, 30.0, None)];

/// For a player that knows low-latency HLS, in milliseconds.
const HLS_P50: f64 = 1500.0;

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("passthrough")]);
    let runs = RUNS.iter().flat_map(|&(viewers, p50, p95)| measure(&host, viewers, p50, p95));
    runs.chain([by_hls(&host)]).collect()
}

/// The same clock, played by hls.js.
fn by_hls(host: &Host) -> Verdict {
    let stream = host.create("passthrough", json!({"width": 512, "height": 512}));
    let settings =
        [("WHIP_URL", stream.text("whip_url")), ("HLS_URL", stream.text("output_hls_url"))];
    let outcome = browser::run("hls.mjs", &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    let result = outcome.json();
    println!("HLS: {result}");
    let p50 = result["glass_to_glass_ms"]["p50"].as_f64().unwrap_or(f64::INFINITY);
    Verdict::new("HLS: glass to glass p50".to_owned(), p50, HLS_P50, "ms")
}

fn measure(host: &Host, viewers: usize, p50: f64, p95: Option<f64>) -> Vec<Verdict> {
    let result = clock(host, viewers, 10);
    let age = &result["glass_to_glass_ms"];
    let each = result["viewers"].as_array().expect("one entry a viewer");
    let largest = |key: &dyn Fn(&Value) -> &Value| {
        each.iter().filter_map(|viewer| key(viewer).as_f64()).fold(0.0, f64::max)
    };
    println!(
        "{viewers} viewers: glass to glass {age}, {} fps sent, {} fps shown, jitter buffer {} ms, server {}, load {}",
        result["publisher"]["fps"],
        each[0]["shown_fps"],
        each[0]["jitter_buffer_ms"],
        result["server"],
        result["load_average"][0],
    );
    let name = |what: &str| format!("{viewers} viewers: {what}");
    let figure = |value: &Value| value.as_f64().unwrap_or(f64::INFINITY);
    let mut verdicts = vec![
        Verdict::new(name("glass to glass p50"), figure(&age["p50"]), p50, "ms"),
        Verdict::new(name("unreadable frames"), largest(&|v| &v["unreadable"]), 0.0, "frames"),
        Verdict::new(
            name("slowest first frame"),
            largest(&|v| &v["whep"]["first_frame_ms"]),
            1000.0,
            "ms",
        ),
    ];
    if let Some(p95) = p95 {
        verdicts.push(Verdict::new(name("glass to glass p95"), figure(&age["p95"]), p95, "ms"));
    }
    verdicts
}

/// Publishes the clock to a fresh passthrough stream for some seconds, and gives what the viewers read.
pub fn clock(host: &Host, viewers: usize, seconds: u32) -> Value {
    let stream = host.create("passthrough", json!({"width": 512, "height": 512}));
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("VIEWERS", viewers.to_string()),
        ("SECONDS", seconds.to_string()),
        ("SERVER_PID", host.pid().to_string()),
    ];
    let outcome = browser::run("pixel-clock/pixel-clock.mjs", &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    outcome.json()
}
