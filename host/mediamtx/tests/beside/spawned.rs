//! One that the host runs.

use crate::support::{FakeStreams, HOOK, NEW, OLD, StandIn, until};
use host_mediamtx::{API_USER, Access, Client, MediaMtx, Place, Ports, Report, Spawn, Version};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;

const ANY: Ports = Ports { api: 0, rtsp: 0, rtmp: 0, hls: 0, webrtc: 0, webrtc_media: 0, srt: 0 };

fn spawn(binary: PathBuf, folder: PathBuf, ports: Ports) -> Place {
    Place::Spawn(Spawn {
        binary,
        launcher: Vec::new(),
        folder,
        address: Ipv4Addr::LOCALHOST.into(),
        public_addresses: Vec::new(),
        ports,
        api_password: "password".into(),
    })
}

fn start(stand_in: &StandIn, streams: &FakeStreams) -> MediaMtx {
    streams.start(spawn(stand_in.binary(), stand_in.folder(), ANY), Some(HOOK))
}

/// Of the program that was started last, by the settings that it was given.
fn settings(stand_in: &StandIn) -> Value {
    let file = stand_in.folder().join(format!("mediamtx-{}.yml", std::process::id()));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

async fn paths(stand_in: &StandIn) -> Vec<String> {
    let url = format!("http://{}", settings(stand_in)["apiAddress"].as_str().unwrap());
    let client = Client::new(&Access { url, user: API_USER.into(), password: "password".into() });
    let paths = tokio::task::spawn_blocking(move || client.path_configs()).await.unwrap();
    paths.unwrap().into_iter().map(|path| path.name).collect()
}

async fn failure(mediamtx: &MediaMtx) -> String {
    let is_told = |report: &Report| report.error.is_some();
    until(mediamtx, "a failure is told", is_told).await.error.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_with_the_settings_of_its_version_and_has_the_streams_paths() {
    for (version, known) in [(OLD, Version::new(1, 5, 1)), (NEW, Version::new(1, 20, 1))] {
        let stand_in = StandIn::installed(json!({"version": version}));
        let streams = FakeStreams::with(&["a"]);
        let mediamtx = start(&stand_in, &streams);
        let report = until(&mediamtx, "it is connected", |report| report.is_connected).await;
        assert_eq!(report.version, Some(known));
        let rtsp = settings(&stand_in)["rtspAddress"].as_str().unwrap().to_owned();
        assert_eq!(report.urls["rtsp"], format!("rtsp://{rtsp}"));
        let wanted: &[_] = if version == NEW { &["a", "a_out"] } else { &["a_out"] };
        assert_eq!(paths(&stand_in).await, wanted);
        mediamtx.stop().await;
        assert_eq!(std::fs::read_dir(stand_in.folder()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_is_told_with_its_last_words_and_started_again() {
    let line = "2026/11/28 08:46:24 ERR listen tcp :1: bind: address already in use";
    let crash = json!({"version": NEW, "exits": 3, "lines": [line, "2026/11/28 08:46:24 INF bye"]});
    let stand_in = StandIn::installed(crash);
    let streams = FakeStreams::with(&["a"]);
    let mediamtx = start(&stand_in, &streams);
    let error = failure(&mediamtx).await;
    let words = "; it said: listen tcp :1: bind: address already in use";
    assert_eq!(error, format!("MediaMTX ended with status 3{words}"));
    stand_in.behave(json!({"version": NEW}));
    let report = until(&mediamtx, "it runs", |report| report.is_connected).await;
    assert_eq!(report.error, None);
    assert_eq!(paths(&stand_in).await, ["a", "a_out"]);
    mediamtx.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_answer_is_ended_and_started_again() {
    let stand_in = StandIn::installed(json!({"version": NEW}));
    let mediamtx = start(&stand_in, &FakeStreams::with(&[]));
    until(&mediamtx, "it is connected", |report| report.is_connected).await;
    let first = settings(&stand_in)["apiAddress"].clone();
    stand_in.behave(json!({"version": NEW, "hangs": true}));
    until(&mediamtx, "its silence is told", |report| !report.is_connected).await;
    let is_over = |report: &Report| {
        report.error.as_deref().is_some_and(|error| error.contains("does not answer any more"))
    };
    until(&mediamtx, "it is given up", is_over).await;
    stand_in.behave(json!({"version": NEW}));
    until(&mediamtx, "another one is connected", |report| report.is_connected).await;
    assert_ne!(settings(&stand_in)["apiAddress"], first);
    mediamtx.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_none_are_told() {
    let check = async |behaviour: Value, wanted: &str| {
        let stand_in = StandIn::installed(behaviour);
        let mediamtx = start(&stand_in, &FakeStreams::default());
        let error = failure(&mediamtx).await;
        assert!(error.contains(wanted), "{error}");
        mediamtx.stop().await;
    };
    check(json!({"version": "v1.4.0"}), "MediaMTX 1.4.0 is older than 1.5.1").await;
    check(json!({"version": NEW, "says": "hello"}), "it says \"hello\"").await;
    check(json!({"version": NEW, "says": ""}), "it says \"\"").await;
    check(json!({"version": NEW, "hangs": "on --version"}), "it says nothing for 5 s").await;

    let folder = tempfile::tempdir().unwrap();
    let missing = spawn(folder.path().join("none"), folder.path().to_owned(), ANY);
    let mediamtx = FakeStreams::default().start(missing, Some(HOOK));
    let error = failure(&mediamtx).await;
    assert!(
        error.starts_with("there is no program ") && error.contains("mediamtx.binary"),
        "{error}"
    );
    mediamtx.stop().await;
}
