//! Create, read, change and delete.

use crate::support::Host;
use host_api::ApiConfig;
use host_runtime::Settings;
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_new_stream_has_every_key_and_absolute_urls() {
    let host = Host::new();
    let stream = host.stream().await;
    let daydream = [
        "id",
        "pipeline",
        "params",
        "stream_key",
        "created_at",
        "output_playback_id",
        "name",
        "author",
        "from_playground",
        "gateway_host",
        "is_smoke_test",
        "whip_url",
        "output_stream_url",
    ];
    let ours = ["output_hls_url", "output_rtmp_url", "status", "warnings", "revision"];
    for key in daydream.iter().chain(&ours) {
        assert!(keys(&stream).contains(key), "{key} is missing");
    }
    assert_eq!(stream["pipeline"], "streamdiffusion");
    assert_eq!(
        (&stream["author"], &stream["gateway_host"]),
        (&json!("local"), &json!("host.test"))
    );
    let (key, playback) = (stream["stream_key"].as_str(), stream["output_playback_id"].as_str());
    assert_eq!(stream["whip_url"], format!("http://host.test/live/{}/whip", key.unwrap()));
    assert_eq!(
        stream["output_stream_url"],
        format!("http://host.test/play/{}/whep", playback.unwrap())
    );
    assert!(!stream["name"].as_str().unwrap().is_empty());
    assert_eq!(stream["params"]["prompt"], "flowers", "defaults are filled in");
}

#[tokio::test]
async fn a_stream_reads_as_it_was_created() {
    let host = Host::new();
    let created = host.stream().await;
    let read = host.get(&format!("/v1/streams/{}", created["id"].as_str().unwrap())).await;
    assert_eq!(read.status, 200);
    for key in ["id", "stream_key", "output_playback_id", "created_at", "whip_url", "params"] {
        assert_eq!(read.json()[key], created[key], "{key}");
    }
}

#[tokio::test]
async fn the_content_type_may_be_absent_or_have_parameters() {
    let host = Host::new();
    let body = json!({"pipeline": "plain", "params": {}, "name": "mine"}).to_string();
    for headers in [
        &[][..],
        &[("content-type", "application/json; charset=utf-8")][..],
        &[("content-type", "Application/JSON")][..],
    ] {
        let answer = host.send("POST", "/v1/streams", headers, body.clone()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.json()["name"], "mine");
    }
}

#[tokio::test]
async fn without_a_pipeline_the_model_decides() {
    let host = Host::new();
    let body = json!({"params": {"model_id": "acme/large"}});
    let answer = host.json("POST", "/v1/streams", body).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["pipeline"]),
        (201, &json!("streamdiffusion"))
    );

    let refused = host.json("POST", "/v1/streams", json!({"params": {}})).await;
    let body = refused.assert_error(400, "STREAMS/UNKNOWN_PIPELINE");
    assert_eq!(body["details"]["on_offer"], json!(["plain", "streamdiffusion"]));
}

