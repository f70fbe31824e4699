//! Recordings and snapshots of what viewers see.

use serde_json::{Value, json};
use std::sync::Arc;
use test_peer::{Clip, Codec, Publisher};
use tests::browser;
use tests::ffmpeg::{self, is_plain};
use tests::host::{Host, Stream};
use tests::http::{download, request, request_with};
use tests::libraries::library;
use tests::peers::publish;

const COLOUR: u32 = 0xc0_40_20;
const INVERTED: [u8; 3] = [0x3f, 0xbf, 0xdf];
const SIDE: usize = 128;

fn clip() -> Arc<Clip> {
    Clip::plain(COLOUR, Codec::H264, SIDE as u32, SIDE as u32)
}

/// A stream whose output is the pipeline's.
fn shown(host: &Host) -> (Stream<'_>, Publisher) {
    let stream = host.create("passthrough", json!({"width": SIDE, "height": SIDE, "invert": true}));
    let publisher = publish(&stream, &clip(), 30);
    stream.wait_until("the pipeline works", |status| {
        status["frames_processed"].as_u64().is_some_and(|count| count > 10)
    });
    (stream, publisher)
}

fn recording(status: &Value) -> &Value {
    &status["data"]["host_status"]["recording"]
}

fn wait_until_longer(stream: &Stream<'_>, seconds: f64) {
    stream.wait_until("the recording grows", |status| {
        recording(status)["duration_seconds"].as_f64() > Some(seconds)
    });
}

/// Frames that were encoded; nobody but the recording asks for any.
fn encoded(status: &Value) -> u64 {
    status["data"]["host_status"]["egress"]["frames_encoded"].as_u64().unwrap_or(0)
}

/// A busy machine has not time for all frames, and those that it had time for make the file.
fn wait_until_encoded(stream: &Stream<'_>, frames: u64) {
    stream.wait_until("frames are encoded", |status| encoded(status) >= frames);
}

/// Plays a recorded file and looks at its pixels.
fn check_file(url: &str, size: (usize, usize), frames: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("recorded.mp4").to_string_lossy().into_owned();
    std::fs::write(&path, download(url)).expect("a temporary file");
    assert_eq!(
        ffmpeg::probe(&path, "codec_name,width,height"),
        ["h264".to_owned(), size.0.to_string(), size.1.to_string(),]
    );
    let pictures = ffmpeg::decode(&path, size, frames);
    assert!(pictures.iter().all(|picture| is_plain(picture, INVERTED)));
}

#[test]
fn a_recording_survives_publishers_and_sizes_and_plays() {
    let host = Host::start(&[library("passthrough")]);
    let (stream, publisher) = shown(&host);
    let record = format!("{}/record", stream.path());
    let begun = host.send("POST", &record, &json!({}));
    assert_eq!(begun.status, 201, "{}", begun.text);
    let second = host.send("POST", &record, &json!({}));
    assert_eq!((second.status, second.json()["code"].as_str()), (409, Some("STREAMS/CONFLICT")));
    wait_until_longer(&stream, 1.0);
    drop(publisher);
    let _publisher = publish(&stream, &clip(), 30);
    wait_until_longer(&stream, 3.0);
    wait_until_encoded(&stream, 75);
    assert_eq!(stream.patch(json!({"width": 2 * SIDE})).status, 200);
    stream.wait_until("the first file is whole", |status| {
        recording(status)["files"].as_array().is_some_and(|files| files.len() == 1)
    });
    let status = stream.status();
    let length = recording(&status)["duration_seconds"].as_f64().expect("a length");
    wait_until_longer(&stream, length + 1.0);
    wait_until_encoded(&stream, encoded(&status) + 25);
    let ended = host.send("DELETE", &record, &Value::Null).json();
    assert_eq!(
        (&ended["data"]["status"], &ended["data"]["error"]),
        (&json!("recorded"), &Value::Null)
    );
    let files = ended["data"]["files"].as_array().expect("files");
    let urls: Vec<&str> = files.iter().filter_map(|file| file["url"].as_str()).collect();
    assert_eq!(urls.len(), 2, "{ended}");
    assert_eq!(urls[0], begun.header("location"));
    check_file(urls[0], (SIDE, SIDE), 60);
    check_file(urls[1], (2 * SIDE, SIDE), 20);
    let list = host.get(&format!("{}/recordings", stream.path())).json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "{list}");
    let again = host.send("DELETE", &record, &Value::Null);
    assert_eq!((again.status, again.json()["code"].as_str()), (404, Some("RECORDINGS/NOT_FOUND")));
}

