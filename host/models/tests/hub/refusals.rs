//! What ends a pull at once: who may not read, what is not there, and answers that are not believed.

use crate::bench::{Bench, autoencoder, names, wish};
use host_models::{Cancel, FileName, PullError, Selection, Wish};
use test_hub::{COMMIT, Reply, Seen};

/// A hub that answers requests whose address has `part` in this way.
fn at(part: &'static str, reply: impl Fn() -> Reply + Send + Sync + 'static) -> Bench {
    Bench::with(
        autoencoder(),
        move |seen: &Seen, right| {
            if seen.target.contains(part) { reply() } else { right }
        },
    )
}

/// The error, after a single request for what is refused; nothing is left that could be taken for a model.
fn refused(bench: &Bench) -> PullError {
    let error = bench.pull().expect_err("it is refused");
    let last = bench.hub.seen().pop().expect("a request");
    assert_eq!(last.earlier, 0, "it was asked again: {error}");
    bench.assert_unseen();
    error
}

fn status(part: &'static str, status: u16, code: &'static str) -> PullError {
    refused(&at(part, move || Reply::new(status, &[("X-Error-Code", code)], b"no")))
}

fn listing(text: String) -> PullError {
    refused(&at("/api/", move || Reply::new(200, &[], text.as_bytes())))
}

#[test]
fn who_may_not_read_is_told_what_is_needed() {
    let error = status("/api/", 401, "RepoNotFound");
    assert!(matches!(error, PullError::NotPublic { has_token: false, .. }), "{error:?}");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    for (part, code) in [("/api/", ""), ("/resolve/", "GatedRepo")] {
        for number in [401, 403] {
            let error = status(part, number, code);
            assert!(matches!(error, PullError::Gated { .. }), "{error:?}");
            let message = error.to_string();
            let wanted = ["licence", "HF_TOKEN", "/org/name"];
            assert!(wanted.iter().all(|part| message.contains(part)), "{message}");
        }
    }
    let bench = at("/api/", || Reply::new(403, &[], b""));
    let hub = bench.client(&[("HF_TOKEN", "hf_secret")]);
    let error = hub.pull(&wish(), &Cancel::default(), &mut |_| ()).expect_err("it is refused");
    assert!(error.to_string().contains("this token"), "{error}");
    assert!(!format!("{error:?}").contains("hf_secret"));
}

#[test]
fn what_is_not_there_is_named() {
    let error = status("/api/", 404, "");
    assert!(matches!(error, PullError::NoModel { .. }) && error.to_string().contains("org/name"));
    let error = status("/api/", 404, "RevisionNotFound");
    assert!(matches!(error, PullError::NoRevision { .. }) && error.to_string().contains("`main`"));
    let error = status("/resolve/", 404, "EntryNotFound");
    assert!(matches!(error, PullError::NoFile { .. }) && error.to_string().contains("config.json"));
    let error = status("/api/", 418, "");
    assert!(matches!(error, PullError::Status { status: 418, .. }), "{error:?}");
}

#[test]
fn a_listing_with_a_name_that_leads_outside_is_not_believed() {
    for name in ["../../x.safetensors", "/etc/x", "a\\\\b", "a\\u0000b", "a//b", ""] {
        let text = format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "config.json"}}, {{"rfilename": "{name}"}}]}}"#
        );
        let error = listing(text);
        assert!(matches!(error, PullError::Answer { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("is not a file of a repository"), "{error}");
    }
}

#[test]
fn a_listing_that_is_none_is_not_believed() {
    let file = r#"{"rfilename": "config.json"}"#;
    for (text, why) in [
        ("not JSON".to_owned(), "no listing"),
        ("{\"siblings\": []}".to_owned(), "sha"),
        (format!("{{\"sha\": \"../..\", \"siblings\": [{file}]}}"), "40 hexadecimal digits"),
        ("[".repeat(100_000), "no listing"),
        (" ".repeat((16 << 20) + 1), "longer than 16777216 bytes"),
    ] {
        let error = listing(text);
        assert!(matches!(error, PullError::Answer { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let many = vec![file; 2001].join(",");
    let error = listing(format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{many}]}}"));
    assert!(matches!(error, PullError::TooManyFiles { count: 2001, limit: 2000, .. }));
}

#[test]
fn a_repository_without_weights_has_nothing_to_pull() {
    let text = format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "config.json"}}]}}"#);
    assert!(matches!(listing(text), PullError::NothingChosen { .. }));
}

