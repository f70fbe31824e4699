//! Nothing is left behind by a hundred streams. Alone in its process, since it counts what the process has.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

// Written for the other tests too.
#[allow(dead_code)]
mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::Host;

/// Growth that is no leak, in bytes: what allocators keep.
const SLACK: u64 = 8 << 20;
const STREAMS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn worker_entry() {
    support::worker_entry();
}

#[test]
fn a_hundred_streams_leave_no_descriptor_no_thread_and_no_memory() {
    let host = Host::with(&["plugin_passthrough"]);
    let run = || host.loaded("passthrough", json!({ "width": 256, "height": 256 })).expect(1, 1);
    (0..10).for_each(|_| run());
    let before = Usage::now();
    (0..STREAMS).for_each(|_| run());
    // The system may list a thread for a moment after it was joined; a leak stays.
    let (mut after, give_up) = (Usage::now(), Instant::now() + PATIENCE);
    while after.descriptors > before.descriptors || after.threads > before.threads {
        assert!(Instant::now() < give_up, "{before:?} became {after:?}");
        std::thread::yield_now();
        after = Usage::now();
    }
    assert!(
        after.bytes < before.bytes + SLACK,
        "{} bytes before, {} after",
        before.bytes,
        after.bytes
    );
}

#[derive(Debug)]
struct Usage {
    descriptors: usize,
    threads: usize,
    bytes: u64,
}

impl Usage {
    fn now() -> Self {
        let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            bytes: resident * 4096,
        }
    }
}
