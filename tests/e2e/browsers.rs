//! What real browsers do with the server.

use serde_json::json;
use tests::browser;
use tests::host::Host;
use tests::libraries::library;

#[test]
fn the_daydream_browser_client_works_unmodified() {
    let host = Host::start(&[library("passthrough"), library("sd15")]);
    let outcome = browser::run("conformance/run.mjs", &[("BASE_URL", host.url("/"))]);
    println!("{}", outcome.output);
    assert!(outcome.is_success, "{}", outcome.output);
    assert!(outcome.output.contains("PASS player: frames decoded"), "{}", outcome.output);
}

#[test]
fn every_frame_of_the_clock_is_readable_at_the_viewer() {
    let host = Host::start(&[library("passthrough")]);
    let stream = host.create("passthrough", json!({"width": 512, "height": 512}));
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("SECONDS", "4".into()),
        ("WARMUP", "1".into()),
    ];
    let result = browser::run("pixel-clock/pixel-clock.mjs", &settings).json();
    println!("{}", result["glass_to_glass_ms"]);
    assert_eq!(result["viewers"][0]["unreadable"], 0, "{result}");
    // Shared machines are slow; the real bar is in `./dev bench media`.
    assert!(result["glass_to_glass_ms"]["p50"].as_f64() < Some(150.0), "{result}");
}
