//! One that somebody else runs.

use crate::support::{FakeStreams, HOOK, HOST, NEW, OLD, StandIn, has_paths, until};
use host_mediamtx::{Place, Version};
use serde_json::{Value, json};

fn asks_the_host(exclude: &[&str]) -> Value {
    let exclude: Vec<_> = exclude.iter().map(|action| json!({ "action": action })).collect();
    json!({
        "authMethod": "http",
        "authHTTPAddress": format!("{HOST}{HOOK}"),
        "authHTTPExclude": exclude,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_come_and_go_with_streams_and_with_the_host() {
    for version in [OLD, NEW] {
        let stand_in = StandIn::running(json!({"version": version}));
        let streams = FakeStreams::with(&["a"]);
        let mediamtx = streams.start(Place::Attach(stand_in.access()), None);
        let report = until(&mediamtx, "it is connected", |report| report.is_connected).await;
        assert_eq!((report.error, report.readers), (None, 0));
        assert_eq!(report.version, (version == NEW).then_some(Version::new(1, 20, 1)));
        assert_eq!(stand_in.paths().await, ["a_out"]);
        streams.set(&["a", "b"]);
        has_paths(&mediamtx, &stand_in, &["a_out", "b_out"]).await;
        streams.set(&["b"]);
        has_paths(&mediamtx, &stand_in, &["b_out"]).await;
        mediamtx.stop().await;
        assert!(stand_in.paths().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_can_be_published_to_as_long_as_it_asks_the_host_whom_to_let_in() {
    let behaviour = |global: Value| json!({"version": NEW, "global": global});
    let stand_in = StandIn::running(behaviour(asks_the_host(&["api", "metrics"])));
    let streams = FakeStreams::with(&["a"]);
    let mediamtx = streams.start(Place::Attach(stand_in.access()), Some(HOOK));
    has_paths(&mediamtx, &stand_in, &["a", "a_out"]).await;
    let others = json!({"authMethod": "http", "authHTTPAddress": "http://127.0.0.1:1/"});
    let internal = json!({"authMethod": "internal", "authHTTPAddress": format!("{HOST}{HOOK}")});
    for lax in [others, internal, asks_the_host(&["publish"]), json!({})] {
        stand_in.behave(behaviour(lax.clone()));
        has_paths(&mediamtx, &stand_in, &["a_out"]).await;
        stand_in.behave(behaviour(asks_the_host(&[])));
        has_paths(&mediamtx, &stand_in, &["a", "a_out"]).await;
    }
    mediamtx.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_lost_is_put_back_what_a_killed_host_left_is_taken_away_and_the_rest_stays() {
    let mut stand_in = StandIn::running(json!({"version": NEW}));
    let streams = FakeStreams::with(&["a"]);
    let mediamtx = streams.start(Place::Attach(stand_in.access()), None);
    has_paths(&mediamtx, &stand_in, &["a_out"]).await;
    stand_in.stop();
    let report = until(&mediamtx, "it is missed", |report| !report.is_connected).await;
    let error = report.error.unwrap();
    assert!(error.starts_with("the API of MediaMTX at http://127.0.0.1:"), "{error}");
    let left = |id: &str| json!({"source": format!("whep://127.0.0.1:8891/play/{id}/whep")});
    stand_in.start_again(json!({
        "a_out": {"source": "whep://127.0.0.1:8891/play/before/whep", "sourceOnDemand": true},
        "camera": {"source": "rtsp://10.0.0.1/"},
        "gone": {"forward": [{"dest": "whip://127.0.0.1:8891/gone/whip", "whipBearerToken": "k"}]},
        "gone_out": left("gone"),
        "other_out": {"source": "whep://127.0.0.1:9999/play/x/whep"},
    }));
    has_paths(&mediamtx, &stand_in, &["a_out", "camera", "other_out"]).await;
    streams.set(&[]);
    has_paths(&mediamtx, &stand_in, &["camera", "other_out"]).await;
    mediamtx.stop().await;
    assert_eq!(stand_in.paths().await, ["camera", "other_out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_somebody_else_with_a_stream_s_name_is_told_and_stays() {
    let mut stand_in = StandIn::running(json!({"version": OLD}));
    stand_in.start_again(json!({"a_out": {"source": "rtsp://10.0.0.1/"}}));
    let streams = FakeStreams::with(&["a", "b"]);
    let mediamtx = streams.start(Place::Attach(stand_in.access()), None);
    let report = until(&mediamtx, "it is told", |report| report.error.is_some()).await;
    assert!(report.is_connected);
    assert_eq!(report.error.as_deref(), Some("it has a path `a_out` that is not this host's"));
    has_paths(&mediamtx, &stand_in, &["a_out", "b_out"]).await;
    mediamtx.stop().await;
    assert_eq!(stand_in.paths().await, ["a_out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_publishers_of_our_streams_are_counted_and_nobody_else() {
    let readers = |count| vec![json!({"type": "rtspSession", "id": "1"}); count];
    let old = json!([
        {"name": "a_out", "ready": true, "tracks": ["H264"], "bytesReceived": 9, "readers": readers(3)},
        {"name": "a", "ready": true, "tracks": ["H264"], "bytesReceived": 9, "readers": readers(1)},
        {"name": "camera", "ready": true, "tracks": ["H264"], "bytesReceived": 9, "readers": readers(7)},
    ]);
    let new = json!([
        {"name": "a_out", "available": true, "tracks2": [{"codec": "H264"}], "inboundBytes": 9, "readers": readers(2)},
        {"name": "b_out", "available": false, "tracks2": [], "inboundBytes": 0, "readers": readers(1)},
        {"name": "b", "available": false, "tracks2": null, "inboundBytes": 0, "readers": null},
        {"name": "a", "available": true, "tracks2": [{"codec": "VP8"}], "inboundBytes": 9, "readers": []},
    ]);
    for (version, figures) in [(OLD, old), (NEW, new)] {
        let stand_in = StandIn::running(json!({"version": version, "figures": figures}));
        let streams = FakeStreams::with(&["a", "b"]);
        let mediamtx = streams.start(Place::Attach(stand_in.access()), None);
        let report = until(&mediamtx, "it is connected", |report| report.is_connected).await;
        assert_eq!((report.readers, report.publishers), (3, 1), "{version}");
        mediamtx.stop().await;
    }
}
