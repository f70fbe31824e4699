//! HLS: what players see, and what the playlists promise.

use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use test_peer::{Clip, Codec};
use tests::browser;
use tests::ffmpeg::{self, is_plain};
use tests::host::{Host, Stream};
use tests::http::{Answer, download, request};
use tests::libraries::library;
use tests::peers::publish;

/// What is published, and what the pipeline makes of it.
const COLOUR: u32 = 0xc0_40_20;
const INVERTED: [u8; 3] = [0x3f, 0xbf, 0xdf];
const SIDE: usize = 128;

fn clip() -> Arc<Clip> {
    Clip::plain(COLOUR, Codec::H264, SIDE as u32, SIDE as u32)
}

fn create(host: &Host) -> Stream<'_> {
    host.create("passthrough", json!({"width": SIDE, "height": SIDE, "invert": true}))
}

fn get(url: &str) -> Answer {
    request("GET", url, None, b"")
}

/// The stream's playlist once there is one that shows the pipeline's frames.
fn playlist(host: &Host, stream: &Stream<'_>) -> String {
    stream.wait_until("the pipeline works", |status| {
        status["frames_processed"].as_u64().is_some_and(|count| count > 10)
    });
    let url = stream.text("output_hls_url");
    host.wait_for("there is a playlist", || (get(&url).status == 200).then(|| url.clone()))
}

fn number(playlist: &str, tag: &str) -> u64 {
    let line = playlist.lines().find_map(|line| line.strip_prefix(tag));
    line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no {tag} in {playlist}"))
}

#[test]
fn ffmpeg_and_gstreamer_play_what_the_pipeline_makes() {
    let host = Host::start(&[library("passthrough")]);
    let stream = create(&host);
    let early = get(&stream.text("output_hls_url"));
    assert_eq!((early.status, early.json()["code"].as_str()), (404, Some("STREAMS/NOT_READY")));
    let _publisher = publish(&stream, &clip(), 30);
    let url = playlist(&host, &stream);
    let index = get(&url).text;
    assert!(
        index.contains("CODECS=\"avc1.42c0") && index.contains("RESOLUTION=128x128"),
        "{index}"
    );
    let readers = |readers| {
        move |status: &serde_json::Value| {
            status["data"]["host_status"]["egress"]["readers"] == readers
        }
    };
    stream.wait_until("all players are one reader", readers(1));
    let pictures = ffmpeg::decode(&url, (SIDE, SIDE), 60);
    assert!(pictures.iter().all(|picture| is_plain(picture, INVERTED)));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("played.rgb");
    let graph = format!(
        "uridecodebin3 uri={url} ! videoconvert ! video/x-raw,format=RGB ! identity eos-after=31 ! \
         filesink location={}",
        file.display()
    );
    let played = Command::new("gst-launch-1.0").arg("-q").args(graph.split(' ')).status();
    assert!(played.expect("gst-launch-1.0 is installed").success());
    let played = std::fs::read(&file).expect("the frames were written");
    assert!(played.len() >= SIDE * SIDE * 3 * 30 && is_plain(&played, INVERTED));
    stream.wait_until("without requests nothing is encoded", readers(0));
}

#[test]
fn a_blocking_reload_is_answered_when_the_part_is_there() {
    let host = Host::start(&[library("passthrough")]);
    let stream = create(&host);
    let _publisher = publish(&stream, &clip(), 30);
    let url = playlist(&host, &stream).replace("index.m3u8", "stream.m3u8");
    let before = get(&url).text;
    let next =
        number(&before, "#EXT-X-MEDIA-SEQUENCE:") + before.matches("#EXTINF").count() as u64 + 1;
    let after = get(&format!("{url}?_HLS_msn={next}&_HLS_part=1")).text;
    // Whole segments before that one, and two of its parts.
    let whole = number(&after, "#EXT-X-MEDIA-SEQUENCE:") + after.matches("#EXTINF").count() as u64;
    assert_eq!(whole, next, "{after}");
    let open = after.rsplit("#EXTINF").next().expect("a part of the text");
    assert!(open.matches("#EXT-X-PART:").count() >= 2, "{after}");
    // What is announced comes, and is what the next playlist names.
    let hint = after.rsplit("URI=\"").next().and_then(|rest| rest.split('"').next());
    let piece = url.replace("stream.m3u8", hint.expect("a hint"));
    assert_eq!(download(&piece)[4..8], *b"moof");
    let far = get(&format!("{url}?_HLS_msn={}", next + 100));
    assert_eq!((far.status, far.json()["code"].as_str()), (400, Some("REQUEST/INVALID_QUERY")));
    assert_eq!(get(&url.replace("stream.m3u8", "none.mp4")).json()["code"], "MEDIA/NOT_FOUND");
}

#[test]
fn another_size_is_a_discontinuity_and_another_publisher_is_none() {
    let host = Host::start(&[library("passthrough")]);
    let stream = create(&host);
    let publisher = publish(&stream, &clip(), 30);
    let url = playlist(&host, &stream).replace("index.m3u8", "stream.m3u8");
    drop(publisher);
    let _publisher = publish(&stream, &clip(), 30);
    let first = number(&get(&url).text, "#EXT-X-MEDIA-SEQUENCE:");
    host.wait_for("two more segments", || {
        let text = get(&url).text;
        let now = number(&text, "#EXT-X-MEDIA-SEQUENCE:") + text.matches("#EXTINF").count() as u64;
        (now >= first + 4).then_some(())
    });
    assert_eq!(get(&url).text.matches("#EXT-X-MAP").count(), 1);
    assert_eq!(stream.patch(json!({"width": 256})).status, 200);
    let text = host.wait_for("the size changed", || {
        Some(get(&url).text).filter(|text| text.matches("#EXT-X-MAP").count() == 2)
    });
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    host.wait_for("the index tells the new size", || {
        get(&stream.text("output_hls_url")).text.contains("RESOLUTION=256x128").then_some(())
    });
}

#[test]
fn hls_js_in_a_browser_is_a_second_behind_and_stays_over_a_reload() {
    let host = Host::start(&[library("faulty")]);
    let stream = host.create("faulty", json!({"width": 512, "height": 512}));
    let settings = [
        ("WHIP_URL", stream.text("whip_url")),
        ("HLS_URL", stream.text("output_hls_url")),
        ("PATCH_URL", host.url(&stream.path())),
        ("PATCH_BODY", json!({"params": {"width": 256, "height": 256}}).to_string()),
        ("SECONDS", "8".into()),
    ];
    let outcome = browser::run("hls.mjs", &settings);
    assert!(outcome.is_success, "{}", outcome.output);
    let seen = outcome.json();
    println!("{seen}");
    // Without what the player is behind its own target, for having had to wait: the server's doing is in the rest.
    let median = seen["at_target_ms"]["p50"].as_f64();
    assert!(median.is_some_and(|median| median < 1500.0), "{seen}");
    // What it waited for is the server's, if it goes on.
    let median = seen["glass_to_glass_ms"]["p50"].as_f64();
    assert!(median.is_some_and(|median| median < 3000.0), "{seen}");
    assert_eq!(seen["fatal"], json!([]), "{seen}");
    assert_eq!((&seen["manifests"], &seen["unreadable"]), (&json!(1), &json!(0)), "{seen}");
    assert_eq!(seen["sizes"], json!([512, 256]), "{seen}");
}
