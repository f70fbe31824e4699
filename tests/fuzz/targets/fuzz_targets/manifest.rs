//! See `tests/fuzz/src/manifest.rs`.
#![no_main]

fuzz_targets::fuzz!("manifest");
