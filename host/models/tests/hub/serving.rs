//! A hub that serves as it should.

use crate::bench::{Bench, ID, autoencoder, names, weights, wish};
use host_models::{
    Cancel, Event, FileName, Precision, PullError, Revision, Selection, TransferError, Wish,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use test_hub::{COMMIT, Connection, Repo, StandIn, git_sha1, sha256};

#[test]
fn a_model_comes_whole_checked_and_where_the_hubs_tools_have_it() {
    let bench = Bench::of(autoencoder());
    let mut last = None;
    let mut is_falling = false;
    let mut report = |event: Event<'_>| match event {
        Event::Progress { done, total, .. } => {
            is_falling |= last.is_some_and(|(before, _)| done < before);
            last = Some((done, total));
        }
        other => panic!("{other:?}"),
    };
    let pulled = bench.pull_with(&wish(), &mut report).expect("it is served well");
    bench.assert_whole(&pulled);
    let total = weights().len() as u64 + 2;
    assert_eq!((pulled.files, pulled.bytes, pulled.fetched), (2, total, total));
    assert_eq!((last, is_falling), (Some((total, total)), false));
    let mut checksums = [git_sha1(b"{}"), sha256(&weights())];
    checksums.sort();
    assert_eq!(bench.blobs(), checksums);
    let link = fs::read_link(pulled.folder.join("config.json")).expect("a link");
    assert_eq!(link, Path::new("../../blobs").join(git_sha1(b"{}")));
    let top = names(&bench.folder());
    assert_eq!(top, ["blobs", "refs", "snapshots"]);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let bench = Bench::of(autoencoder());
    let first = bench.pull().expect("it is served well");
    let second = bench.pull().expect("it is served well");
    assert_eq!((second.fetched, &second.folder), (0, &first.folder));
    assert_eq!(bench.hub.transfers(), [None]);
    bench.assert_whole(&second);
}

#[test]
fn a_pipeline_is_its_components_in_half_precision_unless_full_is_asked_for() {
    let index = r#"{"_class_name": "P", "unet": ["d", "U"], "vae": ["d", "V"], "tokenizer": ["t", "T"],
        "tokenizer_2": ["t", "T"]}"#;
    let files = [
        ("model_index.json", index),
        ("all.safetensors", "once more"),
        ("unet/config.json", "{\"unet\": 1}"),
        ("unet/diffusion_pytorch_model.safetensors", "full"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "half"),
        ("vae/config.json", "{\"vae\": 1}"),
        ("vae/diffusion_pytorch_model.bin", "pickle"),
        ("tokenizer/vocab.json", "{\"a\": 1}"),
        ("tokenizer_2/vocab.json", "{\"a\": 1}"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into();
    let bench = Bench::of(Repo { id: ID.into(), files });
    let pulled = bench.pull().expect("it is served well");
    assert_eq!(
        names(&pulled.folder),
        ["model_index.json", "tokenizer", "tokenizer_2", "unet", "vae"]
    );
    let unet = pulled.folder.join("unet");
    assert_eq!(names(&unet), ["config.json", "diffusion_pytorch_model.fp16.safetensors"]);
    assert_eq!(fs::read(unet.join("config.json")).expect("a link"), b"{\"unet\": 1}");
    assert_eq!(pulled.without_weights, ["vae"]);
    assert_eq!(bench.blobs().len(), 5, "equal files are one blob");

    let full = Wish { selection: Selection::Pipeline(Precision::Full), ..wish() };
    let pulled = bench.pull_with(&full, &mut |_| ()).expect("it is served well");
    assert_eq!(pulled.fetched, 4);
    assert_eq!(
        fs::read(unet.join("diffusion_pytorch_model.safetensors")).expect("a link"),
        b"full"
    );
}

#[test]
fn another_revision_gets_a_ref_of_its_own_and_a_commit_none() {
    let bench = Bench::of(autoencoder());
    let revision = Revision::parse("refs/pr/1").expect("a revision");
    bench.pull_with(&Wish { revision, ..wish() }, &mut |_| ()).expect("it is served well");
    let commit = fs::read_to_string(bench.folder().join("refs/refs/pr/1")).expect("a ref");
    assert_eq!(commit, COMMIT);
    let asked = &bench.hub.seen()[0].target;
    assert_eq!(asked, "/api/models/org/name/revision/refs%2Fpr%2F1");

    let bench = Bench::of(autoencoder());
    let revision = Revision::parse(COMMIT).expect("a revision");
    bench.pull_with(&Wish { revision, ..wish() }, &mut |_| ()).expect("it is served well");
    assert_eq!(names(&bench.folder().join("refs")), [""; 0]);
    assert_eq!(names(&bench.folder().join("snapshots")), [COMMIT]);
}

#[test]
fn named_files_are_all_that_is_fetched() {
    let bench = Bench::of(autoencoder());
    let files = |name: &str| Selection::Files(vec![FileName::parse(name).expect("a name")]);
    let named = Wish { selection: files("README.md"), ..wish() };
    let pulled = bench.pull_with(&named, &mut |_| ()).expect("it is served well");
    assert_eq!(names(&pulled.folder), ["README.md"]);
    let absent = Wish { selection: files("no.json"), ..wish() };
    let error = bench.pull_with(&absent, &mut |_| ()).expect_err("there is none");
    assert!(
        matches!(&error, PullError::NoFile { file, .. } if file.as_str() == "no.json"),
        "{error}"
    );
}

#[test]
fn the_token_is_for_the_hub_and_not_for_whom_it_redirects_to() {
    let bench = Bench::of(autoencoder());
    let hub = bench.client(&[("HF_TOKEN", "hf_secret")]);
    hub.pull(&wish(), &Cancel::default(), &mut |_| ()).expect("it is served well");
    let (transfers, others): (Vec<_>, Vec<_>) =
        bench.hub.seen().into_iter().partition(|seen| seen.is_transfer());
    assert!(!transfers.is_empty() && transfers.iter().all(|seen| seen.token.is_none()));
    let is_sent = |token: &Option<String>| token.as_deref() == Some("Bearer hf_secret");
    assert!(others.len() > 3 && others.iter().all(|seen| is_sent(&seen.token)), "{others:?}");
}

#[test]
fn over_tls_the_hub_must_be_vouched_for() {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
            });
    let config = Arc::new(config.expect("a key for its certificate"));
    let wrap = move |connection| -> Box<dyn Connection> {
        let greeting = ServerConnection::new(config.clone()).expect("good settings");
        Box::new(StreamOwned::new(greeting, connection))
    };
    let bench = Bench::over(StandIn::start_over("https", wrap, autoencoder(), |_, right| right));
    let endpoint = format!("https://127.0.0.1:{}", bench.hub.port());
    let file = bench.cache.path().join("authority.pem");
    fs::write(&file, made.cert.pem()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let pull =
        |more: &[(&str, &str)]| bench.client(more).pull(&wish(), &Cancel::default(), &mut |_| ());
    let pulled = pull(&[("HF_ENDPOINT", &endpoint), ("SSL_CERT_FILE", file)]);
    bench.assert_whole(&pulled.expect("it is vouched for"));
    let error = pull(&[("HF_ENDPOINT", &endpoint)]).expect_err("nobody knows it");
    let is_refused = matches!(&error, PullError::GaveUp { source: TransferError::Http(_), .. });
    assert!(is_refused, "{error:?}");
}