#[test]
fn a_browser_seeks_in_a_recording_until_it_is_deleted() {
    let host = Host::start(&[library("passthrough")]);
    let (stream, _publisher) = shown(&host);
    let record = format!("{}/record", stream.path());
    let url = host.send("POST", &record, &json!({})).header("location").to_owned();
    wait_until_longer(&stream, 6.0);
    assert_eq!(request("GET", &url, None, b"").status, 404, "it is not whole yet");
    assert_eq!(host.send("DELETE", &record, &Value::Null).status, 200);
    let outcome = browser::run("seek.mjs", &[("FILE_URL", url.clone())]);
    assert!(outcome.is_success, "{}", outcome.output);
    let seen = outcome.json();
    println!("{seen}");
    assert_eq!(seen["width"], SIDE, "{seen}");
    for (index, place) in [0.75, 0.25].into_iter().enumerate() {
        let is_there = |seen: f64| (seen - place).abs() < 0.01;
        assert!(seen["places"][index].as_f64().is_some_and(is_there), "{seen}");
    }
    assert!(seen["seekable"].as_f64() > Some(5.0), "{seen}");
    assert!(seen["answers"].as_array().expect("answers").contains(&json!(206)), "{seen}");
    let whole = download(&url);
    let part = request_with("GET", &url, &[("range", "bytes=4-7")], b"");
    assert_eq!((part.status, part.text.as_bytes()), (206, &whole[4..8]));
    let head = request("HEAD", &url, None, b"");
    assert_eq!(head.header("content-length"), whole.len().to_string());
    // Neither a way out of the folder, nor to what is hidden in it.
    let files = format!("{}/recordings", stream.path());
    for name in ["..%2f..%2fstreams.redb", "%2e%2e", ".hidden.mp4", "%00.mp4"] {
        let url = host.url(&format!("{files}/{name}"));
        assert_eq!(request("DELETE", &url, None, b"").status, 404, "{name}");
        assert_eq!(request("GET", &url, None, b"").status, 404, "{name}");
    }
    assert_eq!(request("DELETE", &url, None, b"").status, 200);
    assert_eq!(request("DELETE", &url, None, b"").status, 404);
    assert_eq!(host.get(&files).json()["data"], json!([]));
}

#[test]
fn what_a_crash_leaves_of_a_recording_plays() {
    let mut host = Host::start(&[library("passthrough")]);
    let path = {
        let (stream, _publisher) = shown(&host);
        assert_eq!(host.send("POST", &format!("{}/record", stream.path()), &json!({})).status, 201);
        wait_until_longer(&stream, 2.0);
        wait_until_encoded(&stream, 60);
        stream.path()
    };
    host.kill();
    host.start_again();
    let list = host.get(&format!("{path}/recordings")).json();
    let file = &list["data"][0];
    // Where the host listens now may be another port.
    let name = file["name"].as_str().unwrap_or_else(|| panic!("no file in {list}"));
    check_file(&host.url(&format!("{path}/recordings/{name}")), (SIDE, SIDE), 45);
}

#[test]
fn a_full_disk_refuses_recordings_and_a_limit_ends_them() {
    let full = Host::start_with(
        &[library("passthrough")],
        &[("SDH_RECORDINGS__MIN_FREE_MIB", (1 << 29).to_string())],
    );
    let (stream, _publisher) = shown(&full);
    let refused = full.send("POST", &format!("{}/record", stream.path()), &json!({}));
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (507, Some("RECORDINGS/NO_ROOM"))
    );

    let small =
        Host::start_with(&[library("passthrough")], &[("SDH_RECORDINGS__MAX_MIB", "1".into())]);
    let stream = small.create("passthrough", json!({"width": 512, "height": 512}));
    let _publisher = publish(&stream, &Clip::noise(Codec::H264, 512, 512), 30);
    let record = format!("{}/record", stream.path());
    small.wait_for("something is shown", || {
        (small.send("POST", &record, &json!({})).status == 201).then_some(())
    });
    let status =
        stream.wait_until("the limit ends it", |status| recording(status)["status"] == "recorded");
    assert_eq!(recording(&status)["error"], "recordings end at 1 MiB", "{status}");
    let bytes = recording(&status)["bytes"].as_u64();
    assert!((Some(1 << 18)..=Some(1 << 20)).contains(&bytes), "{status}");
}

#[test]
fn a_snapshot_shows_the_newest_frame() {
    let host = Host::start(&[library("passthrough")]);
    let silent = host.create("passthrough", json!({}));
    let early = host.get(&format!("{}/snapshot.jpg", silent.path()));
    assert_eq!((early.status, early.json()["code"].as_str()), (404, Some("STREAMS/NOT_READY")));
    let (stream, _publisher) = shown(&host);
    let url = host.url(&format!("{}/snapshot.jpg", stream.path()));
    let look = || {
        let jpeg = download(&url);
        image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg)
            .expect("JPEG")
            .to_rgb8()
    };
    let picture = look();
    assert_eq!(picture.dimensions(), (SIDE as u32, SIDE as u32));
    assert!(is_plain(picture.as_raw(), INVERTED));
    assert_eq!(stream.patch_and_wait(json!({"invert": false})).status, 200);
    host.wait_for("the new frame", || is_plain(look().as_raw(), [0xc0, 0x40, 0x20]).then_some(()));
    let head = request("HEAD", &url, None, b"");
    assert_eq!(head.header("cache-control"), "no-store");
}
