//! What real browsers do with the server.

use serde_json::json;
use tests::browser;
use tests::host::Host;
use tests::libraries::library;

/// Daydream's client for browsers, with a camera alone or with a microphone too.
fn check_daydream(audio: &str) {
    let host = Host::start(&[library("passthrough"), library("sd15")]);
    let settings = [("BASE_URL", host.url("/")), ("AUDIO", audio.to_owned())];
    let outcome = browser::run("conformance/run.mjs", &settings);
    println!("{}", outcome.output);
    assert!(outcome.is_success, "{}", outcome.output);
    assert!(outcome.output.contains("PASS player: frames decoded"), "{}", outcome.output);
}

#[test]
fn the_daydream_browser_client_works_unmodified() {
    check_daydream("");
}

#[test]
fn the_daydream_browser_client_may_publish_audio_too() {
    check_daydream("1");
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

#[test]
fn a_reload_is_seen_as_a_change_of_the_picture_and_nothing_else() {
    const FREEZE_MS: f64 = 500.0;
    let host = Host::start(&[library("faulty")]);
    let stream = host.create("faulty", json!({"width": 128, "height": 128}));
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("WHEP_URL", stream.text("output_stream_url")),
        ("STATUS_URL", host.url(&format!("{}/status", stream.path()))),
        ("PATCH_URL", host.url(&stream.path())),
        (
            "PATCH_BODY",
            json!({"params": {"width": 192, "height": 192, "load_ms": 2000}}).to_string(),
        ),
    ];
    let outcome = browser::run("reload.mjs", &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    let seen = outcome.json();
    println!("{seen}");
    assert_eq!(seen["states"], json!([]), "the player stays connected: {seen}");
    assert_eq!(seen["widths"], json!([128, 192]));
    let longest = |stretch: &str| seen[stretch].as_f64().expect("frames were seen");
    // A busy machine stalls by itself; the stretch before the reload says for how long.
    let allowed = FREEZE_MS + longest("longest_pause_before_ms");
    assert!(longest("longest_pause_ms") <= allowed, "the picture froze: {seen}");
    assert!(longest("loading_ms") > 1500.0, "the reload took its time: {seen}");
}

#[test]
fn the_page_works_at_once_and_its_changes_reach_the_stream() {
    // The other plugin's models are not installed: the page has to choose what runs without any.
    let host = Host::start(&[library("sd15"), library("passthrough")]);
    let outcome = browser::run("page.mjs", &[("PAGE_URL", host.url("/"))]);
    assert!(outcome.is_success, "{}", outcome.output);
    let seen = outcome.json();
    assert_eq!(seen["wishes"][0]["pipeline"], "passthrough", "{seen}");
    assert_eq!(seen["params"]["prompt"], "a paper boat on a dark lake");
    let light = |side: &str| {
        seen[side].as_array().expect("a colour").iter().filter_map(|c| c.as_f64()).sum::<f64>()
    };
    // The inverted picture is as light as the sent one is dark.
    let sum = light("input") + light("output");
    assert!((sum - 3.0 * 255.0).abs() < 90.0, "the result does not show the change: {seen}");
    assert_eq!(seen["overflows"], json!([0, 0, 0]), "something is wider than the screen");
    assert_eq!((&seen["complaints"], &seen["foreign"]), (&json!([]), &json!([])), "{seen}");
}
