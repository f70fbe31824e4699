//! What a MediaMTX beside the host may ask, and what it is answered.

use crate::support::{Answer, Host};
use host_api::Door;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef";

fn door() -> Door {
    Door { secret: SECRET.into(), api: Some(("host".into(), "pass".into())) }
}

/// A question as MediaMTX asks it; `more` is laid over it.
async fn ask(host: &Host, action: &str, path: &str, more: Value) -> Answer {
    let mut question = json!({
        "ip": "10.0.0.7", "user": "", "password": "", "token": "", "action": action, "path": path,
        "protocol": "rtsp", "id": null, "query": "", "userAgent": "test",
    });
    for (key, value) in more.as_object().unwrap() {
        question[key] = value.clone();
    }
    host.json("POST", &door().path(), question).await
}

#[tokio::test]
async fn publishing_asks_for_the_stream_key_wherever_it_can_be_sent() {
    let (host, inside) = Host::with_door(door());
    let (stream, other) = (host.stream().await, host.stream().await);
    let text = |stream: &Value, name: &str| stream[name].as_str().unwrap().to_owned();
    let (id, key) = (text(&stream, "id"), text(&stream, "stream_key"));
    let query = |key: &str| json!({"query": format!("a=b&key={key}")});
    for right in [json!({"password": key}), json!({"token": key}), query(&key)] {
        let answer = ask(&inside, "publish", &id, right.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{right}");
    }
    let near = format!("{}x", &key[..key.len() - 1]);
    let wrong = [
        json!({}),
        json!({"user": key}),
        json!({"password": near}),
        json!({"password": text(&other, "stream_key")}),
        json!({"password": {"key": key}}),
        query(&near),
        json!({"query": format!("monkey={key}")}),
    ];
    for wrong in wrong {
        let answer = ask(&inside, "publish", &id, wrong.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (401, ""), "{wrong}");
    }
    // The output is this server's to publish, and an empty key is none of a stream that is not there.
    for path in [format!("{id}_out"), "nobody".into(), String::new()] {
        assert_eq!(ask(&inside, "publish", &path, json!({"token": key})).await.status, 401);
    }
}

#[tokio::test]
async fn outputs_can_be_watched_and_what_is_published_cannot() {
    let (host, inside) = Host::with_door(door());
    let stream = host.stream().await;
    let id = stream["id"].as_str().unwrap();
    let output = format!("{id}_out");
    assert_eq!(ask(&inside, "read", &output, json!({})).await.status, 204);
    let key = json!({"password": stream["stream_key"]});
    for path in [id, "nobody_out", "_out", "", "camera"] {
        assert_eq!(ask(&inside, "read", path, key.clone()).await.status, 401, "{path}");
    }
    for action in ["playback", "metrics", "pprof", "", "READ"] {
        assert_eq!(ask(&inside, action, &output, key.clone()).await.status, 401, "{action}");
    }
}

#[tokio::test]
async fn its_api_is_the_host_s_alone() {
    let (_, inside) = Host::with_door(door());
    let right = json!({"user": "host", "password": "pass"});
    assert_eq!(ask(&inside, "api", "", right.clone()).await.status, 204);
    for wrong in [json!({}), json!({"user": "host"}), json!({"user": "x", "password": "pass"})] {
        assert_eq!(ask(&inside, "api", "", wrong.clone()).await.status, 401, "{wrong}");
    }
    let (_, shut) = Host::with_door(Door { api: None, ..door() });
    for sent in [right, json!({})] {
        assert_eq!(ask(&shut, "api", "", sent).await.status, 401);
    }
}

#[tokio::test]
async fn only_who_knows_the_secret_may_ask_and_nothing_else_is_there_but_media() {
    let (host, inside) = Host::with_door(door());
    let stream = host.stream().await;
    let question =
        json!({"action": "read", "path": format!("{}_out", stream["id"].as_str().unwrap())});
    let elsewhere = inside.json("POST", "/mediamtx/fedcba9876543210", question.clone()).await;
    let error = elsewhere.assert_error(404, "REQUEST/NOT_FOUND");
    assert!(!error.to_string().contains("fedcba"), "{error}");
    let outside = host.json("POST", &door().path(), question).await;
    outside.assert_error(404, "REQUEST/NOT_FOUND");
    for path in ["/v1/streams", "/metrics", "/health", "/", "/openapi.json"] {
        inside.get(path).await.assert_error(404, "REQUEST/NOT_FOUND");
    }
    let whip = format!("/{}/whip", stream["id"].as_str().unwrap());
    inside.sdp(&whip, "fine").await.assert_error(401, "AUTH/UNAUTHORIZED");
    let key = format!("Bearer {}", stream["stream_key"].as_str().unwrap());
    let headers = [("content-type", "application/sdp"), ("authorization", key.as_str())];
    assert_eq!(inside.send("POST", &whip, &headers, "fine").await.status, 201);
}

#[tokio::test]
async fn questions_that_are_none_are_refused() {
    let (_, inside) = Host::with_door(door());
    let path = door().path();
    let headers = [("content-type", "application/json")];
    let long = format!("{{\"action\":\"{}\"}}", "x".repeat(20_000));
    inside.send("POST", &path, &headers, long).await.assert_error(413, "REQUEST/TOO_LARGE");
    for body in ["", "[]", "null"] {
        inside.send("POST", &path, &headers, body).await.assert_error(400, "REQUEST/INVALID_BODY");
    }
    inside.send("POST", &path, &headers, "{").await.assert_error(400, "REQUEST/INVALID_JSON");
    inside.get(&path).await.assert_error(405, "REQUEST/METHOD_NOT_ALLOWED");
    assert_eq!(inside.json("POST", &path, json!({})).await.status, 401);
}