#[tokio::test]
async fn the_older_schema_creates_and_changes_too() {
    let host = Host::new();
    let answer = host.json("POST", "/v1/streams", json!({"pipeline_id": "pip_qpUgX"})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let stream = answer.json();
    assert_eq!(stream["pipeline"], "streamdiffusion");
    assert_eq!(stream["params"]["model_id"], "acme/small");

    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let body = json!({"pipeline_id": "pip_qpUgX", "pipeline_params": {"prompt": "a"}});
    assert_eq!(host.json("PATCH", &path, body).await.json()["params"]["prompt"], "a");
    let flat = host.json("PATCH", &path, json!({"prompt": "b"})).await;
    assert_eq!(flat.json()["params"]["prompt"], "b");
}

#[tokio::test]
async fn a_change_touches_only_what_is_sent() {
    let host = Host::new();
    let stream = host.stream().await;
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let body = json!({"pipeline": "streamdiffusion", "params": {"prompt": "a fox", "width": null}});
    let answer = host.json("PATCH", &path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let changed = answer.json();
    assert_eq!(changed["params"]["prompt"], "a fox");
    assert_eq!(changed["params"]["width"], stream["params"]["width"]);
    assert!(changed["revision"].as_u64() > stream["revision"].as_u64());
}

#[tokio::test]
async fn a_change_needs_neither_pipeline_nor_model_nor_params() {
    let host = Host::new();
    let stream = host.stream().await;
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    for body in [json!({"params": {"prompt": "a fox"}}), json!({"params": {}}), json!({})] {
        let answer = host.json("PATCH", &path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["params"]["prompt"], "a fox");
    }
    host.send("PATCH", &path, &[], "").await.assert_error(400, "REQUEST/INVALID_BODY");
}

#[tokio::test]
async fn scales_name_controlnets_by_their_place() {
    let host = Host::new();
    let controlnets = json!([
        {"model_id": "edges", "conditioning_scale": 1.0},
        {"model_id": "depth", "conditioning_scale": 1.0},
    ]);
    let params = json!({"model_id": "acme/small", "controlnets": controlnets});
    let body = json!({"pipeline": "streamdiffusion", "params": params});
    let stream = host.json("POST", "/v1/streams", body).await.json();
    let path = format!("/v1/streams/{}/params", stream["id"].as_str().unwrap());

    let body = json!({"prompt": "a fox", "controlnet_scales": {"1": 0.25}});
    let answer = host.json("PATCH", &path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let params = &answer.json()["params"];
    assert_eq!(params["prompt"], "a fox");
    assert_eq!(params["controlnets"][0]["conditioning_scale"], 1.0);
    assert_eq!(params["controlnets"][1]["conditioning_scale"], 0.25);

    for (scales, code) in [
        (json!({"2": 0.5}), "STREAMS/INVALID_PARAMS"),
        (json!({"0": "half"}), "STREAMS/INVALID_PARAMS"),
        (json!({"x": 0.5}), "REQUEST/INVALID_BODY"),
        (json!([0.5]), "REQUEST/INVALID_BODY"),
    ] {
        let body = json!({"controlnet_scales": scales});
        host.json("PATCH", &path, body).await.assert_error(400, code);
    }
}

#[tokio::test]
async fn a_scale_of_null_leaves_the_scale_and_one_that_was_missing_can_be_set() {
    let host = Host::new();
    let controlnets =
        json!([{"model_id": "edges", "conditioning_scale": 0.7}, {"model_id": "depth"}]);
    let params = json!({"model_id": "acme/small", "controlnets": controlnets});
    let body = json!({"pipeline": "streamdiffusion", "params": params});
    let stream = host.json("POST", "/v1/streams", body).await.json();
    let path = format!("/v1/streams/{}/params", stream["id"].as_str().unwrap());
    let body = json!({"controlnet_scales": {"0": null, "1": 0.25}});
    for _ in 0..2 {
        let answer = host.json("PATCH", &path, body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let controlnets = &answer.json()["params"]["controlnets"];
        assert_eq!(controlnets[0]["conditioning_scale"], 0.7);
        assert_eq!(controlnets[1]["conditioning_scale"], 0.25);
    }
    let body = json!({"controlnet_scales": {"2": null}});
    host.json("PATCH", &path, body).await.assert_error(400, "STREAMS/INVALID_PARAMS");
}

#[tokio::test]
async fn scales_set_at_the_same_time_all_hold() {
    let host = Host::new();
    let count = 8;
    let controlnets = vec![json!({"model_id": "edges", "conditioning_scale": 1.0}); count];
    let params = json!({"model_id": "acme/small", "controlnets": controlnets});
    let body = json!({"pipeline": "streamdiffusion", "params": params});
    let stream = host.json("POST", "/v1/streams", body).await.json();
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let mut changes = tokio::task::JoinSet::new();
    for index in 0..count {
        let (host, path) = (host.clone(), format!("{path}/params"));
        let body = json!({"controlnet_scales": {index.to_string(): 0.5}});
        changes.spawn(async move { host.json("PATCH", &path, body).await.status });
    }
    assert!(changes.join_all().await.iter().all(|status| *status == 200));
    let params = &host.get(&path).await.json()["params"];
    let scales = params["controlnets"].as_array().unwrap().iter();
    let scales: Vec<_> = scales.map(|item| item["conditioning_scale"].as_f64().unwrap()).collect();
    assert_eq!(scales, [0.5; 8]);
}

#[tokio::test]
async fn params_refuses_what_needs_a_reload() {
    let host = Host::new();
    let stream = host.stream().await;
    let path = format!("/v1/streams/{}/params", stream["id"].as_str().unwrap());
    let refused = host.json("PATCH", &path, json!({"width": 128})).await;
    refused.assert_error(400, "STREAMS/RELOAD_REQUIRED");
    let same = host.json("PATCH", &path, json!({"width": stream["params"]["width"]})).await;
    assert_eq!(same.status, 200, "the value it has already is no reload: {}", same.text);
}

#[tokio::test]
async fn both_forms_of_delete_delete_once() {
    let host = Host::new();
    let (first, second) = (host.stream().await, host.stream().await);
    let by_query = format!("/v1/streams?id={}", first["id"].as_str().unwrap());
    let by_path = format!("/v1/streams/{}", second["id"].as_str().unwrap());

    let answer = host.send("DELETE", &by_query, &[], "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, r#"{"success":true,"data":{}}"#)
    );
    let answer = host.send("DELETE", &by_path, &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));

    host.send("DELETE", &by_query, &[], "").await.assert_error(404, "STREAMS/NOT_FOUND");
    host.send("DELETE", &by_path, &[], "").await.assert_error(404, "STREAMS/NOT_FOUND");
    host.get(&by_path).await.assert_error(404, "STREAMS/NOT_FOUND");
    host.send("DELETE", "/v1/streams", &[], "").await.assert_error(400, "REQUEST/MISSING_ID");
}

#[tokio::test]
async fn urls_lead_with_what_the_client_can_reach() {
    let host = Host::new();
    let id = host.stream().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/streams/{id}");
    let proxied = [("x-forwarded-proto", "https"), ("x-forwarded-host", "video.example")];
    let stream = host.send("GET", &path, &proxied, "").await.json();
    assert!(stream["whip_url"].as_str().unwrap().starts_with("https://video.example/live/"));
    assert_eq!(stream["gateway_host"], "video.example");

    let hostile = host.send("GET", &path, &[("x-forwarded-host", "a\"b<c")], "").await.json();
    assert!(hostile["whip_url"].as_str().unwrap().starts_with("http://host.test/live/"));

    let config =
        ApiConfig { public_url: Some("https://sd.example/x".into()), ..Default::default() };
    let stream = Host::with(config, Settings::default()).stream().await;
    assert!(stream["whip_url"].as_str().unwrap().starts_with("https://sd.example/x/live/"));
}
