//! What real browsers do with the server.

use serde_json::{Value, json};
use tests::browser;
use tests::host::Host;
use tests::libraries::{library, root};

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
    let median = result["glass_to_glass_ms"]["p50"].as_f64();
    assert!(median.is_some_and(|median| median < 150.0), "{result}");
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
    let models = tempfile::tempdir().expect("a temporary folder");
    let folder = models.path().to_string_lossy().into_owned();
    let plugins = [library("sd15"), library("passthrough")];
    let host = Host::start_with(&plugins, &[("SDH_PATHS__MODELS", folder)]);
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

#[test]
fn the_page_starts_with_the_demo_and_its_styles_are_a_click_away() {
    let host = Host::start(&[library("passthrough"), library("sd15")]);
    let outcome = browser::run("demo-page.mjs", &[("PAGE_URL", host.url("/"))]);
    assert!(outcome.is_success, "{}", outcome.output);
    let seen = outcome.json();
    let wish = &seen["wishes"][0];
    assert_eq!(wish["pipeline"], "streamdiffusion-sd15", "{seen}");
    assert_eq!(wish["params"]["model_id"], "demo", "{seen}");
    assert_eq!(wish["params"]["t_index_list"], json!([32]), "{seen}");
    check_styles(seen["styles"].as_array().expect("a list"));
    let [pencil, blueprint, sepia, own] = [0, 1, 2, 3].map(|index| &seen["seen"][index]);
    assert_eq!(wish["params"]["prompt"], pencil["prompt"], "{seen}");
    for style in [pencil, blueprint, sepia] {
        assert_eq!(style["pressed"], json!([style["prompt"]]), "{seen}");
    }
    assert_eq!(own["pressed"], json!([]), "a prompt of one's own is none of them: {seen}");
    let light = |seen: &Value| (0..3).filter_map(|i| seen["colour"][i].as_f64()).sum::<f64>();
    assert!(light(pencil) > light(blueprint) + 100.0, "paper is white, blueprints dark: {seen}");
    assert_eq!(seen["isOfferedElsewhere"], false, "another pipeline does not know them: {seen}");
    assert_eq!(
        (&seen["overflows"], &seen["complaints"]),
        (&json!([0, 0, 0]), &json!([])),
        "{seen}"
    );
}

/// The model knows the words that it was trained with.
fn check_styles(styles: &[Value]) {
    let path = root().join("tools/demo-model/prompts.py");
    let words = std::fs::read_to_string(path).expect("the training's words");
    assert_eq!(styles.len(), 12);
    for style in styles {
        assert!(words.contains(&style.to_string()), "{style} is no phrase of the training");
    }
}
