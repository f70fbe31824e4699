//! Streams whose model is not on this machine, with a stand-in of the hub that has it, or has not, or is not there.

use crate::events::Events;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use test_hub::{Repo, Seen, StandIn};
use test_peer::{Clip, Codec};
use tests::host::Host;
use tests::libraries::{library, root};
use tests::peers::{publish, watch};

const PIPELINE: &str = "streamdiffusion-sd15";
const MODEL: &str = "org/name";
/// The smallest picture the pipeline takes.
const SIDE: u32 = 384;

/// Serves the tiny model as `org/name`; its weights come only while the gate is not locked.
fn hub(gate: Arc<Mutex<()>>) -> StandIn {
    let repo = Repo::of_folder(MODEL, &root().join("models/test/sd15-tiny"));
    StandIn::start(repo, move |seen, right| {
        if seen.is_transfer() {
            drop(gate.lock());
        }
        right
    })
}

/// A server that fetches from there, into a cache of its own.
fn host(endpoint: String, home: &TempDir) -> Host {
    host_with(&["sd15"], endpoint, home)
}

fn host_with(plugins: &[&str], endpoint: String, home: &TempDir) -> Host {
    let home = home.path().to_string_lossy().into_owned();
    let settings = [
        ("SDH_MODELS__FETCH", "true".to_owned()),
        ("HF_ENDPOINT", endpoint),
        ("HF_HOME", home),
        ("HF_HUB_CACHE", String::new()),
        ("HF_HUB_OFFLINE", String::new()),
        ("HF_TOKEN", String::new()),
        ("SSL_CERT_FILE", String::new()),
    ];
    let libraries: Vec<_> = plugins.iter().map(|name| library(name)).collect();
    Host::start_with(&libraries, &settings)
}

fn params(model: &str) -> Value {
    json!({
        "model_id": model, "vae_id": "test/taesd-tiny", "t_index_list": [32], "width": SIDE, "height": SIDE,
    })
}

fn has_processed(status: &Value) -> bool {
    status["data"]["host_status"]["frames"]["processed"].as_u64() > Some(0)
}

#[test]
fn a_model_that_only_the_hub_has_is_fetched_and_then_frames_come() {
    let (gate, home) = (Arc::default(), tempfile::tempdir().expect("a temporary folder"));
    let hub = hub(Arc::clone(&gate));
    let host = host(hub.endpoint(), &home);
    let body = json!({ "pipeline": PIPELINE, "params": params(MODEL) });
    let plan = host.send("POST", "/v1/streams?plan=true", &body).json();
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("`org/name` is 6 MB in 12 files"), "{warnings}");
    let bytes = plan["plan"]["fetch_bytes"].as_u64().expect("the hub told it");
    assert!((5_000_000..6_000_000).contains(&bytes), "{bytes}");

    let held = gate.lock().expect("no panic");
    let stream = host.create(PIPELINE, params(MODEL));
    let warnings = stream.object["warnings"].to_string();
    let promise = format!("it is fetched from {} before", hub.endpoint());
    assert!(warnings.contains(&promise) && !warnings.contains("will fail"), "{warnings}");
    let events = Events::of(&host, &stream);
    assert_eq!(events.until("fetching"), ["created", "fetching"]);
    let status = stream.wait_until("the size is known", |status| {
        status["data"]["host_status"]["fetching"]["bytes_total"].is_u64()
    });
    let fetching = &status["data"]["host_status"]["fetching"];
    assert_eq!((&status["status"], &fetching["model"]), (&json!("starting"), &json!(MODEL)));
    assert!(fetching["bytes_done"].as_u64() < fetching["bytes_total"].as_u64(), "{fetching}");
    let clip = Clip::ball(Codec::Vp8, SIDE, SIDE);
    let _publisher = publish(&stream, &clip, 30);
    watch(&host, &stream, Codec::Vp8).frames(3);
    assert_eq!(stream.status()["status"], "starting", "viewers have seen the fallback");

    drop(held);
    stream.wait_until("the pipeline takes frames", has_processed);
    let told = events.until("first_frame");
    assert!(told.contains(&"fetched".to_owned()), "{told:?}");
    let status = stream.status();
    assert!(status["data"]["host_status"]["fetching"].is_null(), "{status}");
    assert!(!status["warnings"].to_string().contains(MODEL), "{status}");

    let transfers = hub.transfers().len();
    let second = host.create(PIPELINE, params(MODEL));
    assert!(!second.object["warnings"].to_string().contains("fetched"), "{}", second.object);
    second.wait_until("the second stream runs", |status| status["status"] == "running");
    assert_eq!(hub.transfers().len(), transfers, "it is here");
    // The plan asked how large it would be. It is made for models of another size, which shows once this one is here.
    let is_fetched =
        |seen: &Seen| seen.target.contains("lcm") && !seen.target.ends_with("?blobs=true");
    assert!(!hub.seen().iter().any(is_fetched), "{:?}", hub.seen());
}

