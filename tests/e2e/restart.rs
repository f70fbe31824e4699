//! What a crash of the server leaves: everything it had answered.

use serde_json::{Value, json};
use test_peer::{Clip, Codec};
use tests::crash;
use tests::host::{Host, Stream};
use tests::libraries::{install, library};
use tests::peers::{publish, watch};

/// Without what moves by itself, and without what only the answer to a change tells.
fn settled(object: &Value) -> Value {
    let mut object = object.clone();
    object["status"] = Value::Null;
    object["changes"] = Value::Null;
    object
}

fn only_stream(host: &Host) -> Stream<'_> {
    let list = host.get("/v1/streams").json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    Stream::of(host, list["data"][0].clone())
}

#[test]
fn a_killed_server_comes_back_with_the_same_stream_at_the_same_urls() {
    let url = "http://video.test";
    let settings = [("SDH_HTTP__PUBLIC_URL", url.to_owned())];
    let mut host = Host::start_with(&[library("passthrough")], &settings);
    let stream = host.create("passthrough", json!({"width": 64, "height": 64}));
    let before = stream.patch(json!({"invert": true})).json();
    assert_eq!(before["revision"], 2);
    host.kill();
    host.start_again();
    let after = only_stream(&host).object;
    assert_eq!(settled(&after), settled(&before));

    // Where the server listens now, the paths lead to the same stream.
    let here = |key: &str| {
        let path = before[key].as_str().and_then(|text| text.strip_prefix(url));
        json!(host.url(path.unwrap_or_else(|| panic!("no {key} below {url}: {before}"))))
    };
    let (whip, whep) = (here("whip_url"), here("output_stream_url"));
    let object = json!({"id": before["id"], "whip_url": whip, "output_stream_url": whep});
    let stream = Stream::of(&host, object);
    let _publisher = publish(&stream, &Clip::ball(Codec::Vp8, 64, 64), 10);
    let mut reader = watch(&host, &stream, Codec::Vp8);
    reader.frames(5);
    stream.wait_until("its pipeline makes the frames", |status| {
        status["status"] == "running" && status["frames_processed"].as_u64() > Some(0)
    });
    assert_eq!(stream.delete().status, 204);
    host.kill();
    host.start_again();
    assert_eq!(host.get("/v1/streams").json()["data"], json!([]));
}

#[test]
fn a_stream_whose_plugin_is_missing_waits_for_it_in_error() {
    let mut host = Host::start(&[library("passthrough")]);
    let file = install(&library("faulty"), &host.plugin_folder());
    host.wait_for("the plugin is accepted", || {
        let list = host.get("/v1/plugins").json();
        let plugins = list["data"]["plugins"].as_array()?.clone();
        plugins.into_iter().find(|each| each["id"] == "faulty" && each["state"] == "accepted")
    });
    let params = host.create("faulty", json!({"width": 32})).object["params"].clone();
    host.kill();
    std::fs::remove_file(&file).expect("the file is there");
    host.start_again();
    let stream = only_stream(&host);
    let status = stream.wait_until("it fails", |status| status["status"] == "error");
    let error = status["error_message"].as_str().unwrap_or_default();
    assert!(error.contains("no plugin offers the pipeline `faulty`"), "{error}");
    assert_eq!(stream.object["params"], params);

    // Its media is up: viewers see the input.
    let _publisher = publish(&stream, &Clip::ball(Codec::Vp8, 64, 64), 10);
    let mut reader = watch(&host, &stream, Codec::Vp8);
    reader.frames(3);
    install(&library("faulty"), &host.plugin_folder());
    stream.wait_until("it runs", |status| {
        status["status"] == "running" && status["frames_processed"].as_u64() > Some(0)
    });
    reader.frames(3);
    assert!(!reader.is_closed, "its viewer stays connected");
    assert_eq!(only_stream(&host).object["params"], params);
}

#[test]
fn nothing_answered_is_lost_or_doubled_when_the_server_is_killed_again_and_again() {
    let counts = crash::run(6, 20_260_101);
    println!("{counts:#?}");
    assert_eq!((counts.lost, counts.doubled), (0, 0), "{counts:#?}");
    assert!(counts.answers > 6, "{counts:#?}");
}

#[test]
fn a_second_server_on_the_same_state_does_not_start() {
    let host = Host::start(&[library("passthrough")]);
    let error = host.second_start_error();
    assert!(error.contains("streams.redb is in use by another host"), "{error}");
    assert_eq!(host.get("/v1/streams").status, 200, "the first goes on");
}
