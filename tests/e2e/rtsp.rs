//! RTSP from outside: ffmpeg publishes with the stream key, every picture goes through the pipeline, ffmpeg plays.

use serde_json::json;
use tests::ffmpeg::{publish_colour, seen_colour};
use tests::host::Host;
use tests::libraries::library;

const RED: u32 = 0xff0000;

#[test]
fn what_is_published_by_rtsp_goes_through_the_pipeline_and_is_played_by_rtsp() {
    let host = Host::start(&[library("passthrough")]);
    let params = json!({"width": 320, "height": 240, "invert": true});
    let stream = host.create("passthrough", params);
    let (id, key) = (stream.text("id"), stream.text("stream_key"));
    let output = host.rtsp(&format!("{id}_out"));
    let early = seen_colour("tcp", &output).expect_err("nothing was published");
    assert!(early.contains("404"), "{early}");
    for transport in ["tcp", "udp"] {
        let _publisher = publish_colour(RED, transport, &host.rtsp(&format!("{id}?key={key}")));
        stream.wait_until("frames flow", |status| {
            status["data"]["host_status"]["frames"]["processed"].as_u64() > Some(10)
        });
        host.wait_for("inverted red is seen", || {
            let [red, green, blue] = seen_colour(transport, &output).ok()?;
            (red < 40 && green > 200 && blue > 200).then_some(())
        });
    }
    let wrong = host.rtsp(&format!("{id}?key={id}"));
    let mut refused = publish_colour(RED, "tcp", &wrong);
    assert!(!refused.0.wait().expect("ffmpeg ends").success(), "a wrong key is refused");
    assert!(stream.delete().status < 300);
    let gone = seen_colour("tcp", &output).expect_err("the stream is deleted");
    assert!(gone.contains("404"), "{gone}");
    let log = host.end();
    assert!(!log.contains(&key), "the key is in the log");
}
