//! Revisions, plans and waiting for a frame.

use crate::support::{Answer, Host};
use serde_json::{Value, json};

struct Stream {
    host: Host,
    path: String,
}

impl Stream {
    async fn new() -> Self {
        let host = Host::new();
        let id = host.stream().await["id"].as_str().unwrap().to_owned();
        Self { host, path: format!("/v1/streams/{id}") }
    }

    /// Both forms of a change, and both of a deletion.
    fn calls(&self) -> [(&'static str, String); 4] {
        let id = self.path.rsplit('/').next().unwrap();
        [
            ("PATCH", self.path.clone()),
            ("PATCH", format!("{}/params", self.path)),
            ("DELETE", format!("/v1/streams?id={id}")),
            ("DELETE", self.path.clone()),
        ]
    }

    async fn send(&self, method: &str, path: &str, tag: &str) -> Answer {
        let body = if method == "PATCH" { "{}" } else { "" };
        self.host.send(method, path, &[("if-match", tag)], body).await
    }

    async fn patch(&self, query: &str, params: Value) -> Answer {
        let body = json!({ "params": params });
        self.host.json("PATCH", &format!("{}{query}", self.path), body).await
    }
}

#[tokio::test]
async fn answers_are_tagged_with_the_revision() {
    let host = Host::new();
    let body = json!({"pipeline": "plain", "params": {}});
    let created = host.json("POST", "/v1/streams", body).await;
    assert_eq!((created.header("etag"), &created.json()["revision"]), ("\"1\"", &json!(1)));
    let path = format!("/v1/streams/{}", created.json()["id"].as_str().unwrap());
    let body = json!({"params": {"prompt": "a fox"}});
    assert_eq!(host.json("PATCH", &path, body).await.header("etag"), "\"2\"");
    assert_eq!(host.get(&path).await.header("etag"), "\"2\"");
    let same = host.json("PATCH", &format!("{path}/params"), json!({"prompt": "a fox"})).await;
    assert_eq!(same.header("etag"), "\"2\"");
    let url = json!({"output_rtmp_url": "rtmp://example.org/live"});
    assert_eq!(host.json("PATCH", &path, url).await.header("etag"), "\"3\"");
}

#[tokio::test]
async fn a_stale_tag_is_a_conflict_that_names_both_revisions() {
    let stream = Stream::new().await;
    stream.patch("", json!({"prompt": "a fox"})).await;
    for (method, path) in stream.calls() {
        for tag in ["\"1\"", "W/\"1\"", "1", "\"1\", \"3\"", "\"none\"", ""] {
            let answer = stream.send(method, &path, tag).await;
            let body = answer.assert_error(409, "STREAMS/CONFLICT");
            assert_eq!(body["details"]["revision"], 2);
            assert!(body["error"].as_str().unwrap().contains("is at revision 2"), "{body}");
        }
    }
    let body = stream.send("DELETE", &stream.path, "\"1\"").await;
    assert!(body.text.contains("meant for 1"), "{}", body.text);
    assert_eq!(stream.host.get(&stream.path).await.json()["revision"], 2);
}

#[tokio::test]
async fn a_fitting_tag_or_a_star_lets_changes_pass() {
    for tag in ["\"1\"", "W/\"1\"", "\"7\", \"1\"", "*"] {
        for call in 0..4 {
            let stream = Stream::new().await;
            let (method, path) = &stream.calls()[call];
            let answer = stream.send(method, path, tag).await;
            assert!(answer.status.is_success(), "{method} {tag}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn browsers_may_send_and_read_tags() {
    let host = Host::new();
    for path in ["/v1/streams", "/v1/streams/x"] {
        let preflight = host.send("OPTIONS", path, &[], "").await;
        assert!(preflight.header("access-control-allow-headers").contains("if-match"));
        let answer = host.get(path).await;
        assert!(answer.header("access-control-expose-headers").contains("ETag"));
    }
}

#[tokio::test]
async fn a_change_tells_of_each_field_it_named() {
    let stream = Stream::new().await;
    let params = json!({"prompt": "a fox", "width": 128, "fit": "crop", "unheard": 1});
    let answer = stream.patch("", params).await.json();
    let reason = "this pipeline has no such parameter";
    let changes = json!({
        "prompt": {"apply": "hot", "reason": null},
        "width": {"apply": "reload", "reason": null},
        "fit": {"apply": "unchanged", "reason": null},
        "unheard": {"apply": "unsupported", "reason": reason},
    });
    assert_eq!(answer["changes"], changes);
    assert_eq!((&answer["plan"], &answer["applied"]), (&Value::Null, &Value::Null));
    let read = stream.host.get(&stream.path).await.json();
    for key in ["changes", "plan", "applied"] {
        assert_eq!(read.get(key), Some(&Value::Null), "{key}");
    }
}

#[tokio::test]
async fn a_plan_does_nothing() {
    let stream = Stream::new().await;
    let planned = stream.patch("?plan=true", json!({"prompt": "a fox", "width": 128})).await;
    assert_eq!((planned.status.as_u16(), planned.header("etag")), (200, "\"1\""));
    let answer = planned.json();
    assert_eq!((&answer["params"]["width"], &answer["revision"]), (&json!(128), &json!(1)));
    let plan = json!({"reload": true, "memory_bytes": null, "fetch_bytes": 0});
    assert_eq!(answer["plan"], plan);
    assert_eq!(answer["changes"]["width"]["apply"], "reload");
    let read = stream.host.get(&stream.path).await.json();
    assert_eq!((&read["params"]["prompt"], &read["revision"]), (&json!("flowers"), &json!(1)));
    let wrong = stream.patch("?plan=true", json!({"width": 9000})).await;
    wrong.assert_error(400, "STREAMS/INVALID_PARAMS");
    let not_there = format!("{}/params?plan=true", stream.path);
    let reload = stream.host.json("PATCH", &not_there, json!({"width": 128})).await;
    reload.assert_error(400, "STREAMS/RELOAD_REQUIRED");
}

#[tokio::test]
async fn a_planned_stream_is_not_created() {
    let host = Host::new();
    let body = json!({"pipeline": "plain", "params": {"width": 128, "unheard": 1}});
    let planned = host.json("POST", "/v1/streams?plan=true", body).await;
    assert_eq!(planned.status, 200, "{}", planned.text);
    let planned = planned.json();
    assert_eq!(
        (&planned["params"]["width"], &planned["params"]["prompt"]),
        (&json!(128), &json!("flowers"))
    );
    assert!(planned["warnings"][0].as_str().unwrap().contains("unheard"));
    assert_eq!(host.get("/v1/streams").await.json()["data"], json!([]));
    let wrong = json!({"pipeline": "plain", "params": {"width": 9000}});
    let wrong = host.json("POST", "/v1/streams?plan=true", wrong).await;
    wrong.assert_error(400, "STREAMS/INVALID_PARAMS");
}

#[tokio::test]
async fn what_cannot_be_planned_or_waited_for_is_refused_and_not_done() {
    let stream = Stream::new().await;
    let id = stream.path.rsplit('/').next().unwrap();
    for query in ["plan=true", "wait=applied"] {
        for path in [format!("{}?{query}", stream.path), format!("/v1/streams?id={id}&{query}")] {
            let refused = stream.host.send("DELETE", &path, &[], "").await;
            refused.assert_error(400, "REQUEST/INVALID_QUERY");
        }
    }
    let body = json!({"pipeline": "plain", "params": {}});
    let refused = stream.host.json("POST", "/v1/streams?wait=applied", body).await;
    refused.assert_error(400, "REQUEST/INVALID_QUERY");
    let list = stream.host.get("/v1/streams").await.json();
    assert_eq!(list.as_array().or(list["data"].as_array()).map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn waiting_without_input_ends_at_once_and_says_why() {
    let stream = Stream::new().await;
    let answer = stream.patch("?wait=applied", json!({"prompt": "a fox"})).await.json();
    assert_eq!(
        (&answer["params"]["prompt"], &answer["applied"]["frame"]),
        (&json!("a fox"), &Value::Null)
    );
    assert!(answer["applied"]["reason"].as_str().unwrap().contains("no publisher"), "{answer}");
    for query in ["?wait=done", "?plan=maybe", "?wait="] {
        stream.patch(query, json!({})).await.assert_error(400, "REQUEST/INVALID_QUERY");
    }
}
