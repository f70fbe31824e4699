//! Whatever a plugin does, its own stream gets an error that says what, loading again helps, and other streams go on.

use crate::support::{Host, exists};
use host_plugins::{Config, Limits};
use host_ports::{PipelineCatalog, PipelineError, PlanError};
use rustix::process::{Pid, Signal};
use serde_json::json;
use std::time::{Duration, Instant};

/// Long enough for a busy machine to start a worker.
const LIMIT: u64 = 5;

fn impatient(config: &mut Config) {
    let limit = Duration::from_secs(LIMIT);
    config.limits =
        Limits { frame: limit, load: limit, update: limit, plan: limit, ..config.limits };
    config.limits.close = Duration::from_millis(500);
}

fn host() -> Host {
    Host::configured(&["plugin_passthrough", "plugin_faulty"], impatient)
}

/// Lets `fault` happen at a frame and sees that only its own stream is harmed.
#[track_caller]
fn check_fault(fault: &str, is_expected: impl FnOnce(&PipelineError) -> bool) {
    let host = host();
    let mut other = host.loaded("passthrough", json!({}));
    let mut stream = host.loaded("faulty", json!({}));
    stream.expect(10, 10);
    stream.update("fault", fault).unwrap();
    let error = stream.process(20).unwrap_err();
    assert!(is_expected(&error), "{fault}: {error:?}");
    other.expect(30, 30);
    stream.set("fault", "none");
    if error.needs_restart() {
        assert!(stream.process(40).is_err(), "it has to be loaded first");
        stream.load().unwrap();
    } else {
        stream.update("fault", "none").unwrap();
    }
    stream.expect(50, 50);
    other.expect(60, 60);
}

fn died(error: &PipelineError, expected: &str) -> bool {
    matches!(error, PipelineError::Died { plugin, how } if plugin == "faulty" && how.contains(expected))
}

fn failed(error: &PipelineError, expected: &str) -> bool {
    matches!(error, PipelineError::Failed { message } if message.contains(expected))
}

#[test]
fn a_panic_is_an_error_of_the_frame() {
    check_fault("panic", |error| failed(error, "panicked: told to panic"));
}

#[test]
fn an_error_is_passed_on() {
    check_fault("error", |error| failed(error, "told to fail"));
}

#[test]
fn an_abort_ends_the_worker() {
    check_fault("abort", |error| died(error, "ended with signal 6 (abort)"));
}

#[test]
fn a_segmentation_fault_ends_the_worker() {
    check_fault("segfault", |error| died(error, "ended with signal 11 (segmentation fault)"));
}

#[test]
fn an_exit_ends_the_worker() {
    check_fault("exit", |error| died(error, "exited with status 3"));
}

#[test]
fn closing_the_workers_descriptors_ends_it() {
    check_fault("close_descriptors", |error| died(error, "exited with status 70"));
}

#[test]
fn a_hang_ends_the_worker_when_its_time_is_over() {
    check_fault("hang", |error| {
        matches!(error, PipelineError::Hung { seconds: LIMIT, doing: "processing a frame", .. })
    });
}

#[test]
fn the_frame_memory_cannot_be_cut_off_by_the_plugin() {
    check_fault("truncate_memory", |error| {
        failed(error, "tried to truncate") && !error.to_string().contains("Ok(")
    });
}

#[test]
fn a_leak_or_slowness_is_no_error() {
    let host = host();
    let mut stream = host.loaded("faulty", json!({ "fault": "leak" }));
    (0..20).for_each(|colour| stream.expect(colour, colour));
    stream.update("fault", "slow").unwrap();
    stream.expect(1, 1);
}

#[test]
fn other_sizes_than_planned_are_refused_at_loading() {
    let host = host();
    let mut stream = host.stream("faulty", json!({ "fault": "wrong_size" }));
    let message = "the plugin planned 64x64 to 64x64 and opened 72x64 to 72x64".into();
    assert_eq!(stream.load().unwrap_err(), PipelineError::CannotLoad { message });
}

