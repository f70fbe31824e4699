//! Lists, status, health and plugins.

use crate::support::Host;
use host_api::{ApiConfig, GpuFigures, ListShape, MediaMtxReport};
use host_runtime::Settings;
use serde_json::{Value, json};
use tokio::sync::watch;

#[tokio::test]
async fn an_empty_list_is_an_empty_envelope() {
    let answer = Host::new().get("/v1/streams").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, r#"{"success":true,"data":[]}"#)
    );
}

#[tokio::test]
async fn the_list_s_shape_follows_accept_then_the_setting() {
    let config = ApiConfig { list_shape: ListShape::Array, ..Default::default() };
    let array = Host::with(config, Settings::default());
    for accept in ["*/*", "text/plain", "application/*"] {
        let answer = array.send("GET", "/v1/streams", &[("accept", accept)], "").await;
        assert_eq!(answer.text, "[]", "{accept}");
    }
    for accept in ["application/json", "text/html, application/json;q=0.9, */*"] {
        let answer = array.send("GET", "/v1/streams", &[("accept", accept)], "").await;
        assert_eq!(answer.json()["success"], true, "{accept}");
    }
    let envelope = Host::new().send("GET", "/v1/streams", &[("accept", "*/*")], "").await;
    assert_eq!(envelope.json()["data"], json!([]));
}

#[tokio::test]
async fn the_list_holds_whole_streams_and_filters_by_author() {
    let host = Host::new();
    let (first, second) = (host.stream().await, host.stream().await);
    let list = host.get("/v1/streams?user_id=local").await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|stream| &stream["id"]).collect();
    assert_eq!(ids, [&first["id"], &second["id"]]);
    assert_eq!(list["data"][0]["whip_url"], first["whip_url"]);
    for user in ["nobody+0%2F%C3%A4", "", "nobody%200"] {
        let list = host.get(&format!("/v1/streams?user_id={user}")).await.json();
        assert_eq!(list["data"], json!([]), "{user}");
    }
}

#[tokio::test]
async fn the_status_has_both_shapes() {
    let host = Host::new();
    let stream = host.stream().await;
    let answer = host.get(&format!("/v1/streams/{}/status", stream["id"].as_str().unwrap())).await;
    assert_eq!(answer.status, 200);
    let status = answer.json();
    let flat = [
        "id",
        "status",
        "created_at",
        "started_at",
        "uptime_seconds",
        "fps",
        "frames_processed",
        "latency_ms",
        "gpu_memory_used_mb",
        "gpu_utilization_percent",
        "error_message",
    ];
    assert_has(&status, &flat);
    assert_eq!((&status["success"], &status["error"]), (&json!(true), &Value::Null));
    let data = &status["data"];
    let outer = [
        "stream_id",
        "request_id",
        "pipeline_id",
        "pipeline",
        "type",
        "state",
        "orchestrator_info",
        "inference_status",
        "gateway_status",
    ];
    assert_has(data, &outer);
    let inference = [
        "pipeline",
        "start_time",
        "last_params_update_time",
        "last_params",
        "last_params_hash",
        "input_fps",
        "output_fps",
        "last_input_time",
        "last_output_time",
        "restart_count",
        "last_restart_time",
        "last_restart_logs",
        "last_error",
        "stream_id",
    ];
    assert_has(&data["inference_status"], &inference);
    assert_eq!(data["gateway_status"]["whep_url"], stream["output_stream_url"]);
    let stats = &data["gateway_status"]["ingest_metrics"]["stats"];
    assert_has(stats, &["peer_conn_stats", "conn_quality", "track_stats"]);
    let track = [
        "type",
        "jitter",
        "packets_lost",
        "packets_received",
        "packet_loss_pct",
        "rtt",
        "warnings",
    ];
    assert_has(&stats["track_stats"][0], &track);
    let ours = &data["host_status"];
    assert_has(ours, &["plugin", "has_picture", "last_error", "worker_pid", "loading"]);
    assert_has(&ours["frames"], &["received", "processed", "dropped", "skipped", "set_aside"]);
    for side in ["ingress", "egress"] {
        assert_has(&ours[side], &["frames_dropped"]);
    }
    assert_has(&ours["drops"], &["decode", "memory", "late", "mailbox", "process", "encode"]);
    for stage in ["decode", "wait", "process", "encode", "end_to_end"] {
        let nothing = json!({"p50_ms": null, "p95_ms": null, "p99_ms": null, "count": 0});
        assert_eq!(ours["latency"][stage], nothing, "{stage}");
    }
}

