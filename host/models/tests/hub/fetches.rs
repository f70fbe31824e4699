//! Fetches for streams: each model once for all who wait for it, for as long as somebody does.

use crate::bench::{Bench, ID, autoencoder, weights};
use host_models::Fetches;
use host_ports::{Artefact, FetchError, FetchNews, FetchProgress, ModelStore, Size};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_hub::{End, Reply, Repo, Seen};

/// Longer than any test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn artefact(model: &str) -> Artefact {
    Artefact {
        model: model.to_owned(),
        revision: "main".to_owned(),
        files: Vec::new(),
        is_optional: false,
        without: String::new(),
    }
}

/// Somebody who waits.
struct Waiter {
    news: Receiver<FetchNews>,
    _fetch: Box<dyn host_ports::Fetch>,
}

impl Waiter {
    fn of(fetches: &Fetches, artefact: &Artefact) -> Self {
        let (told, news) = channel();
        let told = move |latest| drop(told.send(latest));
        Self { _fetch: fetches.fetch(artefact, Box::new(told)), news }
    }

    fn next(&self) -> FetchNews {
        self.news.recv_timeout(PATIENCE).expect("news")
    }

    fn progress_until(&self, is_met: impl Fn(&FetchProgress) -> bool) -> FetchProgress {
        loop {
            match self.next() {
                FetchNews::Progress(progress) if is_met(&progress) => return progress,
                FetchNews::Progress(_) => {}
                FetchNews::Ended(result) => panic!("{result:?}"),
            }
        }
    }

    fn end(&self) -> Result<(), FetchError> {
        loop {
            if let FetchNews::Ended(result) = self.next() {
                return result;
            }
        }
    }
}

/// A hub that answers what `is_held` says only while the gate is not locked.
fn gated(gate: &Arc<Mutex<()>>, is_held: fn(&Seen) -> bool) -> Bench {
    let gate = gate.clone();
    Bench::with(autoencoder(), move |seen, right| {
        if is_held(seen) {
            drop(gate.lock());
        }
        right
    })
}

#[test]
fn who_waits_for_the_same_model_sees_the_same_fetch() {
    let gate = Arc::default();
    let bench = gated(&gate, Seen::is_transfer);
    let held = gate.lock().expect("no panic");
    let fetches = Fetches::new(bench.client(&[]));
    let first = Waiter::of(&fetches, &artefact(ID));
    let whole = first.progress_until(|progress| progress.bytes_total > 0).bytes_total;
    assert_eq!(whole, weights().len() as u64 + 2);
    let second = Waiter::of(&fetches, &artefact(ID));
    assert_eq!(second.progress_until(|_| true).bytes_total, whole, "at once, what is known");
    drop(held);
    assert_eq!((first.end(), second.end()), (Ok(()), Ok(())));
    assert_eq!(bench.hub.transfers().len(), 1);
    // From the cache, for one who comes later.
    assert_eq!(Waiter::of(&fetches, &artefact(ID)).end(), Ok(()));
    assert_eq!(bench.hub.transfers().len(), 1);
}

#[test]
fn one_who_leaves_takes_nothing_from_the_others_and_the_last_one_ends_it() {
    let stalls = |seen: &Seen, right: Reply| match seen.is_transfer() && seen.earlier == 0 {
        true => right.ending(End::Stall(200_000)),
        false => right,
    };
    let mut bench = Bench::with(autoencoder(), stalls);
    bench.stall = Duration::from_millis(300);
    let fetches = Fetches::new(bench.client(&[]));
    let first = Waiter::of(&fetches, &artefact(ID));
    let second = Waiter::of(&fetches, &artefact(ID));
    // Some of the weights, beyond the small file before them.
    second.progress_until(|progress| progress.bytes_done > 1000);
    drop(first);
    second.progress_until(|progress| progress.bytes_done > 1000);
    drop(second);
    bench.assert_unseen();
    // One who comes back has a fetch of its own, which goes on where the other ended.
    assert_eq!(Waiter::of(&fetches, &artefact(ID)).end(), Ok(()));
    let transfers = bench.hub.transfers();
    assert!(transfers.len() >= 2 && transfers.last().is_some_and(Option::is_some), "{transfers:?}");
}

#[test]
fn a_few_models_are_fetched_at_a_time_and_the_others_in_order() {
    let gate = Arc::default();
    let bench = gated(&gate, |_| true);
    let held = gate.lock().expect("no panic");
    let fetches = Fetches::new(bench.client(&[]));
    let models = ["org/one", "org/two", "org/three", ID];
    let waiters = models.map(|model| Waiter::of(&fetches, &artefact(model)));
    for waiter in &waiters[..2] {
        waiter.progress_until(|progress| progress.what == "asks the hub");
    }
    let last = waiters[3].progress_until(|_| true);
    assert_eq!((last.model.as_str(), last.what.as_str()), (ID, "waits for other models"));
    drop(held);
    for waiter in &waiters[..3] {
        let error = waiter.end().expect_err("the hub has no such model");
        assert!(!error.may_pass && error.message.contains("has no model"), "{error}");
    }
    assert_eq!(waiters[3].end(), Ok(()));
}

#[test]
fn a_fetch_that_was_not_begun_is_forgotten_with_the_last_who_waits() {
    let gate = Arc::default();
    let bench = gated(&gate, |_| true);
    let held = gate.lock().expect("no panic");
    let fetches = Fetches::new(bench.client(&[]));
    let begun = ["org/one", "org/two"].map(|model| Waiter::of(&fetches, &artefact(model)));
    drop(Waiter::of(&fetches, &artefact(ID)));
    drop(held);
    assert!(begun.iter().all(|waiter| waiter.end().is_err()));
    let last = Waiter::of(&fetches, &artefact("org/three"));
    assert!(last.end().is_err());
    assert!(bench.hub.seen().iter().all(|seen| !seen.target.contains(ID)));
}

