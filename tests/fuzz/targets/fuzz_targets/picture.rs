//! See `tests/fuzz/src/picture.rs`.
#![no_main]

fuzz_targets::fuzz!("picture");