#[tokio::test]
async fn the_status_tells_of_a_restream_as_long_as_there_is_one() {
    let host = Host::new();
    let stream = host.stream().await;
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let nothing = Value::Null;
    let waiting = json!({
        "state": "waiting", "since": 1500, "error": "the server closed the connection",
        "bytes_sent": 7, "reconnects": 2,
    });
    for (url, expected) in [("rtmps://tv.example/live/key", &waiting), ("", &nothing)] {
        let changed = host.json("PATCH", &path, json!({ "output_rtmp_url": url })).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(changed.json()["warnings"], json!([]));
        let status = host.get(&format!("{path}/status")).await.json();
        assert_eq!(&status["data"]["host_status"]["restream"], expected);
    }
}

#[tokio::test]
async fn health_counts_the_streams() {
    let host = Host::new();
    host.stream().await;
    let health = host.get("/health").await.json();
    let keys = [
        "status",
        "version",
        "gpu_available",
        "gpu_name",
        "gpu_memory_total_mb",
        "gpu_memory_free_mb",
        "active_streams",
        "mediamtx_connected",
        "mediamtx",
    ];
    assert_has(&health, &keys);
    assert_eq!((&health["status"], &health["active_streams"]), (&json!("ok"), &json!(1)));
    assert_eq!((&health["mediamtx_connected"], &health["mediamtx"]), (&json!(true), &json!(null)));
}

#[tokio::test]
async fn health_tells_of_the_mediamtx_that_is_to_stand_beside_the_server() {
    let report = MediaMtxReport { mode: "attach", ..MediaMtxReport::default() };
    let (told, newest) = watch::channel(report.clone());
    let config = ApiConfig { mediamtx: Some(newest), ..ApiConfig::default() };
    let host = Host::with(config, Settings::default());
    let refused = Some("it is not there".to_owned());
    told.send_replace(MediaMtxReport { error: refused, ..report.clone() });
    let health = host.get("/health").await.json();
    assert_eq!(health["mediamtx_connected"], false);
    assert_eq!(health["mediamtx"]["error"], "it is not there");
    told.send_replace(MediaMtxReport { connected: true, readers: 3, ..report });
    let health = host.get("/health").await.json();
    assert_eq!((&health["status"], &health["mediamtx_connected"]), (&json!("ok"), &json!(true)));
    assert_eq!(
        (&health["mediamtx"]["readers"], &health["mediamtx"]["error"]),
        (&json!(3), &json!(null))
    );
}

#[tokio::test]
async fn the_gpu_is_told_of_wherever_there_is_one() {
    let gib = 1 << 30;
    let (_driver, gpu) = watch::channel(Some(GpuFigures {
        name: "Acme \"One\"".into(),
        memory_total: 8 * gib,
        memory_free: 4 * gib,
        memory_used: 4 * gib,
        utilization_percent: Some(75),
    }));
    let host = Host::with(ApiConfig { gpu, ..ApiConfig::default() }, Settings::default());
    let health = host.get("/health").await.json();
    let told = ["gpu_available", "gpu_name", "gpu_memory_total_mb", "gpu_memory_free_mb"];
    let told = told.map(|key| &health[key]);
    assert_eq!(told, [&json!(true), &json!("Acme \"One\""), &json!(8192.0), &json!(4096.0)]);
    let id = host.stream().await["id"].clone();
    let status = host.get(&format!("/v1/streams/{}/status", id.as_str().unwrap())).await.json();
    assert_eq!(status["gpu_memory_used_mb"], 4096.0);
    assert_eq!(status["gpu_utilization_percent"], 75);
    let metrics = host.get("/metrics").await.text;
    let wanted = "sdh_gpu_utilization_ratio{name=\"Acme \\\"One\\\"\"} 0.75\n";
    assert!(metrics.contains(wanted), "{metrics}");
}

#[tokio::test]
async fn plugins_are_listed_with_the_reason_of_a_refusal() {
    let list = Host::new().get("/v1/plugins").await.json();
    let plugins = &list["data"]["plugins"];
    assert_eq!((&plugins[0]["state"], &plugins[0]["reason"]), (&json!("accepted"), &Value::Null));
    assert_eq!(plugins[1]["state"], "refused");
    assert!(plugins[1]["reason"].as_str().unwrap().contains("this host offers"));
    let pipelines = list["data"]["pipelines"].as_array().unwrap();
    let names: Vec<_> = pipelines.iter().map(|p| (&p["pipeline"], &p["models"])).collect();
    assert_eq!(names[1], (&json!("streamdiffusion"), &json!(["acme/large"])));
    assert_eq!(names[2], (&json!("plain"), &Value::Null));
    let properties = &pipelines[0]["params_schema"]["properties"];
    assert!(properties["prompt"].is_object());
    // The host's own params are among what a client may send.
    assert_eq!(properties["fallback"]["default"], "input");
}

#[track_caller]
fn assert_has(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for key in keys {
        assert!(object.contains_key(*key), "{key} is missing in {value}");
    }
}
