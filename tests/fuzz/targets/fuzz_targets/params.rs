//! See `tests/fuzz/src/params.rs`.
#![no_main]

fuzz_targets::fuzz!("params");
