//! A real MediaMTX beside the server, where `MEDIAMTX_BIN` names its program.

use serde_json::{Value, json};
use std::process::Command;
use test_peer::{Answered, Client, Clip, Codec, Publisher, decode};
use tests::host::{Host, Stream};
use tests::http::{Answer, request_with};
use tests::libraries::library;
use tests::peers::{publish, watch};
use tests::process::child_named;

/// None, and a word about it, where there is none to try.
fn settings(mode: &str) -> Option<Vec<(&'static str, String)>> {
    let Ok(binary) = std::env::var("MEDIAMTX_BIN") else {
        eprintln!("skipped: MEDIAMTX_BIN names no program of MediaMTX");
        return None;
    };
    let ports = ["API", "RTSP", "RTMP", "HLS", "WEBRTC", "WEBRTC_MEDIA", "SRT"];
    let ports = ports.map(|port| -> &'static str { format!("SDH_MEDIAMTX__{port}_PORT").leak() });
    let mut settings = vec![
        ("SDH_MEDIAMTX__MODE", mode.to_owned()),
        ("SDH_MEDIAMTX__BINARY", binary),
        ("SDH_MEDIAMTX__PORT", "0".to_owned()),
    ];
    settings.extend(ports.map(|port| (port, "0".to_owned())));
    Some(settings)
}

/// What `/health` says of it, once it is connected.
fn connected(host: &Host) -> Value {
    host.wait_for("MediaMTX is connected", || {
        let health = host.get("/health").json();
        (health["mediamtx_connected"] == true).then(|| health["mediamtx"].clone())
    })
}

fn exchange(url: &str, token: &str, offer: &str) -> Result<Answered, Answer> {
    let authorization = format!("Bearer {token}");
    let headers = [("content-type", "application/sdp"), ("authorization", authorization.as_str())];
    let headers = if token.is_empty() { &headers[..1] } else { &headers };
    let answer = request_with("POST", url, headers, offer.as_bytes());
    match answer.status {
        201 => Ok(Answered { session: answer.header("location").to_owned(), sdp: answer.text }),
        _ => Err(answer),
    }
}

/// A reader of the stream's output at MediaMTX.
fn watch_there(host: &Host, mediamtx: &Value, stream: &Stream<'_>) -> Client {
    let webrtc = mediamtx["urls"]["webrtc"].as_str().expect("it serves WebRTC");
    let url = format!("{webrtc}/{}_out/whep", stream.text("id"));
    let mut reader = host.wait_for("MediaMTX serves the output", || {
        Client::play(&[Codec::H264], Client::udp(), |offer| exchange(&url, "", offer)).ok()
    });
    reader.connect();
    reader
}

/// Until it shows a picture of this brightness.
fn sees(reader: &mut Client, brightness: u8) {
    let mut frames = Vec::new();
    reader.until("the picture is as bright as it should be", |_, new| {
        frames.extend(new);
        let last = decode(Codec::H264, &frames).pop();
        last.is_some_and(|picture| picture.middle().abs_diff(brightness) < 12)
    });
}

const WHITE: u32 = 0xff_ffff;
const BLACK: u32 = 0;
const LUMA_OF_WHITE: u8 = 235;
const LUMA_OF_BLACK: u8 = 16;

#[test]
fn a_mediamtx_shows_the_output_comes_back_when_it_dies_and_takes_publishers() {
    let Some(settings) = settings("spawn") else { return };
    let host = Host::start_with(&[library("passthrough")], &settings);
    let stream = host.create("passthrough", json!({"width": 64, "height": 64, "invert": true}));
    let mediamtx = connected(&host);
    let white = Clip::plain(WHITE, Codec::H264, 64, 64);
    {
        let _publisher = publish(&stream, &white, 20);
        watch(&host, &stream, Codec::H264).frames(1);
        let mut reader = watch_there(&host, &mediamtx, &stream);
        sees(&mut reader, LUMA_OF_BLACK);
        host.wait_for("the reader is counted", || {
            (host.get("/health").json()["mediamtx"]["readers"] == 1).then_some(())
        });

        let running = || child_named(host.pid().into(), "mediamtx");
        let pid = running().expect("it runs");
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        assert!(killed.expect("kill runs").success());
        host.wait_for("another one runs", || running().filter(|other| *other != pid));
        let mediamtx = connected(&host);
        sees(&mut watch_there(&host, &mediamtx, &stream), LUMA_OF_BLACK);
    }
    takes_publishers(&host, &stream);
    host.end();
}

fn takes_publishers(host: &Host, stream: &Stream<'_>) {
    let mediamtx = connected(host);
    let minor = mediamtx["version"].as_str().and_then(|version| version.split('.').nth(1));
    if minor.and_then(|minor| minor.parse().ok()) < Some(20) {
        eprintln!("skipped: publishing through a MediaMTX before 1.20");
        return;
    }
    let webrtc = mediamtx["urls"]["webrtc"].as_str().expect("it serves WebRTC");
    let whip = format!("{webrtc}/{}/whip", stream.text("id"));
    let publish = |token: &str| {
        Client::publish(Codec::H264, Client::udp(), |offer| exchange(&whip, token, offer))
    };
    for wrong in ["", "sk_wrong"] {
        assert_eq!(publish(wrong).err().map(|answer| answer.status), Some(401), "{wrong:?}");
    }
    let client = publish(&stream.text("stream_key"));
    let client = client.unwrap_or_else(|answer| panic!("{}", answer.text));
    let black = Clip::plain(BLACK, Codec::H264, 64, 64);
    let _publisher = Publisher::start(client, black, 20);
    sees(&mut watch(host, stream, Codec::H264), LUMA_OF_WHITE);
    host.wait_for("the publisher is counted", || {
        (host.get("/health").json()["mediamtx"]["publishers"] == 1).then_some(())
    });
}
