//! Hubs that break off, stall, lie and do not do as they are asked.

use crate::bench::{Bench, autoencoder, weights, wish};
use host_models::{Event, PullError, TransferError};
use std::fs;
use std::time::Duration;
use test_hub::{End, Reply, Seen, sha256};

/// Of `End::Cut` and `End::Stall`: not at a multiple of anything.
const SOME: usize = 123_457;

/// A hub that answers each request for weights as `answer` says, by how many came before.
fn transfers(answer: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) -> Bench {
    Bench::with(autoencoder(), move |seen, right| match seen.is_transfer() {
        true => answer(seen, right),
        false => right,
    })
}

/// What the first answer alone is like.
fn at_first(end: End) -> Bench {
    transfers(move |seen, right| if seen.earlier == 0 { right.ending(end) } else { right })
}

/// Whole, whatever range was asked for.
fn whole() -> Reply {
    Reply::new(200, &[], &weights())
}

fn partial(bench: &Bench) -> std::path::PathBuf {
    bench.folder().join("blobs").join(sha256(&weights()) + ".incomplete")
}

#[test]
fn a_transfer_that_was_cut_goes_on_where_it_was_cut() {
    let bench = at_first(End::Cut(SOME));
    let mut retries = 0;
    let mut report = |event: Event<'_>| {
        retries += usize::from(matches!(event, Event::Retrying { .. }));
    };
    let pulled = bench.pull_with(&wish(), &mut report).expect("the rest comes");
    assert_eq!((bench.hub.transfers(), retries), (vec![None, Some(SOME as u64)], 1));
    bench.assert_whole(&pulled);
}

#[test]
fn a_transfer_that_stalled_is_asked_for_again() {
    let mut bench = at_first(End::Stall(SOME));
    bench.stall = Duration::from_millis(300);
    let pulled = bench.pull().expect("the rest comes");
    assert_eq!(bench.hub.transfers()[..2], [None, Some(SOME as u64)]);
    bench.assert_whole(&pulled);
}

#[test]
fn one_that_always_stalls_is_given_up_after_five_tries_and_goes_on_in_the_next_pull() {
    let mut bench = transfers(|seen, right| match seen.earlier {
        0 => right.ending(End::Stall(SOME)),
        1..6 => right.ending(End::Stall(0)),
        _ => right,
    });
    bench.stall = Duration::from_millis(200);
    let error = bench.pull().expect_err("nothing comes");
    assert!(matches!(error, PullError::GaveUp { tries: 5, .. }), "{error:?}");
    let from = Some(SOME as u64);
    assert_eq!(bench.hub.transfers(), [None, from, from, from, from]);
    bench.assert_unseen();
    assert_eq!(fs::metadata(partial(&bench)).expect("it is kept").len(), SOME as u64);
}

#[test]
fn a_server_that_ignores_the_range_begins_anew() {
    let bench = transfers(|seen, _| match seen.earlier {
        0 => whole().ending(End::Cut(SOME)),
        _ => whole(),
    });
    let pulled = bench.pull().expect("all of it comes");
    assert_eq!(bench.hub.transfers(), [None, Some(SOME as u64)]);
    bench.assert_whole(&pulled);
}

#[test]
fn one_that_begins_anew_and_breaks_off_at_the_same_place_is_given_up() {
    let bench = transfers(|_, _| whole().ending(End::Cut(SOME)));
    let error = bench.pull().expect_err("it never gets further");
    let is_cut = |source: &TransferError| match source {
        TransferError::Cut { got, .. } => *got == SOME as u64,
        other => matches!(other, TransferError::Read(_)),
    };
    assert!(matches!(&error, PullError::GaveUp { source, .. } if is_cut(source)), "{error:?}");
    assert_eq!(bench.hub.transfers().len(), 5);
    bench.assert_unseen();
}

#[test]
fn a_range_that_was_not_asked_for_is_not_taken() {
    for range in ["bytes 7-299999/300000", "bytes */300000", "nonsense"] {
        let bench = transfers(move |seen, right| match seen.earlier {
            0 => right.ending(End::Cut(SOME)),
            1 => Reply::new(206, &[("Content-Range", range)], &weights()[7..]),
            _ => right,
        });
        let pulled = bench.pull().expect("the next answer is right");
        assert_eq!(bench.hub.transfers(), [None, Some(SOME as u64), None], "{range}");
        bench.assert_whole(&pulled);
    }
}

#[test]
fn a_server_that_knows_no_such_range_is_asked_for_all() {
    let bench = transfers(|seen, right| match seen.earlier {
        0 => right.ending(End::Cut(SOME)),
        1 => Reply::new(416, &[], b""),
        _ => right,
    });
    let pulled = bench.pull().expect("the next answer is right");
    assert_eq!(bench.hub.transfers(), [None, Some(SOME as u64), None]);
    bench.assert_whole(&pulled);
}

/// What comes is deleted, and the error names both sizes.
fn check_size(bench: &Bench, got: &str) {
    let error = bench.pull().expect_err("the size is wrong");
    let is_told = |error: &PullError| matches!(error, PullError::WrongSize { announced: 300_000, got: told, .. } if told == got);
    assert!(is_told(&error), "{error:?}");
    assert!(error.to_string().contains("300000") && error.to_string().contains(got), "{error}");
    assert!(!partial(bench).exists());
    assert_eq!(bench.hub.transfers().len(), 1);
    bench.assert_unseen();
}

