//! The HTTP contract, driven through the router over fake ports.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

mod support;

mod access;
mod care;
mod errors;
mod events;
mod lists_and_status;
mod media;
mod mediamtx;
mod metrics;
mod outputs;
mod pages;
mod streams;
