//! Who shares a worker, and when it ends.

use crate::support::{Host, exists};
use host_ports::{Frame, FrameSize, FrameStamp, OpenRequest, PipelineCatalog, PipelineError};
use serde_json::json;
use std::time::Instant;

#[test]
fn streams_of_one_library_share_a_worker_that_ends_with_the_last() {
    let host = Host::with(&["plugin_passthrough"]);
    let mut one = host.loaded("passthrough", json!({ "width": 64, "height": 72 }));
    let mut two = host.loaded("passthrough", json!({ "invert": true }));
    let pid = one.pipeline.worker_pid().unwrap();
    assert_eq!(two.pipeline.worker_pid(), Some(pid));
    one.expect(10, 10);
    two.expect(10, 245);
    drop(one);
    two.expect(20, 235);
    drop(two);
    assert!(!exists(pid), "the worker ends, and is reaped, with its last stream");
}

#[test]
fn each_stream_has_its_own_worker_on_request() {
    let host = Host::configured(&["plugin_passthrough"], |config| config.per_stream = true);
    let one = host.loaded("passthrough", json!({}));
    let two = host.loaded("passthrough", json!({}));
    assert_ne!(one.pipeline.worker_pid(), two.pipeline.worker_pid());
}

#[test]
fn one_crash_ends_all_streams_of_the_library_and_all_can_be_loaded_again() {
    let host = Host::with(&["plugin_faulty"]);
    let mut one = host.loaded("faulty", json!({}));
    let mut two = host.loaded("faulty", json!({}));
    one.update("fault", "segfault").unwrap();
    assert!(one.process(1).unwrap_err().needs_restart());
    assert!(two.process(1).unwrap_err().needs_restart());
    one.set("fault", "none");
    one.load().unwrap();
    two.load().unwrap();
    assert_eq!(one.pipeline.worker_pid(), two.pipeline.worker_pid());
    one.expect(1, 1);
    two.expect(2, 2);
}

#[test]
fn hot_params_change_the_next_picture() {
    let host = Host::with(&["plugin_passthrough"]);
    let mut stream = host.loaded("passthrough", json!({}));
    stream.expect(100, 100);
    stream.update("invert", true).unwrap();
    stream.expect(100, 155);
    let long = "x".repeat(1_000_000);
    stream.update("prompt", long).unwrap();
    stream.expect(100, 155);
}

#[test]
fn outputs_may_be_held_and_then_frames_are_skipped() {
    let host = Host::with(&["plugin_passthrough"]);
    let mut stream = host.loaded("passthrough", json!({}));
    let held: Vec<Frame> = std::iter::from_fn(|| stream.process(7).unwrap()).collect();
    assert_eq!(held.len(), 6);
    assert!(held.iter().all(|frame| frame.pixels()[0] == 7));
    drop(held);
    stream.expect(8, 8);
}

#[test]
fn frames_from_elsewhere_are_copied_if_they_fit() {
    let host = Host::with(&["plugin_passthrough"]);
    let mut stream = host.loaded("passthrough", json!({ "width": 64, "height": 64 }));
    let other = host.stream("passthrough", json!({ "width": 64, "height": 64 }));
    let stamp = FrameStamp { id: 1, captured_at: Instant::now() };
    let mut slot = other.input.lease().unwrap();
    slot.pixels_mut().fill(3);
    let frame = stream.pipeline.process(Frame::new(stamp, slot)).unwrap().unwrap();
    assert_eq!(frame.pixels()[..3], [3, 3, 3]);

    let larger = host.stream("passthrough", json!({ "width": 128, "height": 64 }));
    let frame = Frame::new(stamp, larger.input.lease().unwrap());
    let message = "the frame is 128x64, the pipeline takes 64x64".into();
    assert_eq!(stream.pipeline.process(frame).unwrap_err(), PipelineError::Failed { message });
}

#[test]
fn opening_is_refused_for_impossible_sizes_and_before_loading_nothing_works() {
    let host = Host::with(&["plugin_passthrough"]);
    let claim = host.claim("passthrough").id;
    let size = FrameSize::new(100_000, 8);
    let formats = host_ports::Formats { input: size, output: size };
    assert!(matches!(
        host.catalog.open(OpenRequest { claim, formats }).map(drop),
        Err(PipelineError::CannotLoad { .. })
    ));
    let mut stream = host.stream("passthrough", json!({}));
    let message = "the pipeline is not loaded".into();
    assert_eq!(stream.process(1).unwrap_err(), PipelineError::Failed { message });
    assert_eq!(stream.pipeline.worker_pid(), None);
}

#[test]
fn plans_say_what_has_no_effect_and_what_is_wrong() {
    let host = Host::with(&["plugin_passthrough"]);
    let claim = host.claim("passthrough").id;
    let plan = |params: serde_json::Value| {
        host.catalog.plan(&claim, None, params.as_object().unwrap()).unwrap()
    };
    let good = plan(json!({ "prompt": "a cat", "width": 640 }));
    assert_eq!(good.formats.output, FrameSize::new(640, 512));
    assert_eq!(good.unsupported.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(), ["prompt"]);
    let bad = plan(json!({ "width": 63 }));
    assert_eq!(bad.errors[0].pointer, "/width");
}
