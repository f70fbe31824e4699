//! Keys and tokens in a log of everything: there must be none, whatever was called.

use serde_json::json;
use std::process::Command;
use test_peer::{Answered, Client, Clip, Codec, Publisher};
use tests::ffmpeg::publish_by_rtmp;
use tests::host::Host;
use tests::http::{Answer, request_with};
use tests::libraries::{build_folder, library};

const ADMIN: &str = "admin-token-of-the-settings";
const WRONG: &str = "a-token-with-a-slip-of-the-pen";
const RESTREAM_KEY: &str = "key-of-another-service";

/// A call with this token; SDP when the body is an offer, else JSON.
fn call(host: &Host, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let url = if path.starts_with("http") { path.to_owned() } else { host.url(path) };
    let authorization = format!("Bearer {token}");
    let is_offer = body.starts_with("v=");
    let content_type = if is_offer { "application/sdp" } else { "application/json" };
    let headers = [("authorization", authorization.as_str()), ("content-type", content_type)];
    request_with(method, &url, &headers, body.as_bytes())
}

/// Negotiates at a URL with a token, and remembers the session.
fn exchange<'a>(
    host: &'a Host,
    token: &'a str,
    url: &'a str,
) -> impl FnOnce(&str) -> Result<Answered, String> + use<'a> {
    move |offer| {
        let answer = call(host, token, "POST", url, offer);
        let session = answer.header("location").to_owned();
        if answer.status == 201 {
            Ok(Answered { session, sdp: answer.text })
        } else {
            Err(answer.text)
        }
    }
}

fn new_token(host: &Host, name: &str) -> String {
    let output = Command::new(build_folder().join("streamdiffusion-host"))
        .args(["token", "add", name, "--scope", "view"])
        .env("SDH_PATHS__STATE", host.state_folder())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn no_key_and_no_token_is_in_a_log_of_everything() {
    let settings = [("SDH_LOG__FILTER", "trace".to_owned()), ("SDH_HTTP__TOKEN", ADMIN.to_owned())];
    let host = Host::start_with(&[library("passthrough")], &settings);
    let viewer = new_token(&host, "wall");

    let body = json!({
        "pipeline": "passthrough", "params": {"width": 64, "height": 64},
        "output_rtmp_url": format!("rtmp://127.0.0.1:1/live/{RESTREAM_KEY}"),
    });
    let made = call(&host, ADMIN, "POST", "/v1/streams", &body.to_string());
    assert_eq!(made.status, 201, "{}", made.text);
    let stream = made.json();
    let text = |key: &str| stream[key].as_str().expect("text").to_owned();
    let (key, whip, whep) = (text("stream_key"), text("whip_url"), text("output_stream_url"));
    let path = format!("/v1/streams/{}", text("id"));

    let client = Client::publish(Codec::Vp8, Client::udp(), exchange(&host, WRONG, &whip));
    let clip = Clip::ball(Codec::Vp8, 64, 64);
    let _publisher = Publisher::start(client.expect("the offer is taken"), clip, 10);
    let mut reader = host.wait_for("the output can be watched", || {
        Client::play(&[Codec::Vp8], Client::udp(), exchange(&host, &viewer, &whep)).ok()
    });
    reader.connect();
    reader.frames(3);

    let refused = |status: &str| status.contains("no connection to the server");
    host.wait_for("it is tried to send the stream on", || {
        let status = call(&host, &viewer, "GET", &format!("{path}/status"), "").text;
        assert!(!status.contains(RESTREAM_KEY), "{status}");
        refused(&status).then_some(())
    });
    // To itself, where nobody knows that key.
    let body = json!({ "output_rtmp_url": host.rtmp_url(RESTREAM_KEY) }).to_string();
    assert_eq!(call(&host, ADMIN, "PATCH", &path, &body).status, 200);
    host.wait_for("the key is refused", || {
        let status = call(&host, &viewer, "GET", &format!("{path}/status"), "").text;
        status.contains("no stream has this key").then_some(())
    });
    let mut ffmpeg = publish_by_rtmp("gray", &host.rtmp_url(&key));
    host.wait_for("ffmpeg publishes", || {
        let status = call(&host, &viewer, "GET", &format!("{path}/status"), "").json();
        (status["data"]["host_status"]["ingress"]["codec"] == "H264").then_some(())
    });
    ffmpeg.end();

    let calls = [
        ("GET", path.clone(), String::new()),
        ("GET", "/v1/streams".to_owned(), String::new()),
        ("GET", format!("{path}/status"), String::new()),
        ("PATCH", path.clone(), json!({"params": {"invert": true}}).to_string()),
        ("PATCH", format!("{path}/params"), json!({"invert": false}).to_string()),
        ("GET", format!("/live/{key}/whip"), String::new()),
        ("POST", format!("/live/{key}/whip"), "v=nothing".to_owned()),
        ("POST", format!("/live/{key}/nothing"), String::new()),
        ("POST", format!("/{}/whip", text("id")), "v=nothing".to_owned()),
        ("DELETE", format!("/live/{key}/whip/session"), String::new()),
    ];
    for (method, path, body) in &calls {
        for token in [ADMIN, viewer.as_str(), WRONG, key.as_str()] {
            let answer = call(&host, token, method, path, body);
            assert!(answer.status < 500, "{method} {path}: {}", answer.text);
        }
    }
    assert_eq!(call(&host, ADMIN, "DELETE", &path, "").status, 204);

    let log = host.end();
    assert!(log.contains("TRACE") && log.contains("answered"), "the log is not of everything");
    for secret in [ADMIN, WRONG, RESTREAM_KEY, viewer.as_str(), key.as_str()] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
