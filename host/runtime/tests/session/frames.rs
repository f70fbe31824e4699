//! Frames on their way: none waits behind another, all are counted, viewers always have a picture.

use crate::support::{Load, Stream, Turn, World};
use host_runtime::{Drops, Phase};
use serde_json::json;
use std::time::{Duration, Instant};

async fn running(params: serde_json::Value) -> (World, Stream) {
    let world = World::tight();
    let stream = world.create(params).await;
    stream.reach(Phase::Running).await;
    (world, stream)
}

/// Frames come every 33 ms, a call takes 100 ms: 3 frames come during each, of which the newest is next.
#[tokio::test]
async fn a_slow_pipeline_gets_the_newest_frame_and_its_output_never_grows_old() {
    const INTERVAL: Duration = Duration::from_millis(33);
    const CALL: Duration = Duration::from_millis(100);
    let (_world, stream) = running(json!({})).await;
    stream.script.hold();
    let start = Instant::now();
    assert!(stream.path.publish_frame_of(1, start));
    stream.script.logged("process", 1).await;
    for call in 1..=10u32 {
        let frames = 3 * call - 1..=3 * call + 1;
        for frame in frames {
            assert!(stream.path.publish_frame_of(frame.into(), start + INTERVAL * (frame - 1)));
        }
        stream.script.release(1);
        stream.script.logged("process", call as usize + 1).await;
    }
    let processed: Vec<_> = stream.path.shown().iter().map(|shown| shown.id as u32).collect();
    let newest: Vec<_> = (0..10).map(|call| 1 + 3 * call).collect();
    assert_eq!(processed, newest);
    for (call, frame) in (1..).zip(processed) {
        let age = CALL * call - INTERVAL * (frame - 1);
        assert!(age <= CALL + 2 * INTERVAL, "call {call} ends at the age of {age:?}");
    }
    let frames = stream.status().frames;
    assert_eq!((frames.received, frames.processed, frames.dropped), (31, 10, 20));
    stream.script.release_all();
}

#[tokio::test]
async fn every_frame_ends_in_one_count() {
    let (_world, stream) = running(json!({})).await;
    stream.see(1).await;
    stream.script.turn(Turn::Skips);
    assert!(stream.path.publish_frame(2));
    stream.wait_for(|status| status.frames.skipped == 1).await;
    stream.script.hold();
    assert!(stream.path.publish_frame(3));
    stream.script.logged("process 3", 1).await;
    assert!(stream.path.publish_frame(4) && stream.path.publish_frame(5));
    // All memory is in use: two frames here, 3 in the pipeline, 5 in the mailbox, two more.
    let leases: Vec<_> = (0..4).map(|_| stream.path.ingress.lease()).collect();
    assert!(leases.iter().all(Option::is_some));
    assert!(!stream.path.publish_frame(6));
    drop(leases);
    stream.script.release_all();
    stream.path.seen(5).await;
    stream.script.load(Load::Never);
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("load", 2).await;
    stream.see(7).await;
    let frames = stream.status().frames;
    assert_eq!((frames.received, frames.processed, frames.skipped), (7, 3, 1));
    assert_eq!((frames.dropped, frames.set_aside), (2, 1));
    let Drops { no_memory, late, displaced, failed } = frames.drops;
    assert_eq!((no_memory, late, displaced, failed), (1, 0, 1, 0));
    let counts = [&frames.decode_latency, &frames.wait_latency, &frames.process_latency];
    // One of the seven had no memory to be decoded into; one was skipped, one displaced, one set aside.
    assert_eq!(counts.map(|figures| figures.histogram.buckets.iter().sum::<u64>()), [6, 3, 3]);
    assert!(counts.iter().all(|figures| figures.p50.is_some() && figures.p50 <= figures.p99));
    assert!(frames.input_fps > 0.0 && frames.frame_age_max >= frames.frame_age);
    assert!(frames.process_time.is_some() && frames.last_output_at.is_some());
}

#[tokio::test]
async fn nothing_is_shown_before_the_first_published_frame() {
    for fallback in ["input", "last_frame", "black"] {
        let (_world, stream) = running(json!({ "fallback": fallback })).await;
        stream.script.load(Load::Never);
        stream.change(json!({ "width": 16 })).await;
        stream.path.publisher_leaves();
        stream.script.logged("load", 2).await;
        assert_eq!(stream.path.shown(), []);
    }
}

#[tokio::test]
async fn while_loading_viewers_see_the_input_or_black_from_the_first_frame() {
    for (fallback, by) in [("input", "publisher"), ("last_frame", "host"), ("black", "host")] {
        let world = World::new();
        world.catalog.script("fake").load(Load::Never);
        let stream = world.create(json!({ "fallback": fallback })).await;
        stream.script.logged("load", 1).await;
        assert!(stream.path.publish_frame(1));
        assert_eq!(stream.path.shown()[0].by, by, "{fallback}");
        world.runtime.delete(&stream.id).await.unwrap();
    }
}

#[tokio::test]
async fn viewers_see_black_while_the_publisher_is_gone_if_the_stream_says_so() {
    let (_world, stream) = running(json!({ "fallback": "black" })).await;
    stream.see(1).await;
    stream.path.publisher_leaves();
    stream.path.black().await;
    // A frame that the decoder still held changes nothing.
    assert!(stream.path.publish_frame(2));
    stream.path.publisher_comes();
    stream.see(3).await;
    let shown: Vec<_> = stream.path.shown().iter().map(|shown| (shown.id, shown.by)).collect();
    assert_eq!(shown, [(1, "pipeline"), (0, "host"), (3, "pipeline")]);
    assert_eq!(stream.status().frames.dropped, 1);
}

#[tokio::test]
async fn the_last_frame_stands_while_the_publisher_is_gone() {
    for fallback in ["input", "last_frame"] {
        let (_world, stream) = running(json!({ "fallback": fallback })).await;
        stream.see(1).await;
        stream.path.publisher_leaves();
        stream.path.publisher_comes();
        stream.see(2).await;
        let shown: Vec<_> = stream.path.shown().iter().map(|shown| (shown.id, shown.by)).collect();
        assert_eq!(shown, [(1, "pipeline"), (2, "pipeline")]);
    }
}

#[tokio::test]
async fn the_last_frame_stands_through_a_reload_if_the_stream_says_so() {
    let (world, stream) = running(json!({ "fallback": "last_frame" })).await;
    stream.see(1).await;
    stream.script.load(Load::Never);
    stream.change(json!({ "width": 16 })).await;
    stream.script.logged("load", 2).await;
    assert!(stream.path.publish_frame(2));
    assert_eq!(stream.path.last_shown().unwrap().id, 1);
    world.runtime.delete(&stream.id).await.unwrap();
}

#[tokio::test]
async fn a_call_that_ends_after_a_reload_was_ordered_is_not_shown() {
    let (_world, stream) = running(json!({ "fallback": "black" })).await;
    stream.see(1).await;
    stream.script.hold();
    assert!(stream.path.publish_frame(2));
    stream.script.logged("process 2", 1).await;
    stream.change(json!({ "width": 16 })).await;
    stream.path.black().await;
    stream.script.release_all();
    stream.reach(Phase::Running).await;
    let shown: Vec<_> = stream.path.shown().iter().map(|shown| shown.by).collect();
    assert_eq!(shown, ["pipeline", "host"]);
    stream.see(3).await;
}

#[tokio::test]
async fn status_says_from_when_on_viewers_have_a_picture() {
    let (_world, stream) = running(json!({})).await;
    assert!(!stream.status().has_picture);
    stream.see(1).await;
    assert!(stream.status().has_picture);
}
