//! See `tests/fuzz/src/rtmp.rs`.
#![no_main]

fuzz_targets::fuzz!("rtmp");
