//! Plugins that misbehave: their stream says why and recovers, its viewers stay, and other streams do not notice.

use serde_json::{Value, json};
use test_peer::{Client, Clip, Codec};
use tests::host::Host;
use tests::libraries::library;
use tests::peers::{publish, watch};

/// Frames that go well before the fault.
const FAULT_AT: u64 = 20;
/// The healthy stream's rate: slow enough that a busy test machine is no reason to drop a frame.
const FPS: u32 = 10;

/// A busy machine drops a frame now and then by itself; what others notice of a fault, they notice every time.
const TRIES: usize = 3;

/// Lets a fault happen, and expects `reason` in what the stream says about it.
fn check(fault: &str, reason: &str) {
    let is_unnoticed = (0..TRIES).any(|_| dropped_beside(fault, reason) == 0);
    assert!(is_unnoticed, "the other stream dropped frames in each of {TRIES} tries");
}

/// The same, once; how many frames another stream dropped meanwhile.
fn dropped_beside(fault: &str, reason: &str) -> u64 {
    let host = Host::start_with(
        &[library("faulty"), library("passthrough")],
        &[("SDH_PLUGINS__FRAME_LIMIT_SECONDS", "2".into())],
    );
    let clip = Clip::ball(Codec::Vp8, 64, 64);
    let healthy = host.create("passthrough", json!({"width": 64, "height": 64}));
    let _healthy_publisher = publish(&healthy, &clip, FPS);
    let mut healthy_reader = watch(&host, &healthy, Codec::Vp8);
    let params = json!({"width": 64, "height": 64, "fault": fault, "at_frame": FAULT_AT});
    let faulty = host.create("faulty", params);
    let _publisher = publish(&faulty, &clip, FPS);
    let mut reader = watch(&host, &faulty, Codec::Vp8);
    healthy_reader.frames(3);
    let before = healthy.status();

    let status = reader_until(&mut reader, || {
        let status = faulty.status();
        let error = status["error_message"].as_str().unwrap_or_default();
        error.contains(reason).then_some(status)
    });
    println!("{fault}: {}", status["error_message"]);
    let seen = processed(&status);
    faulty.patch(json!({"fault": "none"}));
    reader_until(&mut reader, || {
        let status = faulty.status();
        let is_well = status["status"] == "running" && processed(&status) > seen + 5;
        is_well.then_some(())
    });
    reader.frames(10);
    assert!(!reader.is_closed, "its viewer stays connected");

    healthy_reader.frames(3);
    let after = healthy.status();
    assert!(processed(&after) > processed(&before), "and goes on: {after}");
    let worker = |status: &Value| status["data"]["host_status"]["worker_pid"].clone();
    assert_eq!(worker(&after), worker(&before), "in the same worker");
    let count = dropped(&after) - dropped(&before);
    println!("the other stream dropped {count} frames");
    count
}

/// Plays on until a condition gives something.
fn reader_until<T>(reader: &mut Client, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    reader.until("the stream says what is expected", |_, _| {
        found = look();
        found.is_some()
    });
    found.expect("found, or the wait had failed")
}

fn processed(status: &Value) -> u64 {
    status["frames_processed"].as_u64().unwrap_or(0)
}

fn dropped(status: &Value) -> u64 {
    status["data"]["host_status"]["frames"]["dropped"].as_u64().expect("a number")
}

#[test]
fn a_panic_is_an_error_of_its_stream() {
    check("panic", "panic");
}

#[test]
fn an_abort_costs_a_worker() {
    check("abort", "signal 6");
}

#[test]
fn a_segmentation_fault_costs_a_worker() {
    check("segfault", "signal 11");
}

#[test]
fn a_plugin_that_hangs_is_ended() {
    check("hang", "did not answer");
}

#[test]
fn a_plugin_that_exits_is_started_again() {
    check("exit", "exited");
}

#[test]
fn a_plugin_that_closes_descriptors_is_started_again() {
    check("close_descriptors", "ended its worker");
}

#[test]
fn a_plugin_cannot_truncate_the_shared_memory() {
    check("truncate_memory", "tried to truncate");
}

#[test]
fn an_answer_of_a_wrong_size_is_refused() {
    check("wrong_size", "72x64");
}
