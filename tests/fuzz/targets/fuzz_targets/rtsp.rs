//! See `tests/fuzz/src/rtsp.rs`.
#![no_main]

fuzz_targets::fuzz!("rtsp");
