//! What is refused, and that every refusal has the one body.

use crate::support::Host;
use host_api::{ApiConfig, BodyLimits};
use host_runtime::Settings;
use serde_json::json;

#[tokio::test]
async fn bodies_that_are_no_request_are_400() {
    let host = Host::new();
    let id = host.stream().await["id"].as_str().unwrap().to_owned();
    let change = format!("/v1/streams/{id}");
    let change_hot = format!("/v1/streams/{id}/params");
    for (method, path) in [("POST", "/v1/streams"), ("PATCH", &change), ("PATCH", &change_hot)] {
        for (body, code) in [
            ("{", "REQUEST/INVALID_JSON"),
            ("", "REQUEST/INVALID_BODY"),
            ("[]", "REQUEST/INVALID_BODY"),
            ("null", "REQUEST/INVALID_BODY"),
            ("\u{fffe}", "REQUEST/INVALID_JSON"),
        ] {
            let answer = host.send(method, path, &[], body).await;
            answer.assert_error(400, code);
        }
    }
    let deep = "[".repeat(10_000);
    host.send("POST", "/v1/streams", &[], deep).await.assert_error(400, "REQUEST/INVALID_JSON");
}

#[tokio::test]
async fn no_answer_is_as_large_as_what_was_sent() {
    let host = Host::new();
    let long = "x".repeat(1_000_000);
    let nothing = json!({"pipeline": &long, "params": {}});
    let odd_key = json!({"pipeline": "streamdiffusion", "params": {
        "model_id": "acme/small", "controlnets": [{"conditioning_scale": &long}], &long: 1,
    }});
    let list = vec![1; 1_000_000];
    let many = json!({"pipeline": "streamdiffusion", "params": {"prompt": list}});
    for body in [nothing, odd_key, many] {
        let answer = host.json("POST", "/v1/streams", body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text.len() < 40_000, "{} bytes", answer.text.len());
    }
    for path in [format!("/v1/streams/{long}/status"), format!("/v1/streams?id={long}")] {
        let method = if path.ends_with("status") { "GET" } else { "DELETE" };
        let answer = host.send(method, &path[..60_000.min(path.len())], &[], "").await;
        assert_eq!(answer.status, 404);
        assert!(answer.text.len() < 4000, "{} bytes", answer.text.len());
    }
}