#[test]
fn loading_may_fail_in_every_way() {
    let host = host();
    let mut other = host.loaded("passthrough", json!({}));
    let mut stream = host.stream("faulty", json!({ "phase": "open" }));
    for (fault, expected) in [
        ("error", "told to fail"),
        ("panic", "panicked: told to panic"),
        ("segfault", "plugin faulty ended its worker: ended with signal 11"),
        ("exit", "plugin faulty ended its worker: exited with status 3"),
        ("hang", "plugin faulty did not answer for 5 s while loading"),
    ] {
        stream.set("fault", fault);
        let error = stream.load().unwrap_err();
        assert!(error.to_string().contains(expected), "{fault}: {error}");
        other.expect(1, 1);
    }
    stream.set("fault", "none");
    stream.load().unwrap();
    stream.expect(9, 9);
}

#[test]
fn updating_may_fail_in_every_way() {
    let host = host();
    let mut stream = host.loaded("faulty", json!({ "phase": "update" }));
    for (fault, expected) in [
        ("error", "told to fail"),
        ("panic", "panicked: told to panic"),
        ("segfault", "ended with signal 11"),
        ("hang", "did not answer for 5 s while applying params"),
    ] {
        let error = stream.update("fault", fault).unwrap_err();
        assert!(error.to_string().contains(expected), "{fault}: {error}");
        if error.needs_restart() {
            stream.set("fault", "none");
            stream.load().unwrap();
        }
        stream.expect(5, 5);
    }
}

#[test]
fn planning_may_fail_in_every_way_and_never_touches_the_host() {
    let host = host();
    let claim = host.claim("faulty").id;
    let plan = |fault: &str| {
        let params = json!({ "phase": "plan", "fault": fault });
        host.catalog.plan(&claim, None, params.as_object().unwrap())
    };
    for (fault, expected) in [
        ("error", "told to fail"),
        ("panic", "panicked: told to panic"),
        ("segfault", "ended with signal 11"),
        ("exit", "exited with status 3"),
        ("hang", "no answer for 5 s"),
    ] {
        match plan(fault).unwrap_err() {
            PlanError::Failed { plugin, message } => {
                assert!(plugin == "faulty" && message.contains(expected), "{fault}: {message}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(plan("none").unwrap().formats.input.width, 64, "after {fault}");
    }
}

#[test]
fn loading_shows_progress_and_can_be_cancelled() {
    let host = host();
    let mut stream = host.stream("faulty", json!({ "delay_ms": 60 }));
    let seen = stream.load().unwrap();
    assert!(
        seen.len() > 3 && seen.iter().all(|progress| progress.what == "pretending to load"),
        "{seen:?}"
    );

    // Streams share what is loaded, and this one is to load for itself.
    drop(stream);
    let mut stream = host.stream("faulty", json!({ "delay_ms": 600_000 }));
    let cancel = stream.pipeline.canceller();
    let outcome = stream.pipeline.load(&stream.params, &mut |_| cancel());
    assert_eq!(outcome.unwrap_err(), PipelineError::Cancelled);
}

#[test]
fn a_frame_under_way_can_be_cancelled() {
    let host = host();
    let mut stream = host.loaded("faulty", json!({}));
    stream.update("fault", "hang").unwrap();
    let cancel = stream.pipeline.canceller();
    let canceller = std::thread::spawn(move || cancel());
    assert_eq!(stream.process(1).unwrap_err(), PipelineError::Cancelled);
    canceller.join().unwrap();
}

#[test]
fn a_killed_worker_is_noticed_at_once_and_leaves_no_zombie() {
    let host = Host::with(&["plugin_faulty"]);
    let mut stream = host.loaded("faulty", json!({}));
    stream.update("delay_ms", 600_000).unwrap();
    let pid = stream.pipeline.worker_pid().unwrap();
    let killer = std::thread::spawn(move || {
        let begun = Instant::now();
        rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        begun
    });
    let error = stream.process(1).unwrap_err();
    let took = killer.join().unwrap().elapsed();
    assert!(died(&error, "ended with signal 9 (killed)"), "{error}");
    // Long before a frame has taken too long, for which there are 10 s.
    assert!(took < Duration::from_secs(5), "noticed after {took:?}");
    assert!(!exists(pid));
    assert_eq!(stream.pipeline.worker_pid(), None);
}
