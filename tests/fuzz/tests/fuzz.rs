//! Every file of the corpus, and damaged copies of it, through its target. `FUZZ_SECONDS` makes each target go on for so
//! long with ever new damage.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::panic;
use std::thread;
use std::time::{Duration, Instant};
use test_fuzz::{CORPUS, Mutator, TARGETS, Target};

/// What tokio gives a worker, which runs most of this in the host.
const STACK: usize = 2 << 20;

#[test]
fn what_the_hub_lists_stays_inside() {
    search("listing");
}

#[test]
fn manifests_do_no_harm() {
    search("manifest");
}

#[test]
fn params_keep_their_promises() {
    search("params");
}

#[test]
fn of_pictures_only_pixels_are_kept() {
    search("picture");
}

#[test]
fn publishers_by_rtsp_do_no_harm() {
    search("rtsp");
}

#[test]
fn publishers_and_servers_by_rtmp_do_no_harm() {
    search("rtmp");
}

#[test]
fn offers_are_answered_section_by_section() {
    search("sdp");
}

#[test]
fn requests_are_answered_or_refused_in_one_form() {
    search("wire");
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folders = std::fs::read_dir(CORPUS).unwrap();
    let mut found: Vec<_> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, TARGETS.map(|target| target.name));
    for target in TARGETS {
        assert!(!target.corpus().unwrap().is_empty(), "corpus/{} is empty", target.name);
    }
}

fn search(name: &str) {
    let target = Target::find(name).unwrap();
    let files = target.corpus().unwrap();
    let mut taken = 0;
    for (file, input) in &files {
        taken += usize::from(run(&target, &format!("{name}/{file}"), input));
    }
    // Else nothing behind the parser is tried.
    assert!(taken > 1, "{taken} of {} files of {name} are taken", files.len());
    let inputs: Vec<_> = files.iter().map(|(_, input)| input.clone()).collect();
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = 0;
    while deadline.map_or(seed < target.mutations, |deadline| Instant::now() < deadline) {
        for (file, input) in &files {
            let damaged = Mutator::new(&inputs, target.words, seed).mutate(input);
            run(&target, &format!("{name}/{file} with seed {seed}"), &damaged);
        }
        seed += 1;
    }
}

/// On a thread that is named after the input: of a stack that overflows, the name is all that is told.
fn run(target: &Target, what: &str, input: &[u8]) -> bool {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(what.to_owned()).stack_size(STACK);
        let ended = thread.spawn_scoped(scope, || (target.run)(input)).unwrap().join();
        ended.unwrap_or_else(|panicked| {
            eprintln!("{what} fails with the input b\"{}\"", input.escape_ascii());
            panic::resume_unwind(panicked)
        })
    })
}