#[tokio::test]
async fn an_output_url_that_leads_nowhere_is_refused_without_being_repeated() {
    let host = Host::new();
    for (url, reason) in [
        ("rtmp://:0/live/secret", "name a host"),
        ("rtmp://host", "an application and a key"),
        ("rtmps://user:secret@host/live/key", "user and password"),
        ("srt://host/live/secret", "start with rtmp:// or rtmps://"),
    ] {
        let body = json!({"pipeline": "streamdiffusion", "output_rtmp_url": url, "params": {}});
        let answer = host.json("POST", "/v1/streams", body).await;
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        let error = answer.assert_error(400, "REQUEST/INVALID_BODY");
        assert_eq!(error["details"][0]["pointer"], "/output_rtmp_url");
        assert!(error["details"][0]["message"].as_str().unwrap().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let host = Host::new();
    let body = json!({"pipeline": 1, "name": [], "output_rtmp_url": "http://x", "params": "none"});
    let error =
        host.json("POST", "/v1/streams", body).await.assert_error(400, "REQUEST/INVALID_BODY");
    let pointers: Vec<_> = error["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/pipeline", "/params", "/name", "/output_rtmp_url"]);

    let missing = host.json("POST", "/v1/streams", json!({"pipeline": "streamdiffusion"})).await;
    missing.assert_error(400, "REQUEST/INVALID_BODY");
}

#[tokio::test]
async fn what_no_plugin_offers_is_400_and_lists_the_offer() {
    let host = Host::new();
    let body = json!({"pipeline": "nothing", "params": {"model_id": "acme/small"}});
    let error = host.json("POST", "/v1/streams", body).await;
    let error = error.assert_error(400, "STREAMS/UNKNOWN_PIPELINE");
    assert!(error["error"].as_str().unwrap().contains("streamdiffusion"));
    for params in [json!({"model_id": "nobody/nothing"}), json!({})] {
        let body = json!({"pipeline": "streamdiffusion", "params": params});
        let error = host.json("POST", "/v1/streams", body).await;
        let error = error.assert_error(400, "STREAMS/INVALID_PARAMS");
        assert_eq!(error["details"]["on_offer"], json!(["acme/small", "acme/large"]));
    }
}

#[tokio::test]
async fn values_out_of_range_point_to_the_field() {
    let host = Host::new();
    let params = json!({"model_id": "acme/small", "width": 9000});
    let body = json!({"pipeline": "streamdiffusion", "params": params});
    let error = host.json("POST", "/v1/streams", body).await;
    let error = error.assert_error(400, "STREAMS/INVALID_PARAMS");
    assert_eq!(error["details"][0]["pointer"], "/width");
}

#[tokio::test]
async fn another_pipeline_than_the_stream_s_is_a_mismatch() {
    let host = Host::new();
    let id = host.stream().await["id"].as_str().unwrap().to_owned();
    let body = json!({"pipeline": "plain", "params": {}});
    let answer = host.json("PATCH", &format!("/v1/streams/{id}"), body).await;
    answer.assert_error(400, "STREAMS/PIPELINE_MISMATCH");
}

#[tokio::test]
async fn odd_ids_are_simply_not_found() {
    let host = Host::new();
    for id in ["str_none", "a%2Fb%20c%3F%C3%BC", "..", "%00", "%2e%2e%2fetc"] {
        let path = format!("/v1/streams/{id}");
        host.get(&path).await.assert_error(404, "STREAMS/NOT_FOUND");
        host.get(&format!("{path}/status")).await.assert_error(404, "STREAMS/NOT_FOUND");
        host.send("DELETE", &path, &[], "").await.assert_error(404, "STREAMS/NOT_FOUND");
        let answer = host.json("PATCH", &path, json!({"params": {}})).await;
        answer.assert_error(404, "STREAMS/NOT_FOUND");
        let answer = host.json("PATCH", &format!("{path}/params"), json!({})).await;
        answer.assert_error(404, "STREAMS/NOT_FOUND");
    }
    // Bytes that are no UTF-8 cannot name anything either.
    host.get("/v1/streams/%FF").await.assert_error(404, "REQUEST/NOT_FOUND");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_typed_too() {
    let host = Host::new();
    for path in ["/v1", "/v1/stream", "/nothing", "/v1/streams/", "/page/none.js", "/docs/none"] {
        host.get(path).await.assert_error(404, "REQUEST/NOT_FOUND");
    }
    let answer = host.send("PUT", "/v1/streams", &[], "").await;
    answer.assert_error(405, "REQUEST/METHOD_NOT_ALLOWED");
    for method in ["GET", "POST", "DELETE"] {
        assert!(answer.header("allow").contains(method), "{:?}", answer.header("allow"));
    }
    let answer = host.send("POST", "/health", &[], "").await;
    answer.assert_error(405, "REQUEST/METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn other_content_types_are_415() {
    let host = Host::new();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer =
            host.send("POST", "/v1/streams", &[("content-type", content_type)], "{}").await;
        answer.assert_error(415, "REQUEST/UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_413() {
    let host = Host::new();
    let params = json!({"model_id": "acme/small", "prompt": "x".repeat(8 * 1024 * 1024)});
    let body = json!({"pipeline": "streamdiffusion", "params": params});
    let error = host.json("POST", "/v1/streams", body).await.assert_error(413, "REQUEST/TOO_LARGE");
    assert!(error["error"].as_str().unwrap().contains("8192 KiB"), "{error}");

    let bodies = BodyLimits { json: 1 << 10, sdp: 2 << 10, ..BodyLimits::default() };
    let host = Host::with(ApiConfig { bodies, ..Default::default() }, Settings::default());
    let params = json!({"model_id": "acme/small", "prompt": "x".repeat(1024)});
    let body = json!({"pipeline": "streamdiffusion", "params": params});
    let error = host.json("POST", "/v1/streams", body).await.assert_error(413, "REQUEST/TOO_LARGE");
    assert!(error["error"].as_str().unwrap().contains("1 KiB"), "{error}");
    let sdp = [("content-type", "application/sdp")];
    let answer = host.send("POST", "/live/nobody/whip", &sdp, "v".repeat(2049)).await;
    answer.assert_error(413, "REQUEST/TOO_LARGE");
}

#[tokio::test]
async fn the_stream_limit_is_429_with_a_time_to_wait() {
    let settings = Settings { max_streams: 1, ..Settings::default() };
    let host = Host::with(ApiConfig::default(), settings);
    host.stream().await;
    let body = json!({"pipeline": "plain", "params": {}});
    let answer = host.json("POST", "/v1/streams", body).await;
    answer.assert_error(429, "STREAMS/LIMIT");
    assert_eq!(answer.header("retry-after"), "5");
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing_of_the_inside() {
    let host = Host::new();
    let body = json!({"pipeline": "broken", "params": {}});
    let answer = host.json("POST", "/v1/streams", body).await;
    answer.assert_error(500, "INTERNAL/ERROR");
    assert!(!answer.text.contains("catalog"), "{}", answer.text);
    assert_eq!(host.get("/health").await.status, 200, "the server goes on");
}