#[test]
fn a_model_that_the_hub_has_not_is_said_with_the_hub_and_the_places_looked_at() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let hub = hub(Arc::default());
    let host = host(hub.endpoint(), &home);
    let stream = host.create(PIPELINE, params("some/model"));
    let status = stream.wait_until("the stream fails", |status| status["status"] == "error");
    let message = status["error_message"].as_str().expect("an error has a message");
    let place = root().join("models/some/model");
    let no_model = format!("{} has no model `some/model`", hub.endpoint());
    for part in [no_model.as_str(), &place.to_string_lossy()] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    // What is here needs no hub.
    let asked = hub.seen().len();
    let local = host.create(PIPELINE, params("test/sd15-tiny"));
    local.wait_until("the local model runs", |status| status["status"] == "running");
    assert_eq!(hub.seen().len(), asked);
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let gone = hub(Arc::default()).endpoint();
    let host = host(gone.clone(), &home);
    let stream = host.create(PIPELINE, params(MODEL));
    let status = stream.wait_until("the stream fails", |status| status["status"] == "error");
    let message = status["error_message"].as_str().expect("an error has a message");
    for part in [MODEL, &gone, "gave up", "copy a diffusers folder"] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

/// A processor's network is fetched as a model is, and what is said of its absence is then left out.
#[test]
fn a_processors_network_is_fetched_and_then_used() {
    const DEPTH: &str = "Xenova/dpt-hybrid-midas";
    let home = tempfile::tempdir().expect("a temporary folder");
    let folder = root().join("plugins/processors/tests/models").join(DEPTH);
    let hub = StandIn::start(Repo::of_folder(DEPTH, &folder), |_, right| right);
    let host = host_with(&["sd15", "processors"], hub.endpoint(), &home);
    let mut params = params("test/sd15-tiny");
    params["skip_diffusion"] = json!(true);
    params["image_preprocessing"] = json!({ "processors": [{ "type": "depth" }] });
    let stream = host.create(PIPELINE, params);
    let warnings = stream.object["warnings"].to_string();
    assert!(warnings.contains(DEPTH) && !warnings.contains("models pull"), "{warnings}");
    let _publisher = publish(&stream, &Clip::plain(0x20_40_60, Codec::Vp8, SIDE, SIDE), 10);
    let status = stream.wait_until("frames go through", has_processed);
    assert!(
        status["data"]["host_status"]["switched_off"].as_array().is_none_or(Vec::is_empty),
        "{status}"
    );
    assert!(
        hub.seen().iter().any(|seen| seen.target.contains("onnx/model.onnx")),
        "{:?}",
        hub.seen()
    );
    let took = |status: &Value| status["data"]["host_status"]["parts_ms"]["depth"].as_f64();
    stream.wait_until("it is measured", |status| took(status).is_some());
}
