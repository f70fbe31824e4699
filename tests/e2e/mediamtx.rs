//! A real MediaMTX beside the server, where `MEDIAMTX_BIN` names its program.

use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::{Child, Command};
use tempfile::TempDir;
use test_peer::{Answered, Client, Clip, Codec, Publisher, decode};
use tests::host::{Host, Stream};
use tests::http::request_with;
use tests::libraries::library;
use tests::peers::{publish, watch};
use tests::process::child_named;

/// None, and a word about it, where there is none to try.
fn binary() -> Option<String> {
    let binary = std::env::var("MEDIAMTX_BIN").ok();
    if binary.is_none() {
        eprintln!("skipped: MEDIAMTX_BIN names no program of MediaMTX");
    }
    binary
}

fn spawning(binary: String) -> Vec<(&'static str, String)> {
    let ports = ["API", "RTSP", "RTMP", "HLS", "WEBRTC", "WEBRTC_MEDIA", "SRT"];
    let ports = ports.map(|port| -> &'static str { format!("SDH_MEDIAMTX__{port}_PORT").leak() });
    let mut settings = vec![
        ("SDH_MEDIAMTX__MODE", "spawn".to_owned()),
        ("SDH_MEDIAMTX__BINARY", binary),
        ("SDH_MEDIAMTX__PORT", "0".to_owned()),
    ];
    settings.extend(ports.map(|port| (port, "0".to_owned())));
    settings
}

/// What `/health` says of it, once it is connected.
fn connected(host: &Host) -> Value {
    host.wait_for("MediaMTX is connected", || {
        let health = host.get("/health").json();
        (health["mediamtx_connected"] == true).then(|| health["mediamtx"].clone())
    })
}

/// The status, where the offer is refused.
fn exchange(url: &str, token: &str, offer: &str) -> Result<Answered, u16> {
    let authorization = format!("Bearer {token}");
    let headers = [("content-type", "application/sdp"), ("authorization", authorization.as_str())];
    let headers = if token.is_empty() { &headers[..1] } else { &headers };
    let answer = request_with("POST", url, headers, offer.as_bytes());
    let session = answer.header("location").to_owned();
    if answer.status == 201 {
        Ok(Answered { session, sdp: answer.text })
    } else {
        Err(answer.status)
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
    let Some(binary) = binary() else { return };
    let host = Host::start_with(&[library("passthrough")], &spawning(binary));
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
    takes_publishers(&host, &connected(&host), &stream);
    host.end();
}

/// One that somebody else runs. Killed with the test.
struct Attached {
    binary: String,
    folder: TempDir,
    process: Option<Child>,
}

impl Attached {
    fn start(&mut self) {
        let command = Command::new(&self.binary).arg(self.folder.path().join("own.yml")).spawn();
        self.process = Some(command.expect("MediaMTX starts"));
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it has ended");
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

#[test]
fn an_attached_mediamtx_gets_its_paths_again_and_asks_the_server_whom_to_let_in() {
    let Some(binary) = binary() else { return };
    let version = Command::new(&binary).arg("--version").output().expect("it runs").stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let [api, webrtc, media, own] = [(); 4].map(|()| free_port());
    let hook = format!("http://127.0.0.1:{own}/mediamtx/0123456789abcdef");
    let mut settings = json!({
        "api": true, "apiAddress": format!("127.0.0.1:{api}"),
        "webrtcAddress": format!("127.0.0.1:{webrtc}"),
        "webrtcLocalUDPAddress": format!("127.0.0.1:{media}"),
        "rtsp": false, "rtmp": false, "hls": false, "srt": false,
    });
    let mut set = |key: &str, value: Value| settings[key] = value;
    match minor {
        Some(..6) => set("externalAuthenticationURL", json!(hook)),
        _ => {
            set("authMethod", json!("http"));
            set("authHTTPAddress", json!(hook));
            set("authHTTPExclude", json!([]));
        }
    }
    if minor >= Some(19) {
        set("moq", json!(false));
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("own.yml"), settings.to_string()).expect("a file");
    let mut attached = Attached { binary, folder, process: None };
    attached.start();

    let host = Host::start_with(
        &[library("passthrough")],
        &[
            ("SDH_MEDIAMTX__MODE", "attach".into()),
            ("SDH_MEDIAMTX__PORT", own.to_string()),
            ("SDH_MEDIAMTX__API_URL", format!("http://127.0.0.1:{api}")),
            ("SDH_MEDIAMTX__USER", "ops".into()),
            ("SDH_MEDIAMTX__PASSWORD", "password".into()),
            ("SDH_MEDIAMTX__HOOK_SECRET", "0123456789abcdef".into()),
        ],
    );
    let stream = host.create("passthrough", json!({"width": 64, "height": 64, "invert": true}));
    let mut told = connected(&host);
    told["urls"]["webrtc"] = format!("http://127.0.0.1:{webrtc}").into();
    takes_publishers(&host, &told, &stream);
    attached.kill();
    host.wait_for("it is missed", || {
        (host.get("/health").json()["mediamtx_connected"] == false).then_some(())
    });
    attached.start();
    connected(&host);
    let _publisher = publish(&stream, &Clip::plain(WHITE, Codec::H264, 64, 64), 20);
    sees(&mut watch_there(&host, &told, &stream), LUMA_OF_BLACK);
    host.end();
}

fn takes_publishers(host: &Host, mediamtx: &Value, stream: &Stream<'_>) {
    let minor = mediamtx["version"].as_str().and_then(|version| version.split('.').nth(1));
    let minor = minor.and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 20) {
        eprintln!("skipped: publishing through a MediaMTX before 1.20");
        return;
    }
    let webrtc = mediamtx["urls"]["webrtc"].as_str().expect("it serves WebRTC");
    let whip = format!("{webrtc}/{}/whip", stream.text("id"));
    let publish = |token: &str| {
        Client::publish(Codec::H264, Client::udp(), |offer| exchange(&whip, token, offer))
    };
    for wrong in ["", "sk_wrong"] {
        // As long as it has no such path it answers otherwise.
        host.wait_for("it asks for the key", || {
            let refused = publish(wrong).err();
            assert_ne!(refused, None, "{wrong:?} is let in");
            (refused == Some(401)).then_some(())
        });
    }
    let client = publish(&stream.text("stream_key"));
    let client = client.unwrap_or_else(|status| panic!("its key is refused with {status}"));
    let black = Clip::plain(BLACK, Codec::H264, 64, 64);
    let _publisher = Publisher::start(client, black, 20);
    sees(&mut watch(host, stream, Codec::H264), LUMA_OF_WHITE);
    host.wait_for("the publisher is counted", || {
        (host.get("/health").json()["mediamtx"]["publishers"] == 1).then_some(())
    });
}
