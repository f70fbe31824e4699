//! What steers a MediaMTX, against a stand-in of it: its API, and its program.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod attached;
mod calls;
mod spawned;
mod support;