#[test]
fn a_file_without_checksum_size_or_of_another_commit_is_not_fetched() {
    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    let bad: [(&[(&str, &str)], &str); 4] = [
        (&[("ETag", "\"../../x\""), ("Content-Length", "2")], "SHA-256"),
        (&[("Content-Length", "2")], "SHA-256"),
        (&[("X-Linked-Etag", GIT)], "size"),
        (&[("ETag", GIT), ("X-Repo-Commit", "fedcba")], "commit fedcba"),
    ];
    for (headers, why) in bad {
        let error = refused(&at("/resolve/", move || Reply::new(200, headers, b"{}")));
        assert!(matches!(error, PullError::Answer { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn redirects_end_somewhere() {
    let bench = at("/api/", || Reply::new(302, &[("Location", "/api/again")], b""));
    let error = bench.pull().expect_err("it goes in circles");
    assert!(error.to_string().contains("again and again"), "{error}");
    assert_eq!(bench.hub.seen().len(), 11);
    let error = refused(&at("/api/", || Reply::new(302, &[("Location", "ftp://x/y")], b"")));
    assert!(error.to_string().contains("redirects to nowhere"), "{error}");
}

#[test]
fn a_renamed_model_is_found_behind_its_redirect() {
    let bench = Bench::with(autoencoder(), |seen: &Seen, right| {
        match seen.target.strip_prefix("/api/models/org/name/revision/main") {
            Some("") => {
                let to = "/api/models/org/name/revision/main?new";
                Reply::new(307, &[("Location", to)], b"")
            }
            _ => right,
        }
    });
    bench.assert_whole(&bench.pull().expect("the redirect is followed"));
}

#[test]
fn more_than_the_disk_has_room_for_is_not_begun() {
    let huge = || {
        let etag = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        Reply::new(200, &[("X-Linked-Etag", etag), ("X-Linked-Size", "18446744073709551615")], b"")
    };
    let bench = at("/resolve/", huge);
    let error = refused(&bench);
    assert!(matches!(error, PullError::NoSpace { needed: u64::MAX, .. }), "{error:?}");
    assert_eq!((bench.blobs(), bench.hub.transfers()), (vec![], vec![]));
}

#[test]
fn a_pipelines_index_must_be_one() {
    let mut repo = autoencoder();
    repo.files.insert("model_index.json".into(), b"[1]".to_vec());
    let error = refused(&Bench::of(repo));
    assert!(error.to_string().contains("no JSON object"), "{error}");
}

#[test]
fn offline_nobody_is_asked() {
    let bench = Bench::of(autoencoder());
    let hub = bench.client(&[("HF_HUB_OFFLINE", "1")]);
    let error = hub.pull(&wish(), &Cancel::default(), &mut |_| ()).expect_err("it is offline");
    assert!(matches!(error, PullError::Offline { .. }), "{error:?}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert!(bench.hub.seen().is_empty());
    assert_eq!(names(bench.cache.path()), [""; 0]);
}

#[test]
fn a_file_in_the_way_of_a_folder_is_an_error_and_no_panic() {
    let mut repo = autoencoder();
    repo.files.insert("a".into(), b"file".to_vec());
    repo.files.insert("a/b".into(), b"in a folder of its name".to_vec());
    let bench = Bench::of(repo);
    let files = ["a", "a/b"].map(|name| FileName::parse(name).expect("a name"));
    let both = Wish { selection: Selection::Files(files.to_vec()), ..wish() };
    let error = bench.pull_with(&both, &mut |_| ()).expect_err("no disk has both");
    assert!(matches!(error, PullError::Files { .. }), "{error:?}");
    bench.assert_unseen();
}