#[test]
fn another_size_than_announced_is_refused_as_soon_as_it_shows() {
    let longer = || [weights(), vec![7; 1000]].concat();
    check_size(&transfers(move |_, _| Reply::new(200, &[], &longer())), "301000");
    check_size(&transfers(|_, _| Reply::new(200, &[], &weights()[..1000])), "1000");
    let chunked = move |_: &Seen, _| Reply::new(200, &[], &longer()).ending(End::Chunked);
    check_size(&transfers(chunked), "more than 300000");
}

#[test]
fn a_whole_of_another_size_than_announced_is_refused_in_the_middle_too() {
    let bench = transfers(|seen, right| match seen.earlier {
        0 => right.ending(End::Cut(SOME)),
        _ => Reply::new(206, &[("Content-Range", "bytes 123457-299999/299999")], b"x"),
    });
    let error = bench.pull().expect_err("the size is wrong");
    assert!(matches!(&error, PullError::WrongSize { got, .. } if got == "299999"), "{error:?}");
    assert!(!partial(&bench).exists());
}

#[test]
fn an_answer_of_untold_size_that_ends_early_is_a_cut() {
    let bench = transfers(|seen, right| match seen.earlier {
        0 => Reply::new(200, &[], &weights()[..SOME]).ending(End::Chunked),
        _ => right,
    });
    let pulled = bench.pull().expect("the rest comes");
    assert_eq!(bench.hub.transfers(), [None, Some(SOME as u64)]);
    bench.assert_whole(&pulled);
}

#[test]
fn other_bytes_than_announced_are_deleted_and_both_checksums_named() {
    let mut other = weights();
    other[200_000] ^= 1;
    let sent = other.clone();
    let bench = transfers(move |_, _| Reply::new(200, &[], &sent));
    let error = bench.pull().expect_err("the checksum is wrong");
    assert!(matches!(error, PullError::WrongChecksum { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains(&sha256(&weights())) && message.contains(&sha256(&other)),
        "{message}"
    );
    assert_eq!(bench.blobs().len(), 1, "that of config.json alone");
    assert_eq!(bench.hub.transfers().len(), 1);
    bench.assert_unseen();
}

#[test]
fn a_damaged_rest_of_an_earlier_pull_costs_one_more_transfer() {
    let bench = Bench::of(autoencoder());
    fs::create_dir_all(partial(&bench).parent().expect("a folder")).expect("a folder");
    fs::write(partial(&bench), [0; 1000]).expect("a file");
    let pulled = bench.pull().expect("it is fetched anew");
    assert_eq!(bench.hub.transfers(), [Some(1000), None]);
    bench.assert_whole(&pulled);

    let bench = Bench::of(autoencoder());
    fs::create_dir_all(partial(&bench).parent().expect("a folder")).expect("a folder");
    fs::write(partial(&bench), [weights(), vec![0]].concat()).expect("a file");
    bench.assert_whole(&bench.pull().expect("what is too long is none of it"));
    assert_eq!(bench.hub.transfers(), [None]);
}

#[test]
fn a_blob_that_was_shortened_is_fetched_again() {
    let bench = Bench::of(autoencoder());
    bench.pull().expect("it is served well");
    let blob = bench.folder().join("blobs").join(sha256(&weights()));
    fs::write(blob, "short").expect("a file");
    let pulled = bench.pull().expect("it is served well");
    assert_eq!(pulled.fetched, 300_000);
    bench.assert_whole(&pulled);
}

#[test]
fn a_server_in_trouble_is_asked_again_and_given_up_after_five_tries() {
    let in_trouble = |until: usize| {
        Bench::with(autoencoder(), move |seen, right| {
            match seen.earlier < until && !seen.is_transfer() {
                true => Reply::new(503, &[], b"later"),
                false => right,
            }
        })
    };
    let bench = in_trouble(4);
    bench.assert_whole(&bench.pull().expect("the fifth answer is right"));
    let error = in_trouble(5).pull().expect_err("it is given up");
    let is_told = |source: &TransferError| matches!(source, TransferError::Status(503));
    assert!(
        matches!(&error, PullError::GaveUp { tries: 5, source, .. } if is_told(source)),
        "{error:?}"
    );
}

#[test]
fn a_listing_that_was_cut_is_asked_for_again() {
    let bench = Bench::with(autoencoder(), |seen, right| {
        let is_first_listing = seen.target.starts_with("/api/") && seen.earlier == 0;
        if is_first_listing { right.ending(End::Cut(20)) } else { right }
    });
    bench.assert_whole(&bench.pull().expect("the second listing is whole"));
}

#[test]
fn a_server_that_is_asked_too_often_says_when_to_come_back() {
    let busy = |seconds: &'static str| {
        transfers(move |seen, right| match seen.earlier {
            0 => Reply::new(429, &[("Retry-After", seconds)], b""),
            _ => right,
        })
    };
    let bench = busy("1");
    let mut waits = Vec::new();
    let mut report = |event: Event<'_>| {
        if let Event::Retrying { wait, .. } = event {
            waits.push(wait);
        }
    };
    let pulled = bench.pull_with(&wish(), &mut report).expect("the second answer is right");
    assert_eq!(waits, [Duration::from_secs(1)]);
    bench.assert_whole(&pulled);
    let error = busy("100000").pull().expect_err("nobody waits for so long");
    assert!(matches!(error, PullError::RateLimited { wait, .. } if wait.as_secs() == 100_000));
}
