//! `GET /metrics`: Prometheus' text format, with names that docs/metrics.md promises.

use crate::support::Host;
use std::collections::BTreeMap;

const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");

/// Samples by name and labels; checks the format on the way.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut families = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(!families.contains(&family), "{family} is there twice");
            assert_eq!(family.ends_with("_total"), kind == "counter", "{family}");
            families.push(family);
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = *families.last().expect("samples follow their family");
            assert!(name.starts_with(family) && family.starts_with("sdh_"), "{line}");
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line}");
        }
    }
    for family in families {
        assert!(text.contains(&format!("# HELP {family} ")));
        assert!(DOCUMENTED.contains(&format!("`{family}`")), "{family} is not in docs/metrics.md");
    }
    samples
}

#[tokio::test]
async fn metrics_tell_of_streams_plugins_and_requests_by_route() {
    let host = Host::new();
    let id = host.stream().await["id"].as_str().unwrap().to_owned();
    while host.get(&format!("/v1/streams/{id}")).await.json()["status"] != "running" {
        tokio::task::yield_now().await;
    }
    host.get("/no/such/path").await;
    host.send("BREW", &format!("/v1/streams/{id}"), &[], "").await;
    let answer = host.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let samples = samples(&answer.text);
    for (name, value) in [
        ("sdh_streams".to_owned(), 1.0),
        (format!("sdh_stream_running{{stream=\"{id}\"}}"), 1.0),
        (format!("sdh_stream_dropped_frames_total{{stream=\"{id}\",stage=\"mailbox\"}}"), 0.0),
        (format!("sdh_stream_latency_seconds_count{{stream=\"{id}\",stage=\"end_to_end\"}}"), 0.0),
        ("sdh_plugin_loads_total{plugin=\"small\"}".to_owned(), 1.0),
        (request("POST", "/v1/streams", 201), 1.0),
        (request("GET", "other", 404), 1.0),
        (request("other", "/v1/streams/{id}", 405), 1.0),
    ] {
        assert_eq!(samples.get(&name), Some(&value), "{name}\n{}", answer.text);
    }
}

fn request(method: &str, route: &str, status: u16) -> String {
    let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
    format!("sdh_http_requests_total{{{labels}}}")
}

#[tokio::test]
async fn metrics_ask_for_the_token_where_there_is_one() {
    let host = crate::access::guarded();
    host.get("/metrics").await.assert_error(401, "AUTH/UNAUTHORIZED");
    let bearer = [("authorization", "Bearer eye")];
    assert_eq!(host.send("GET", "/metrics", &bearer, "").await.status, 200);
}
