//! Media peers of other makes, unmodified: each publishes, plays, and looks at the pixels.

use serde_json::json;
use tests::clients::run_python;
use tests::host::Host;
use tests::libraries::library;

#[test]
fn aiortc_publishes_and_plays_h264_and_vp8() {
    let host = Host::start(&[library("passthrough")]);
    let stream = host.create("passthrough", json!({"width": 320, "height": 240}));
    let settings =
        [("WHIP_URL", stream.text("whip_url")), ("WHEP_URL", stream.text("output_stream_url"))];
    let outcome = run_python("aiortc", &["peer.py"], &settings);
    println!("{}", outcome.output);
    assert!(outcome.is_success, "{}", outcome.output);
    assert_eq!(outcome.output.matches("PASS video/").count(), 2, "{}", outcome.output);
}
