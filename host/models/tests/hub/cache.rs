//! Pulls that meet, end early or are undone.

use crate::bench::{Bench, autoencoder, names, weights, wish};
use host_models::{Cancel, Event, Place, PullError, RemoveError, State, installed};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;
use test_hub::sha256;

#[test]
fn of_two_pulls_at_once_one_fetches_and_the_other_waits() {
    let (waits, is_waited) = channel();
    let is_waited = Mutex::new(is_waited);
    // The weights come when the other pull has said that it waits.
    let bench = Bench::with(autoencoder(), move |seen, right| {
        if seen.is_transfer() {
            let waiting = is_waited.lock().expect("no panic");
            waiting.recv_timeout(Duration::from_secs(20)).expect("the other waits");
        }
        right
    });
    let pull = || {
        let waits = waits.clone();
        let mut report = move |event: Event<'_>| {
            if let Event::Waiting { .. } = event {
                waits.send(()).expect("somebody listens");
            }
        };
        bench.pull_with(&wish(), &mut report).expect("it is served well")
    };
    let (first, second) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(pull), scope.spawn(pull));
        (first.join().expect("no panic"), second.join().expect("no panic"))
    });
    assert_eq!(bench.hub.transfers(), [None]);
    let mut fetched = [first.fetched, second.fetched];
    fetched.sort();
    assert_eq!(fetched, [0, 300_002]);
    bench.assert_whole(&first);
}

#[test]
fn a_cancelled_pull_leaves_no_model_and_goes_on_later() {
    let bench = Bench::of(autoencoder());
    let cancel = Cancel::default();
    let mut report = |event: Event<'_>| match event {
        Event::Progress { done, .. } if done > 100_000 => cancel.cancel(),
        _ => (),
    };
    let error = bench.client(&[]).pull(&wish(), &cancel, &mut report).expect_err("cancelled");
    assert!(matches!(error, PullError::Cancelled), "{error:?}");
    bench.assert_unseen();
    let partial = bench.folder().join("blobs").join(sha256(&weights()) + ".incomplete");
    let there = fs::metadata(partial).expect("it is kept").len();
    assert!((100_000..300_000).contains(&there), "{there}");
    let [found] = &installed(Path::new("/none"), bench.cache.path())[..] else { panic!("one") };
    assert_eq!((found.place, found.bytes), (Place::Cache, there + 2));
    assert!(matches!(found.state, State::Incomplete(_)));

    let pulled = bench.pull().expect("it is served well");
    assert_eq!(bench.hub.transfers(), [None, Some(there)]);
    assert_eq!(pulled.fetched, 300_000 - there);
    bench.assert_whole(&pulled);
    let [found] = &installed(Path::new("/none"), bench.cache.path())[..] else { panic!("one") };
    assert_eq!((found.id.as_str(), &found.state), ("org/name", &State::Complete));
}

#[test]
fn what_is_cancelled_before_it_begins_asks_nobody() {
    let bench = Bench::of(autoencoder());
    let cancel = Cancel::default();
    cancel.cancel();
    let error = bench.client(&[]).pull(&wish(), &cancel, &mut |_| ()).expect_err("cancelled");
    assert!(matches!(error, PullError::Cancelled), "{error:?}");
    assert!(bench.hub.seen().is_empty());
}

#[test]
fn a_removed_model_is_gone_and_nothing_else_is() {
    let bench = Bench::of(autoencoder());
    let hub = bench.client(&[]);
    let id = wish().id;
    assert!(matches!(hub.remove(&id), Err(RemoveError::NotThere { .. })));
    bench.pull().expect("it is served well");
    fs::create_dir(bench.cache.path().join("models--org--other")).expect("a folder");
    hub.remove(&id).expect("it is there");
    assert_eq!(names(bench.cache.path()), [".locks", "models--org--other"]);
    assert_eq!(names(&bench.cache.path().join(".locks")), ["models--org--name"]);
    bench.assert_whole(&bench.pull().expect("it can come back"));
}

#[test]
fn a_model_that_is_being_fetched_is_not_removed() {
    let bench = Bench::of(autoencoder());
    let hub = bench.client(&[]);
    let mut result = None;
    let mut report = |event: Event<'_>| {
        if let Event::Progress { .. } = event {
            result.get_or_insert_with(|| hub.remove(&wish().id));
        }
    };
    let pulled = bench.pull_with(&wish(), &mut report).expect("it is served well");
    assert!(matches!(result, Some(Err(RemoveError::Busy { .. }))), "{result:?}");
    bench.assert_whole(&pulled);
}

#[test]
fn a_link_to_a_folder_elsewhere_is_not_followed() {
    let bench = Bench::of(autoencoder());
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::write(elsewhere.path().join("mine"), "mine").expect("a file");
    std::os::unix::fs::symlink(elsewhere.path(), bench.folder()).expect("a link");
    let error = bench.client(&[]).remove(&wish().id).expect_err("it is a link");
    assert!(matches!(error, RemoveError::Link(_)), "{error}");
    assert_eq!(names(elsewhere.path()), ["mine"]);
}
