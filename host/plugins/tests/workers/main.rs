//! The catalog and its workers, with real libraries in real processes.

mod discovery;
mod faults;
mod refusals;
mod sharing;
#[path = "../support/mod.rs"]
mod support;

#[test]
fn worker_entry() {
    support::worker_entry();
}
