//! How far apart sound and picture are behind a pipeline that takes its time: by the server's times, and by what Chromium
//! plays.

use crate::Verdict;
use serde_json::Value;
use tests::avsync::{flash_and_beep, slow_stream, watch};
use tests::browser;
use tests::host::Host;
use tests::libraries::library;

/// What the plugin takes for a frame: nearly all that there is at 30 fps. A slower one leaves frames out, and a flash is
/// seen with the next that it takes.
const PROCESSING_MS: u64 = 25;
const SECONDS: u64 = 300;
/// In Chromium, once.
const SECONDS_PLAYED: u64 = 60;
/// Sound may be later than that (ITU-R BT.1359: 125 ms), and in browsers is: they buffer it, and show pictures as they come.
const PLAYED_APART_MS: f64 = 125.0;
/// How far apart people take sound and picture for one (ITU-R BT.1359, sound early).
const APART_MS: f64 = 45.0;

pub fn run() -> Vec<Verdict> {
    let host = Host::start(&[library("faulty")]);
    let stream = slow_stream(&host, PROCESSING_MS);
    let _publisher = flash_and_beep(&stream);
    let lags = watch(&host, &stream, SECONDS);
    println!(
        "audio later by {:.1} ms in the mean, at most {:.1} ms apart, {} flashes, {} without a beep; host: {}",
        lags.mean(),
        lags.within(1.0),
        lags.each.len(),
        lags.silent,
        stream.status()["data"]["host_status"]["egress"],
    );
    let mut verdicts = vec![
        Verdict::new("sound and picture apart p95", lags.within(0.95), APART_MS, "ms"),
        Verdict::new("flashes without a beep", lags.silent as f64, 0.0, ""),
        Verdict::at_least("flashes", lags.each.len() as f64, SECONDS as f64 - 5.0, ""),
    ];
    let settings =
        [("WHEP_URL", stream.text("output_stream_url")), ("SECONDS", SECONDS_PLAYED.to_string())];
    let outcome = browser::run("avsync.mjs", &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    let played = outcome.json();
    println!("Chromium: {played}");
    let figure = |value: &Value| value.as_f64().unwrap_or(f64::INFINITY);
    verdicts.push(Verdict::new(
        "played apart p95",
        figure(&played["apart_p95_ms"]),
        PLAYED_APART_MS,
        "ms",
    ));
    verdicts
}
