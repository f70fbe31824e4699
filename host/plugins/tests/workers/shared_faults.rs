//! What crashes or hangs in a worker that several streams share costs them one restart, and those alone something else who
//! used it.

use crate::processors::{host, off, painted, wish};
use crate::support::{Host, Stream};
use serde_json::{Value, json};
use std::thread;

/// So long the others are at a frame when something happens, and longer than any test.
const FOR_EVER: u32 = 600_000;
/// How long the one to blame takes, so that the others have begun by then, on a busy machine too.
const A_MOMENT: u32 = 1000;

fn blurred(host: &Host) -> Stream {
    host.loaded("faulty", json!({ "processor": wish("blur", json!({ "blur_intensity": 3 })) }))
}

fn restart(stream: &mut Stream) {
    let error = stream.process(200).unwrap_err();
    assert!(error.needs_restart(), "{error}");
    assert_eq!(error.plugin(), Some("faulty"));
    stream.load().unwrap();
}

/// Lets `stream` bring the worker down, the other one having nothing to do.
fn fall(stream: &mut Stream, other: &mut Stream) {
    assert_eq!(stream.pipeline.worker_pid(), other.pipeline.worker_pid(), "they share a worker");
    stream.expect(200, 10);
    assert!(stream.process(200).unwrap_err().needs_restart());
    restart(other);
    stream.load().unwrap();
    assert_eq!(stream.pipeline.worker_pid(), other.pipeline.worker_pid(), "again");
}

#[test]
fn it_is_off_after_one_restart_and_the_others_are_as_before() {
    let host = host();
    for fault in ["segfault", "abort", "abort_elsewhere", "exit", "hang"] {
        let mut other = blurred(&host);
        let mut stream = painted(&host, json!({ "fault": fault, "at_frame": 2 }));
        fall(&mut stream, &mut other);
        let told = off(&stream);
        assert!(told.len() == 1 && told[0].0 == "faulty", "{fault}: {told:?}");
        let reason = told[0].1;
        assert!(reason.starts_with("plugin faulty "), "{fault}: {reason}");
        assert_eq!(off(&other), [], "{fault}");
        stream.expect(200, 200);
        other.expect(90, 90);
        let metrics = other.pipeline.metrics();
        assert!(metrics.iter().any(|metric| metric.name == "blur_ms"), "{fault}: {metrics:?}");
    }
}

/// Both are at a frame when `stream` brings the worker down, which was to take a moment.
fn fall_at_work(stream: &mut Stream, other: &mut Stream) {
    assert_eq!(stream.pipeline.worker_pid(), other.pipeline.worker_pid(), "they share a worker");
    thread::scope(|scope| {
        let others = scope.spawn(|| other.process(200).unwrap_err());
        assert!(stream.process(200).unwrap_err().needs_restart());
        assert!(others.join().unwrap().needs_restart());
    });
}

/// Loading takes as long as frames do, so that only streams that are loaded are made slow.
fn slowed(mut stream: Stream, name: &str, value: Value) -> Stream {
    stream.update(name, value).unwrap();
    stream
}

fn slow_processor(name: &str, mut params: Value, delay_ms: u32) -> Value {
    params["delay_ms"] = json!(delay_ms);
    wish(name, params)
}

#[test]
fn whoever_is_at_a_frame_then_is_not_taken_for_it() {
    let host = host();
    let of_another = slow_processor("faulty-too", json!({}), FOR_EVER);
    for fault in ["segfault", "abort", "exit"] {
        for (name, busy) in [("delay_ms", json!(FOR_EVER)), ("processor", of_another.clone())] {
            let params = json!({ "processor": wish("faulty-too", json!({})) });
            let mut other = slowed(host.loaded("faulty", params), name, busy);
            let processor = slow_processor("faulty", json!({ "fault": fault }), A_MOMENT);
            let mut stream = slowed(painted(&host, json!({})), "processor", processor);
            fall_at_work(&mut stream, &mut other);
            assert_eq!((off(&stream).len(), off(&other)), (1, vec![]), "{fault} at {name}");
            stream.load().unwrap();
            stream.expect(200, 200);
        }
    }
}

#[test]
fn a_pipeline_that_crashes_is_not_laid_at_the_door_of_what_others_call() {
    let host = host();
    let processor = slow_processor("faulty", json!({}), FOR_EVER);
    let mut other = slowed(painted(&host, json!({})), "processor", processor);
    let stream = slowed(host.loaded("faulty", json!({})), "delay_ms", json!(A_MOMENT));
    let mut stream = slowed(stream, "fault", json!("abort"));
    fall_at_work(&mut stream, &mut other);
    assert_eq!(off(&other), []);
}

#[test]
fn all_streams_that_use_it_come_back_without_it() {
    let host = host();
    let mut other = painted(&host, json!({}));
    other.expect(200, 10);
    let mut stream = painted(&host, json!({ "fault": "abort", "at_frame": 2 }));
    fall(&mut stream, &mut other);
    for stream in [&mut stream, &mut other] {
        assert_eq!(off(stream).len(), 1);
        stream.expect(200, 200);
    }
    other.update("processor", Value::Null).unwrap();
    other.update("processor", wish("faulty", json!({ "mark": 0x1e_1e_1e }))).unwrap();
    other.expect(90, 30);
}

#[test]
fn where_several_were_at_work_and_nothing_tells_who_it_was_it_is_known_the_second_time() {
    let host = host();
    let mut other = host.loaded("faulty", json!({}));
    let mut stream = painted(&host, json!({}));
    for times in 1..=2 {
        other.update("delay_ms", FOR_EVER).unwrap();
        let fault = json!({ "fault": "abort_elsewhere" });
        stream.update("processor", slow_processor("faulty", fault, A_MOMENT)).unwrap();
        fall_at_work(&mut stream, &mut other);
        assert_eq!(off(&stream).len(), times / 2, "after {times}");
        other.set("delay_ms", 0);
        other.load().unwrap();
        stream.set("processor", wish("faulty", json!({})));
        stream.load().unwrap();
    }
    stream.expect(200, 200);
    assert_eq!(off(&other), []);
}
