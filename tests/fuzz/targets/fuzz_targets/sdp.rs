//! See `tests/fuzz/src/sdp.rs`.
#![no_main]

fuzz_targets::fuzz!("sdp");
