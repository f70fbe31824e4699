//! See `tests/fuzz/src/wire.rs`.
#![no_main]

fuzz_targets::fuzz!("wire");
