//! Publishers by RTMP, and streams that go on to other servers: to another host of ours, through pipelines on both.

use crate::events::Events;
use serde_json::{Value, json};
use test_peer::{Client, Codec, decode};
use tests::ffmpeg::publish_by_rtmp;
use tests::host::{Host, Stream};
use tests::libraries::library;
use tests::peers::watch;

fn restream(status: &Value) -> &Value {
    &status["data"]["host_status"]["restream"]
}

/// Reads until the middle of the picture has about this brightness.
fn see(reader: &mut Client, brightness: u8) {
    let mut frames = Vec::new();
    reader.until("the brightness", |_, received| {
        let has_received = !received.is_empty();
        frames.extend(received);
        let pictures = if has_received { decode(Codec::H264, &frames) } else { Vec::new() };
        pictures.last().is_some_and(|last| last.middle().abs_diff(brightness) < 10)
    });
}

fn send_to(host: &Host, stream: &Stream<'_>, url: &str) {
    let body = json!({ "output_rtmp_url": url });
    assert_eq!(host.send("PATCH", &stream.path(), &body).status, 200);
}

#[test]
fn a_stream_published_by_rtmp_goes_on_to_another_host_also_after_a_crash() {
    let mut here = Host::start(&[library("passthrough")]);
    let there = Host::start(&[library("passthrough")]);
    let target = there.create("passthrough", json!({"width": 64, "height": 64}));
    let mut object = {
        let source = here.create("passthrough", json!({"width": 64, "height": 64, "invert": true}));
        send_to(&here, &source, &there.rtmp_url(&target.text("stream_key")));
        let status = source.status();
        assert_eq!(
            (&restream(&status)["state"], &restream(&status)["error"]),
            (&json!("waiting"), &Value::Null)
        );
        source.object.clone()
    };
    let key = object["stream_key"].as_str().expect("a key").to_owned();
    for run in ["first", "after a crash"] {
        let _publisher = publish_by_rtmp("0x303030", &here.rtmp_url(&key));
        let source = Stream::of(&here, object.clone());
        let status = source.wait_until("it is live", |status| restream(status)["state"] == "live");
        assert_eq!(restream(&status)["error"], Value::Null, "{run}");
        // The luma of what is left of white.
        see(&mut watch(&there, &target, Codec::H264), 194);
        object = source.object.clone();
        drop(source);
        here.kill();
        target.wait_until("the other host misses it", |status| {
            status["data"]["host_status"]["ingress"]["is_publishing"] == false
        });
        here.start_again();
    }

    let _publisher = publish_by_rtmp("0x303030", &here.rtmp_url(&key));
    let source = Stream::of(&here, object);
    source.wait_until("it is live", |status| restream(status)["state"] == "live");
    Events::of(&here, &source).until("restream_live");
    send_to(&here, &source, "");
    assert_eq!(*restream(&source.status()), Value::Null);
    target.wait_until("it is stopped", |status| {
        status["data"]["host_status"]["ingress"]["is_publishing"] == false
    });
}
