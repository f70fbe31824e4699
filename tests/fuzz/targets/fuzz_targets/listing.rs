//! See `tests/fuzz/src/listing.rs`.
#![no_main]

fuzz_targets::fuzz!("listing");
