//! What each target gives libFuzzer: where inputs go, and damage that knows the words and the form of its inputs.

use std::sync::OnceLock;
use test_fuzz::{Mutator, Target};

pub use libfuzzer_sys;

/// The main of a target.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        use $crate::libfuzzer_sys::{self, fuzz_mutator, fuzz_target};

        fuzz_target!(|data: &[u8]| $crate::run($name, data));

        fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            match seed % 2 {
                0 => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
                _ => $crate::damage($name, data, size, max_size, seed),
            }
        });
    };
}

/// A target and its corpus, once for the process, which serves one target.
fn target(name: &str) -> &'static (Target, Vec<Vec<u8>>) {
    static TARGET: OnceLock<(Target, Vec<Vec<u8>>)> = OnceLock::new();
    TARGET.get_or_init(|| {
        let target = Target::find(name).expect("there is such a target");
        let corpus = target.corpus().expect("it has a corpus");
        (target, corpus.into_iter().map(|(_, input)| input).collect())
    })
}

pub fn run(name: &str, data: &[u8]) {
    (target(name).0.run)(data);
}

/// Damages the first `size` bytes and gives the new size.
pub fn damage(name: &str, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let (target, corpus) = target(name);
    let damaged = Mutator::new(corpus, target.words, seed.into()).mutate(&data[..size]);
    let length = damaged.len().min(max_size);
    data[..length].copy_from_slice(&damaged[..length]);
    length
}