#[test]
fn failures_say_why_and_whether_they_may_pass() {
    let bench = Bench::with(autoencoder(), |seen, right| match seen.is_transfer() {
        true => Reply::new(503, &[], b""),
        false => right,
    });
    let fetches = Fetches::new(bench.client(&[]));
    let error = Waiter::of(&fetches, &artefact(ID)).end().expect_err("it never comes");
    assert!(error.may_pass && error.message.contains("after 5 tries"), "{error}");
    assert!(error.message.ends_with("status 503"), "the cause is told: {error}");
    let optional = Artefact { is_optional: true, ..artefact(ID) };
    let error = Waiter::of(&fetches, &optional).end().expect_err("it never comes");
    assert!(error.message.contains("after 2 tries"), "{error}");
    for bad in [
        artefact("../name"),
        Artefact { revision: "..".to_owned(), ..artefact(ID) },
        Artefact { files: vec!["../../x".to_owned()], ..artefact(ID) },
        Artefact { files: vec!["absent.safetensors".to_owned()], ..artefact(ID) },
    ] {
        let error = Waiter::of(&fetches, &bad).end().expect_err("it is refused");
        assert!(!error.may_pass, "{error}");
        let measured = fetches.measure(&bad, PATIENCE).expect_err("it is refused");
        assert_eq!(measured.may_pass, error.may_pass);
    }
}

#[test]
fn one_who_needs_a_model_joins_those_who_can_do_without_and_it_is_tried_as_often_as_needed() {
    let gate = Arc::new(Mutex::new(()));
    let held_back = gate.clone();
    let bench = Bench::with(autoencoder(), move |seen, right| match seen.is_transfer() {
        true => {
            drop(held_back.lock());
            Reply::new(503, &[], b"")
        }
        false => right,
    });
    let held = gate.lock().expect("no panic");
    let fetches = Fetches::new(bench.client(&[]));
    let optional = Artefact { is_optional: true, ..artefact(ID) };
    let optional = Waiter::of(&fetches, &optional);
    optional.progress_until(|progress| progress.what == "asks the hub");
    let needed = Waiter::of(&fetches, &artefact(ID));
    drop(held);
    for waiter in [optional, needed] {
        let error = waiter.end().expect_err("it never comes");
        assert!(error.may_pass && error.message.contains("after 5 tries"), "{error}");
    }
    assert_eq!(bench.hub.transfers().len(), 2 + 5, "one fetch, begun once more");
}

#[test]
fn a_pipeline_of_which_weights_would_be_lacking_is_refused_before_it_is_fetched() {
    let index = r#"{"unet": ["diffusers", "U"], "vae": ["diffusers", "V"],
        "safety_checker": ["stable_diffusion", "S"]}"#;
    let files = [
        ("model_index.json", index),
        ("unet/config.json", "{}"),
        ("unet/diffusion_pytorch_model.safetensors", "weights"),
        ("vae/config.json", "{}"),
        ("vae/diffusion_pytorch_model.bin", "pickle"),
        ("safety_checker/config.json", "{}"),
        ("safety_checker/pytorch_model.bin", "pickle"),
    ];
    let repo = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        Repo { id: ID.to_owned(), files: files.collect() }
    };
    let bench = Bench::of(repo(&files));
    let fetches = Fetches::new(bench.client(&[]));
    let error = Waiter::of(&fetches, &artefact(ID)).end().expect_err("it could not be loaded");
    assert!(!error.may_pass && error.message.contains("is read for `vae`;"), "{error}");
    assert_eq!(fetches.measure(&artefact(ID), PATIENCE), Err(error));
    assert_eq!(bench.blobs(), [""; 0]);
    let config = Artefact { files: vec!["vae/config.json".to_owned()], ..artefact(ID) };
    assert_eq!(Waiter::of(&fetches, &config).end(), Ok(()), "files that are named are no pipeline");

    let mut files = files;
    files[4].0 = "vae/diffusion_pytorch_model.safetensors";
    let bench = Bench::of(repo(&files));
    let fetches = Fetches::new(bench.client(&[]));
    assert_eq!(Waiter::of(&fetches, &artefact(ID)).end(), Ok(()), "no pipeline loads the checker");
}

#[test]
fn one_file_of_many_is_fetched_alone() {
    let bench = Bench::of(autoencoder());
    let fetches = Fetches::new(bench.client(&[]));
    let one = Artefact { files: vec!["README.md".to_owned()], ..artefact(ID) };
    assert_eq!(fetches.measure(&one, PATIENCE), Ok(Size { files: 1, bytes: Some(7) }));
    assert_eq!(Waiter::of(&fetches, &one).end(), Ok(()));
    assert_eq!(bench.blobs().len(), 1);
}

#[test]
fn a_question_for_the_size_is_answered_in_bounded_time_without_fetching() {
    let bench = Bench::of(autoencoder());
    let fetches = Fetches::new(bench.client(&[]));
    let bytes = Some(weights().len() as u64 + 2);
    assert_eq!(fetches.measure(&artefact(ID), PATIENCE), Ok(Size { files: 2, bytes }));
    assert_eq!((bench.hub.transfers(), bench.blobs()), (vec![], vec![]));
    assert_eq!(fetches.hub(), bench.hub.endpoint());

    let silent = Bench::with(autoencoder(), |_, right| right.ending(End::Stall(1)));
    let fetches = Fetches::new(silent.client(&[]));
    let error = fetches.measure(&artefact(ID), Duration::from_millis(200));
    assert!(error.expect_err("nothing comes").may_pass);
}
