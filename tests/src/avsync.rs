//! Whether sound keeps step with pictures through a pipeline that takes its time: a publisher flashes and beeps once a
//! second, and a reader compares when the server says that both were.

use crate::host::{Host, Stream};
use crate::peers::{publish_both, watch_both};
use serde_json::json;
use std::time::{Duration, Instant};
use test_peer::{Clip, Codec, Lags, Publisher, Sound, lags};

/// Until the delay has settled and both tracks were reported on, which browsers do within about a second.
const WARMUP: Duration = Duration::from_secs(6);

/// A stream of the plugin that takes so many ms for a frame.
pub fn slow_stream(host: &Host, delay_ms: u64) -> Stream<'_> {
    host.create("faulty", json!({"width": 64, "height": 64, "delay_ms": delay_ms}))
}

pub fn flash_and_beep(stream: &Stream<'_>) -> Publisher {
    publish_both(stream, &Clip::flash(Codec::H264, 64), &Sound::beep(1000))
}

/// By how much they are apart at a reader, for so many seconds.
pub fn watch(host: &Host, stream: &Stream<'_>, seconds: u64) -> Lags {
    let mut reader = watch_both(host, stream, Codec::H264);
    stream.wait_until("frames flow", |status| status["frames_processed"].as_u64() > Some(30));
    let from = Instant::now() + WARMUP;
    let mut frames = Vec::new();
    let mut is_warm = false;
    while from.elapsed() < Duration::from_secs(seconds) {
        let received = reader.step();
        if Instant::now() < from {
            reader.heard.clear();
            continue;
        }
        // Decoding begins with a key frame.
        is_warm |= received.iter().any(|frame| frame.is_keyframe());
        if is_warm {
            frames.extend(received);
        } else {
            reader.ask_for_key_frame();
        }
    }
    let heard = std::mem::take(&mut reader.heard);
    lags(&reader, Codec::H264, &frames, &heard)
}
