//! The catalog and its workers, with real libraries in real processes.
#![allow(clippy::unwrap_used)] // A test may stop where it stands.

mod discovery;
mod faults;
mod notices;
mod processors;
mod refusals;
mod shared_faults;
mod sharing;
#[path = "../support/mod.rs"]
mod support;

#[test]
fn worker_entry() {
    support::worker_entry();
}
